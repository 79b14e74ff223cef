"""past: what a person asks of a model's history: which file, from where, which tensors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

from git_nn.cli.words import from_top
from git_nn.drivers.open import open_repository, store_of
from git_nn.errors import UsageError
from git_nn.gitio import revisions
from git_nn.gitio.follow import Commit, Past
from git_nn.gitio.objects import open_reader
from git_nn.gitio.repository import Repository
from git_nn.history.versions import Chosen, Versions, chosen


@dataclass(frozen=True, slots=True)
class Asked:
    """The words of a command line, understood; ``within`` are the commits of a range A..B."""

    repo: Repository
    commit: str
    path: bytes
    want: Chosen
    within: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """The history that was asked for, and how commits are abbreviated here."""

    asked: Asked
    past: Past
    versions: Versions
    digits: int

    def short(self, commit: Commit) -> str:
        return commit.id[: self.digits]


def understand(words: tuple[str, ...], names: list[str] | None) -> Asked:
    """``[REV] [--] PATH [PATTERN…]``; without ``--``, a first word that is a file is PATH."""
    repo = open_repository()
    before, after = list(words), list(names or [])
    if names is None:
        is_rev = len(before) > 1 and not os.path.lexists(before[0])
        cut = int(is_rev and _commit(repo, before[0]) is not None)
        before, after = before[:cut], before[cut:]
    if not after or len(before) > 1:
        raise UsageError("name one file: [REV] [--] PATH [PATTERN…]", hint="try 'git nn ls-files'")
    rev = before[0] if before else "HEAD"
    commit = _commit(repo, rev)
    if commit is None:
        hint = "" if before else "there are no commits yet"
        raise UsageError(f"{rev!r} is not a commit", hint=hint)
    want = chosen(after[1:])
    return Asked(repo, commit, from_top(repo, after[0]), want, _within(repo, rev))


def _commit(repo: Repository, word: str) -> str | None:
    """The commit that ``word`` names, or at which the range ``word`` ends."""
    end = word.rpartition("..")[2].removeprefix(".") or "HEAD"
    return revisions.resolve(repo, f"{end}^{{commit}}")


def _within(repo: Repository, rev: str) -> frozenset[str] | None:
    if ".." not in rev:
        return None
    if rev.startswith("-"):
        raise UsageError(f"{rev!r} is not a revision")
    return frozenset(repo.git("rev-list", rev, "--").decode().split())


@contextmanager
def opened(asked: Asked) -> Iterator[Opened]:
    """UsageError where no commit has the file."""
    repo = asked.repo
    digits = len(repo.git("rev-parse", "--short", asked.commit).strip())
    with open_reader(repo) as reader:
        past = Past(repo, reader)
        if past.last_change(asked.commit, asked.path) is None:
            name = os.fsdecode(asked.path)
            raise UsageError(f"no commit has a file {name}", hint="try 'git nn ls-files'")
        yield Opened(asked, past, Versions(reader, store_of(repo)), digits)


def when(commit: Commit) -> datetime:
    """The author's date in the author's own time zone; that of 1970 where it makes no sense."""
    minutes = int(commit.zone[1:3]) * 60 + int(commit.zone[3:5])
    zone = timezone(timedelta(minutes=-minutes if commit.zone[0] == "-" else minutes))
    try:
        return datetime.fromtimestamp(commit.time, zone)
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, UTC)


def date(commit: Commit) -> str:
    return f"{when(commit):%Y-%m-%d}"
