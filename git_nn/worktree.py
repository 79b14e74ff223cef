"""worktree: which tracked files are models, and which of them are pointers on disk now."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from git_nn.errors import PointerError
from git_nn.gitio import revisions
from git_nn.gitio.attributes import lookup
from git_nn.gitio.objects import Reader, open_reader
from git_nn.gitio.repository import Repository
from git_nn.materialise import Task
from git_nn.objects import pointer as pointers
from git_nn.objects.pointer import Pointer, looks_like_pointer


@dataclass(frozen=True, slots=True)
class Tracked:
    """A path in the index with ``filter=nn``; ``pointer`` is None where Git holds raw bytes."""

    path: bytes
    mode: str
    blob: str
    pointer: Pointer | None
    size: int | None
    text: bytes = b""

    @property
    def is_raw(self) -> bool:
        """Whether Git holds the weights themselves; an empty file is its own pointer."""
        return self.pointer is None and self.size != 0


def tracked(repo: Repository, paths: Sequence[bytes] = ()) -> list[Tracked]:
    """Files of the index (stage 0) that pass through our filter, in the index's order."""
    entries = [
        entry
        for entry in revisions.index(repo, paths)
        if entry.stage == 0 and entry.mode.startswith("100")
    ]
    found = lookup(repo, [entry.path for entry in entries], ["filter"])
    ours = [entry for entry in entries if found.get(entry.path, {}).get("filter") == "nn"]
    with open_reader(repo) as reader:
        return [_read(reader, entry) for entry in ours]


def _read(reader: Reader, entry: revisions.Entry) -> Tracked:
    info = reader.info(entry.oid)
    size = info[2] if info is not None else None
    text = b""
    if size is not None and size <= pointers.MAX_SIZE:
        text = reader.read(entry.oid) or b""
    try:
        pointer = pointers.parse(text) if looks_like_pointer(text[:4096]) else None
    except PointerError:
        pointer = None
    return Tracked(entry.path, entry.mode, entry.oid, pointer, size, text)


def is_pointer_on_disk(repo: Repository, item: Tracked) -> bool:
    """Whether the work-tree file is the pointer's text instead of the weights."""
    if repo.work_tree is None or item.pointer is None:
        return False
    path = repo.work_tree / os.fsdecode(item.path)
    try:
        if path.lstat().st_size != len(item.text):
            return False
        return path.read_bytes() == item.text
    except OSError:
        return False


def unmaterialised(repo: Repository, items: Iterable[Tracked]) -> list[Task]:
    """Those of ``items`` that are pointers in the work tree."""
    return [Task(item.path, item.text) for item in items if is_pointer_on_disk(repo, item)]
