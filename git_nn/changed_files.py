"""changed_files: which files differ between two of commit, index and work tree.

Git's plumbing says it from object names and file times; no filter runs and no content
is read. So a file of the work tree that was only touched is listed, and whoever reads
it finds that it did not change.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from git_nn.gitio import revisions
from git_nn.gitio.repository import Repository

_EMPTY_TREE = b""  # what ``git hash-object -t tree --stdin`` names is the empty tree


@dataclass(frozen=True, slots=True)
class Version:
    """A file on one side; ``blob`` is empty where it is the file in the work tree."""

    blob: str
    mode: str


@dataclass(frozen=True, slots=True)
class ChangedFile:
    """A path that differs; a side is None where there is no plain file."""

    path: bytes
    old: Version | None
    new: Version | None
    unmerged: bool = False


def between(
    repo: Repository, a: str | None, b: str | None, *, cached: bool, paths: Sequence[bytes] = ()
) -> list[ChangedFile]:
    """Files that differ, as ``git diff`` chooses the sides.

    Two revisions; or one and the index (``cached``) or the work tree; or, with none, the
    index and the work tree - ``cached``: HEAD and the index. ``paths`` are files and folders
    relative to the top, taken literally.
    """
    output = repo.git(
        "--literal-pathspecs", *_sides(repo, a, b, cached=cached), "-z", "--raw", "--no-renames",
        "--no-abbrev", "--no-ext-diff", "--", *map(os.fsdecode, paths),
    )  # fmt: skip
    fields = output.split(b"\0")[:-1]
    found: dict[bytes, ChangedFile] = {}
    for head, path in zip(fields[::2], fields[1::2], strict=True):
        change = _parse(head.decode(), path)
        if path not in found or change.unmerged:  # an unmerged path may have a second line
            found[path] = change
    return list(found.values())


def _sides(repo: Repository, a: str | None, b: str | None, *, cached: bool) -> list[str]:
    if a is not None and b is not None:
        return ["diff-tree", "-r", a, b]
    if cached:
        head = a or revisions.resolve(repo, "HEAD") or _empty_tree(repo)
        return ["diff-index", "--cached", head]
    return ["diff-files"] if a is None else ["diff-index", a]


def _empty_tree(repo: Repository) -> str:
    return repo.git("hash-object", "-t", "tree", "--stdin", stdin=_EMPTY_TREE).decode().strip()


def _parse(head: str, path: bytes) -> ChangedFile:
    old_mode, new_mode, old, new, status = head.removeprefix(":").split(" ")
    if status == "U":
        return ChangedFile(path, None, None, unmerged=True)
    return ChangedFile(path, _version(old_mode, old), _version(new_mode, new))


def _version(mode: str, blob: str) -> Version | None:
    if not mode.startswith("100"):  # nothing, a link or a submodule
        return None
    return Version(blob if blob.strip("0") else "", mode)
