"""paths: between what a person types in the current folder and paths from the top.

Inside, all paths are from the top of the work tree; as with Git, a person's are relative to
the current folder.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from git_nn.drivers.terminal import quoted
from git_nn.errors import UsageError
from git_nn.gitio.repository import Repository


def from_top(repo: Repository, name: str) -> bytes:
    """A path as it is typed in the current folder, relative to the top of the work tree.

    Links inside of the tree are not followed. UsageError for a path that is outside.
    """
    if repo.work_tree is None:
        return os.fsencode(name)
    path = Path(os.path.abspath(name))  # noqa: PTH100 - resolve() would follow the last part
    real = Path(os.path.realpath(path.parent)) / path.name
    for way, top in ((path, repo.work_tree), (real, repo.work_tree.resolve())):
        if way.is_relative_to(top):
            return os.fsencode(way.relative_to(top))
    raise UsageError(f"{name} is outside of the repository at {repo.work_tree}")


def from_here(repo: Repository, path: bytes) -> str:
    """The inverse of ``from_top``, on one visible line: what a person can type."""
    return quoted(os.fsencode(_relative(repo, path)))


def word(repo: Repository, path: bytes) -> str:
    """The inverse of ``from_top``, as one word of a shell command."""
    return shlex.quote(_relative(repo, path))


def _relative(repo: Repository, path: bytes) -> str:
    if repo.work_tree is None:
        return os.fsdecode(path)
    return os.path.relpath(repo.work_tree.resolve() / os.fsdecode(path))
