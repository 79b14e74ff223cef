"""sides: in which commits the three versions of a merged file stand, and under which name.

A merge driver is handed three contents and no commit; what lies beside the file on each side
(a tokenizer, statistics) has to be found. Git tells some commits: by GITHEAD_<oid> in the
environment of a merge, by MERGE_HEAD, REBASE_HEAD and the like where it has stopped, by what a
rebase has on its list. A cherry-pick tells nothing while it merges, so then history is searched
for the commits that brought the version. Whatever is found counts only where its tree has the
very blob under the path: so it is never the wrong commit, at most another one with the same file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from git_nn.gitio.objects import Reader, open_batch
from git_nn.gitio.repository import Repository

Blobs = tuple[str | None, str | None, str | None]  # base, ours, theirs

_TOLD = "GITHEAD_"
_STOPPED = ("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "REBASE_HEAD")
_LISTS = (("rebase-merge/done", -1), ("rebase-apply/original-commit", 0), ("sequencer/todo", 0))
_NAME = re.compile(r"\b[0-9a-f]{7,64}\b")
_LIST_SIZE = 1024 * 1024
_SEARCHED = 8  # commits that brought the version, of which the first that has it is taken


@dataclass(frozen=True, slots=True)
class Commits:
    """The commits, by full name, whose trees have base, ours and theirs; None where unknown."""

    base: str | None
    ours: str | None
    theirs: str | None


def commits(repo: Repository, path: bytes, blobs: Blobs) -> Commits:
    """Where the three versions of the file ``path`` stand, given by the names of their blobs.

    A side that has the file under another path is not found.
    """
    with open_batch(repo) as reader:
        found = _Search(repo, reader, path)
        base, ours, theirs = blobs
        hints = list(_hints(repo))
        mine = found.first(["HEAD", *hints], ours) or found.in_history(ours)
        # Theirs is a parent of what is reverted, and one of what is picked is the base.
        near = [*hints, *(f"{hint}^" for hint in hints), "HEAD"]
        other = found.first(near, theirs) or found.in_history(theirs)
        below = [] if mine is None or other is None else _below(repo, mine, other)
        return Commits(found.first([*below, *near], base) or found.in_history(base), mine, other)


def _hints(repo: Repository) -> Iterator[str]:
    """Names of commits that Git tells of; some may be nothing, or of another operation."""
    yield from (key.removeprefix(_TOLD) for key in repo.env if key.startswith(_TOLD))
    yield from _STOPPED
    for name, index in _LISTS:
        lines = [line for line in _lines(repo, name) if not line.startswith("#")]
        match = _NAME.search(lines[index]) if lines else None
        if match:
            yield match[0]
    yield "refs/stash"


def _lines(repo: Repository, name: str) -> list[str]:
    try:
        with (repo.git_dir / name).open("rb") as file:
            return file.read(_LIST_SIZE).decode("utf-8", "replace").split("\n")[:-1]
    except OSError:
        return []


def _below(repo: Repository, ours: str, theirs: str) -> list[str]:
    """Merge bases, and the parent of a commit that is picked onto another line."""
    bases = repo.git("merge-base", "--all", ours, theirs, check=False).decode().split()
    return [f"{theirs}^", *bases] if len(bases) != 1 else [*bases, f"{theirs}^"]


@dataclass(frozen=True, slots=True)
class _Search:
    repo: Repository
    reader: Reader
    path: bytes

    def first(self, names: Iterable[str], blob: str | None) -> str | None:
        """The first of ``names`` that is a commit with ``blob`` at the path."""
        path = self.path.decode("utf-8", "surrogateescape")
        for name in names if blob else ():
            there = self.reader.info(f"{name}:{path}")
            if there is not None and there[0] == blob:
                commit = self.reader.info(f"{name}^{{commit}}")
                return commit and commit[0]
        return None

    def in_history(self, blob: str | None) -> str | None:
        """A commit that brought ``blob`` to the path; the newest where there are several."""
        if blob is None:
            return None
        path = f":(top,literal){self.path.decode('utf-8', 'surrogateescape')}"
        argv = ("log", "--all", "HEAD", f"-n{_SEARCHED}", "--format=%H", f"--find-object={blob}")
        output = self.repo.git(*argv, "--", path, check=False)
        return self.first(output.decode().split(), blob)
