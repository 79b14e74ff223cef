"""by_hand: what Git shows of conflicts that were settled without ``git nn resolve``.

``git checkout --theirs`` and ``git add`` end a conflict and tell us nothing; the conflict record
stays behind. Where a commit, or the index of a merge that is not committed yet, has a
result of exactly the versions of such a record, the sides that were taken are remembered, and
of what is no side's the content.

An aborted merge leaves a record behind, too, and looks like "ours": so nothing is believed
but a merge whose both sides can be seen.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

from git_nn import conflicts
from git_nn.conflicts import Record, Spec, Tensor
from git_nn.errors import PointerError, StoreError
from git_nn.gitio.repository import Repository
from git_nn.merge.decide import Side
from git_nn.objects import pointer as pointers
from git_nn.objects.pointer import Pointer, Stored, looks_like_pointer

_HEADS = ("MERGE_HEAD", "CHERRY_PICK_HEAD", "REBASE_HEAD")
_LATEST = ("log", "--walk-reflogs", "--merges", "--max-count=5", "--format=%H", "HEAD", "--")


def learn(repo: Repository) -> None:
    """Remember how the conflicts of records that no longer hold were settled.

    In a merge driver only commits are looked at: the index is about to be another one.
    """
    for record in conflicts.stale(repo):
        from git_nn import settled  # seldom needed, and asked for by every checkout

        result = _result(repo, record)
        if result is None:
            continue
        for tensor in record.tensors:
            how = _side(tensor, conflicts.spec_of(result, tensor.name)) or _content(result, tensor)
            if how is not None:
                with suppress(StoreError):
                    settled.note(repo, tensor, how)


def _content(result: Pointer, tensor: Tensor) -> Spec | None:
    """What a person has put there, if it is a tensor that fits any file."""
    entry = result.by_name.get(tensor.name)
    if not isinstance(entry, Stored) or entry.form:
        return None
    return conflicts.spec_of(result, tensor.name)


def _side(tensor: Tensor, found: conflicts.Spec | None) -> Side | None:
    if found == tensor.theirs:
        return "theirs"
    if found == tensor.ours:
        return "ours"
    return "base" if found == tensor.base else None


def _result(repo: Repository, record: Record) -> Pointer | None:
    """The merged pointer, where a merge of these very versions can be seen."""
    path = os.fsdecode(record.path)

    def blob(revision: str) -> str:
        name = f"{revision}:{path}"
        return repo.git("rev-parse", "--verify", "-q", name, check=False).decode().strip()

    for ours, theirs, result in _merges(repo):
        if (blob(ours), blob(theirs)) != record.blobs[1:]:
            continue
        text = repo.git("cat-file", "blob", blob(result), check=False)
        if looks_like_pointer(text[:4096]):
            with suppress(PointerError):
                return pointers.parse(text)
    return None


def _merges(repo: Repository) -> Iterator[tuple[str, str, str]]:
    """Where ours, theirs and the result of merges are; an empty revision is the index."""
    for head in _HEADS:
        if (repo.git_dir / head).exists() and not conflicts.is_locked(repo):
            yield "HEAD", head, ""
    for commit in repo.git(*_LATEST, check=False).decode().split():
        yield f"{commit}^1", f"{commit}^2", commit
    with suppress(OSError):
        done = (repo.git_dir / "rebase-merge" / "done").read_text("utf-8", "replace")
        picks = [line.split()[1] for line in done.splitlines() if len(line.split()) > 1]
        for pick in picks[-3:]:
            yield "HEAD^1", pick, "HEAD"
