"""What gc and fsck learn of packs: plain values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from git_nn.objects.oid import Oid
from git_nn.store import frame, system
from git_nn.store.frame import DamageError
from git_nn.store.index import Entry
from git_nn.store.pack import PackFile


@dataclass(frozen=True, slots=True)
class FrameInfo:
    """One frame of a pack; ``parts`` only for lists, ``base`` only for deltas."""

    id: Oid
    kind: int
    codec: int
    hint: int
    depth: int
    base: Oid | None
    offset: int
    clen: int
    rawlen: int
    parts: tuple[Oid, ...]

    @property
    def stored_size(self) -> int:
        return frame.HEADER_SIZE + self.clen


@dataclass(frozen=True, slots=True)
class PackInfo:
    """One pack; ``mtime`` is when it was written or last relied upon."""

    name: str
    path: Path
    index_path: Path
    size: int
    mtime: float
    frames: tuple[FrameInfo, ...]


@dataclass(frozen=True, slots=True)
class Damage:
    """Something that is wrong with a pack; ``oid`` where it concerns one frame."""

    pack: str
    oid: Oid | None
    what: str


def describe(pack: PackFile) -> PackInfo | None:
    """All of a pack; None where it has gone meanwhile."""
    try:
        status = system.status(pack.path)
        frames = tuple(_describe_frame(pack, entry) for entry in pack.index())
    except FileNotFoundError:
        return None
    return PackInfo(pack.name, pack.path, pack.index_path, status.st_size, status.st_mtime, frames)


def _describe_frame(pack: PackFile, entry: Entry) -> FrameInfo:
    header = entry.header
    base = None if header.base == frame.NO_BASE else header.base
    parts = _list_of(pack, header.id) if header.kind == frame.LIST else ()
    return FrameInfo(
        header.id,
        header.kind,
        header.codec,
        header.hint,
        header.depth,
        base,
        entry.offset,
        header.clen,
        header.rawlen,
        parts,
    )


def _list_of(pack: PackFile, oid: Oid) -> tuple[Oid, ...]:
    try:
        stored = pack.fetch(oid)
        stored.check()
        return tuple(part.oid for part in frame.parse_list(stored.header, stored.body))
    except DamageError:
        return ()
