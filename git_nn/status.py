"""status: what has changed in the models, from pointers alone.

HEAD against the index, and the index against the work tree for those files that Git
itself finds modified; only these are hashed.
"""

from __future__ import annotations

import os
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

from git_nn import conflicts
from git_nn.differences.changes import classify
from git_nn.errors import PointerError
from git_nn.formats.base import FileSource
from git_nn.gitio import revisions
from git_nn.gitio.objects import Reader, open_reader
from git_nn.gitio.repository import Repository
from git_nn.model import open_source
from git_nn.objects import pointer as pointers
from git_nn.objects.names import escape
from git_nn.objects.pointer import Pointer, looks_like_pointer
from git_nn.worktree import Tracked, is_pointer_on_disk, tracked


@dataclass(frozen=True, slots=True)
class Change:
    """A model that differs; ``tensors`` are escaped names, ``summary`` counts by kind."""

    path: str
    summary: str
    tensors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Conflict:
    path: str
    tensors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Status:
    """Everything that 'git nn status' tells."""

    models: int
    staged: tuple[Change, ...]
    unstaged: tuple[Change, ...]
    conflicts: tuple[Conflict, ...]
    pointers: tuple[str, ...]
    raw: tuple[str, ...]

    @property
    def is_clean(self) -> bool:
        return not (self.staged or self.unstaged or self.conflicts or self.pointers or self.raw)


def read_status(repo: Repository) -> Status:
    files = tracked(repo)
    return Status(
        models=len(files),
        staged=tuple(_staged(repo)),
        unstaged=tuple(_unstaged(repo, files)),
        conflicts=tuple(
            Conflict(os.fsdecode(record.path), tuple(escape(t.name) for t in record.tensors))
            for record in conflicts.current(repo)
        ),
        pointers=tuple(os.fsdecode(item.path) for item in files if is_pointer_on_disk(repo, item)),
        raw=tuple(os.fsdecode(item.path) for item in files if item.is_raw),
    )


def _staged(repo: Repository) -> list[Change]:
    head = revisions.resolve(repo, "HEAD^{tree}")
    unmerged = {entry.path for entry in revisions.index(repo) if entry.stage}
    found = []
    with open_reader(repo) as reader:
        for change in revisions.changed(repo, head, None):
            if change.path in unmerged:
                continue
            old, new = _side(reader, change.old), _side(reader, change.new)
            if isinstance(old, Pointer) or isinstance(new, Pointer):
                found.append(_compare(change.path, old, new))
    return found


def _side(reader: Reader, entry: revisions.Entry | None) -> Pointer | str:
    """The pointer of a version, else in words what there is; '' where there is nothing."""
    if entry is None:
        return ""
    if not entry.mode.startswith("100"):
        return "a link" if entry.mode == "120000" else "a submodule"
    info = reader.info(entry.oid)
    small = info is not None and info[2] <= pointers.MAX_SIZE
    text = (reader.read(entry.oid) or b"") if small else b""
    if looks_like_pointer(text[:4096]):
        with suppress(PointerError):
            return pointers.parse(text)
        return "a broken pointer"
    return _not_a_pointer(info[2] if info is not None else None)


def _not_a_pointer(size: int | None) -> str:
    return "an empty file" if size == 0 else "raw bytes"


def _unstaged(repo: Repository, files: list[Tracked]) -> list[Change]:
    if repo.work_tree is None:
        return []
    output = repo.git("diff-files", "--name-only", "-z", "--no-ext-diff")
    modified = set(output.split(b"\0")[:-1])
    found = []
    for item in files:
        if item.path not in modified or is_pointer_on_disk(repo, item):
            continue
        try:
            with (repo.work_tree / os.fsdecode(item.path)).open("rb") as file:
                new = open_source(FileSource.of(file.fileno())).pointer
        except FileNotFoundError:
            found.append(Change(os.fsdecode(item.path), "deleted"))
            continue
        if item.pointer != new:
            found.append(_compare(item.path, item.pointer or _not_a_pointer(item.size), new))
    return found


def _compare(path: bytes, old: Pointer | str, new: Pointer | str) -> Change:
    """A change of which at least one side is a pointer; the other may be in words."""
    name = os.fsdecode(path)
    if isinstance(new, str):
        return Change(name, f"{new} instead of a pointer" if new else "deleted")
    if isinstance(old, str):
        what = f"a pointer instead of {old}" if old else "new"
        return Change(name, f"{what}, {len(new.entries)} tensors")
    result = classify(old, new)
    kinds = Counter(change.kind.value for change in result.changes)
    parts = [f"{count} {kind}" for kind, count in kinds.items()] or ["container only"]
    summary = f"{', '.join(parts)} of {len(new.entries)} tensors"
    return Change(name, summary, tuple(escape(change.name) for change in result.changes))
