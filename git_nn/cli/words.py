"""The words of a command line: which of them are revisions and which are paths.

A path is relative to the current folder, as with Git; inside, all paths are from the top.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import click

from git_nn.drivers.paths import from_here, from_top
from git_nn.errors import UsageError
from git_nn.gitio import revisions
from git_nn.gitio.repository import Repository
from git_nn.worktree import Tracked, tracked

__all__ = ["Separated", "are_files", "files", "from_here", "from_top", "in_revision", "split"]

_FROM_HERE = re.compile(r"\.\.?(?:/|\Z)")


class Separated(click.Command):
    """Keeps what stands after ``--`` apart, which click does not."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            cut = args.index("--")
            args, ctx.meta["paths"] = args[:cut], args[cut + 1 :]
        return super().parse_args(ctx, args)


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


def in_revision(repo: Repository, path: str) -> bytes:
    """PATH of REV:PATH, which Git takes from the top unless it begins with ./ or ../"""
    return from_top(repo, path) if _FROM_HERE.match(path) else os.fsencode(path)


def files(repo: Repository, words: tuple[str, ...]) -> list[Tracked]:
    """The models in the index, all or those at ``words``; UsageError where a word has none."""
    names = {word: from_top(repo, word) for word in words}
    found = tracked(repo, list(names.values()))
    for word, name in names.items():
        if name != b"." and not any((item.path + b"/").startswith(name + b"/") for item in found):
            branch = revisions.resolve(repo, word) is not None
            raise UsageError(
                f"there is no weight file that Git tracks at {word}",
                hint=f"run 'git switch {word}' for a branch" if branch else "run 'git nn ls-files'",
            )
    return found
