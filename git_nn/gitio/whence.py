"""whence: the commit that a side of a merge is from, which Git does not tell a merge driver.

A driver gets contents and one path. A commit that has such a content is the side's, whatever
it is called: so names that are only likely (HEAD, MERGE_HEAD, what the environment says) can
be tried, and a wrong one does no harm. A cherry-pick, a revert or a stash names none while the
driver runs; then the commits count that brought the content, wherever Git has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from git_nn.gitio import revisions
from git_nn.gitio.repository import Repository

_HEADS = ("HEAD", "MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD^", "REBASE_HEAD")
_SHORT = 12


@dataclass(frozen=True, slots=True)
class Place:
    """Where a side has a file: a commit, what a person calls it, and the path there."""

    commit: str
    name: str
    path: bytes


def places(repo: Repository, blob: str, path: bytes, likely: Mapping[str, str]) -> list[Place]:
    """The first commit that has ``blob``, else all that brought it; none where Git has none.

    ``likely`` are commits to try first, each with its name. ``path`` is where the result
    stands; a commit may have the file under another name.
    """
    for commit, name in _candidates(repo, likely):
        found = _within(repo, blob, path, commit, name)
        if found is not None:
            return [found]
    argv = ("log", "--all", "-m", "--format=%H", f"--find-object={blob}")
    brought = dict.fromkeys(repo.git(*argv, check=False).decode().split())
    there = (_within(repo, blob, path, commit, commit[:_SHORT]) for commit in brought)
    return [place for place in there if place is not None]


def tips(repo: Repository, blob: str, path: bytes) -> list[Place]:
    """The branches that have ``blob`` at their tips, the same commit once."""
    argv = ("for-each-ref", "--format=%(objectname) %(refname:short)", "refs/heads", "refs/remotes")
    pairs = [line.split(" ", 1) for line in repo.git(*argv).decode("utf-8", "replace").splitlines()]
    there = (_within(repo, blob, path, commit, name) for commit, name in dict(pairs).items())
    return [place for place in there if place is not None]


def _candidates(repo: Repository, likely: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    yield from likely.items()
    for head in _HEADS:
        commit = revisions.resolve(repo, head)
        if commit is not None:
            yield commit, head if head == "HEAD" else commit[:_SHORT]
    with suppress(OSError, IndexError):  # the commit that a rebase applies now
        done = (repo.git_dir / "rebase-merge" / "done").read_text("utf-8", "replace")
        commit = revisions.resolve(repo, done.splitlines()[-1].split()[1])
        if commit is not None:
            yield commit, commit[:_SHORT]


def _within(repo: Repository, blob: str, path: bytes, commit: str, name: str) -> Place | None:
    """The file with that content; of several the one at ``path``."""
    there = [entry.path for entry in revisions.tree(repo, commit) if entry.oid == blob]
    if path in there:
        return Place(commit, name, path)
    return Place(commit, name, there[0]) if len(there) == 1 else None
