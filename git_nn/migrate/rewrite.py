"""rewrite: all commits of some refs, through one edit, into a pack that waits for its finish."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from git_nn.gitio.repository import Repository
from git_nn.gitio.rewriting import Rewriter
from git_nn.migrate import swap
from git_nn.migrate.swap import Moved


@dataclass(frozen=True, slots=True)
class Rewritten:
    """``commits`` of ``walked`` changed; ``unsigned`` had a signature, tags included."""

    walked: int
    commits: int
    unsigned: int
    moved: tuple[Moved, ...]


def exact(repo: Repository) -> Repository:
    """``repo`` without replacements: what is rewritten is what Git would send to others."""
    return repo.with_env(GIT_NO_REPLACE_OBJECTS="1")


def rewrite(repo: Repository, rewriter: Rewriter, refs: Mapping[str, str]) -> Rewritten:
    """Rewrite what ``refs`` (name -> object) reach; nothing is in Git before ``take``."""
    walk = ("rev-list", "--topo-order", "--reverse", "--stdin")
    walked = 0
    with repo.pipe(walk, stdin="".join(f"{oid}\n" for oid in refs.values()).encode()) as output:
        for line in output:
            rewriter.commit(line.decode().strip())
            walked += 1
    after = {ref: rewriter.tag(oid) for ref, oid in refs.items()}
    moved = tuple(Moved(ref, oid, after[ref]) for ref, oid in refs.items() if after[ref] != oid)
    return Rewritten(walked, len(rewriter.commits), rewriter.unsigned, moved)


def take(repo: Repository, rewriter: Rewriter, done: Rewritten, reason: str) -> None:
    """Give Git the new objects, then move the refs."""
    if not done.moved:
        return
    rewriter.pack.finish()
    _copy_notes(repo, rewriter.commits)
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    while repo.git("for-each-ref", "--count=1", f"{swap.KEPT}{stamp}"):
        stamp += "x"  # two in one second
    swap.move(repo, done.moved, stamp, reason)


def _copy_notes(repo: Repository, commits: Mapping[str, str]) -> None:
    """Give the new commits the notes of the old ones, which keep theirs."""
    for ref in repo.git("for-each-ref", "--format=%(refname)", "refs/notes").decode().split():
        listed = repo.git("notes", f"--ref={ref}", "list").decode().splitlines()
        noted = [line.split()[1] for line in listed]
        pairs = [f"{oid} {commits[oid]}\n" for oid in noted if oid in commits]
        if pairs:
            argv = ("notes", f"--ref={ref}", "copy", "-f", "--stdin")
            repo.git(*argv, stdin="".join(pairs).encode())
