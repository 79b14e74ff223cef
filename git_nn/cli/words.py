"""The words of a command line: which of them are revisions and which are paths."""

from __future__ import annotations

import os
from pathlib import Path

from git_nn.errors import UsageError
from git_nn.gitio import revisions
from git_nn.gitio.repository import Repository


def are_files(repo: Repository, words: tuple[str, ...]) -> bool:
    """Whether ``words`` are two files and neither is a revision."""
    return len(words) == 2 and all(
        Path(word).is_file() and revisions.resolve(repo, word) is None for word in words
    )


def split(
    repo: Repository, words: tuple[str, ...], names: list[str] | None
) -> tuple[str | None, str | None, list[bytes]]:
    """(A, B, paths) of a command line; without ``--`` a word is a revision if it can be one."""
    rest = list(words)
    found: list[str] = []
    while rest and len(found) < 2:
        pair = _range(repo, rest[0]) if not found else None
        one = None if pair else revisions.resolve(repo, rest[0])
        if not pair and not one:
            break
        found += pair or [str(one)]
        rest.pop(0)
    unknown = [word for word in rest if names is not None or not os.path.lexists(word)]
    if unknown:
        raise UsageError(
            f"{unknown[0]!r} is neither a revision nor a file here",
            hint="write 'git nn diff [A [B]] -- PATH' for a file that is not in the work tree",
        )
    a, b, *_ = [*found, None, None]
    return a, b, [from_top(repo, name) for name in [*rest, *(names or [])]]


def _range(repo: Repository, word: str) -> list[str] | None:
    """The two sides of ``A..B``, or of ``A...B``, which starts at their merge base."""
    left, dots, right = word.partition("..")
    if not dots:
        return None
    since = right.startswith(".")
    ends = [revisions.resolve(repo, end or "HEAD") for end in (left, right.removeprefix("."))]
    a, b = ends
    if a is None or b is None:
        return None
    if not since:
        return [a, b]
    base = repo.git("merge-base", a, b, check=False).decode().strip()
    if not base:
        raise UsageError(f"{word!r}: the two have no common commit")
    return [base, b]


def from_top(repo: Repository, name: str) -> bytes:
    """A path on the command line, relative to the top of the work tree."""
    path = Path(os.path.abspath(name))  # noqa: PTH100 - resolve() would follow links in the tree
    top = repo.work_tree
    if top is None:
        return os.fsencode(name)
    for base in (top, top.resolve()):
        if path.is_relative_to(base):
            return os.fsencode(path.relative_to(base))
    raise UsageError(f"{name} is outside of the repository at {top}")
