"""clean: a file -> its pointer, with every payload and the skeleton in the store.

Rules:
1. The pointer is a function of the bytes, but that a path keeps the pointer it has while
   that stands for exactly these bytes; no clock, environment or tolerance.
2. What a format says is checked here before anything depends on it: the layout by
   ``layout.check`` (in formats.table), its checksums by computing them.
3. The batch is durable when ``clean`` returns, so Git never holds a pointer to nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from zlib import crc32

from git_nn.bases import bases
from git_nn.errors import GitNNError
from git_nn.formats import table
from git_nn.formats.base import Beside, Source, pieces
from git_nn.formats.chunking import cuts
from git_nn.objects import skeleton as skeletons
from git_nn.objects.layout import Chain, Checksum, Extent, Layout, Payload, View
from git_nn.objects.oid import Oid
from git_nn.objects.pointer import Entry, Pointer, Stored, Window, sorted_entries
from git_nn.objects.skeleton import (
    INLINE_LIMIT,
    Blob,
    Crc32,
    Crc32Chain,
    Literal,
    Part,
    Run,
    Skeleton,
    chain_digits,
)
from git_nn.smudge import load_skeleton
from git_nn.store.base import Batch, Store
from git_nn.store.hashing import HashOnly


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A pointer, and what is worth telling about how it came to be."""

    pointer: Pointer
    notes: tuple[str, ...] = ()


def clean(
    source: Source,
    store: Store,
    previous: Pointer | None = None,
    likely: Pointer | None = None,
    beside: Beside | None = None,
) -> Cleaned:
    """Store the content of ``source`` and return its pointer.

    ``previous`` is the pointer that the path has in the index. Where the file would be split
    in another way today and ``previous`` still stands for exactly this content, it stays:
    upgrading git-nn changes no file. Tensors are coded against those of ``likely``, without
    it of ``previous`` (see bases). ``beside`` is the folder of the file, if it has one.
    """
    layout = table.detect(source, beside)
    if previous is not None and _split_by(previous) != _split(layout):
        layout = _kept(layout, previous, source, store)
    with store.batch() as batch:
        pointer = _put(layout, source, batch, bases(layout.payloads, likely or previous))
    return Cleaned(pointer, layout.notes)


def _split_by(pointer: Pointer) -> tuple[Any, ...]:
    """What a pointer says about how its file is split, without the content."""
    stored = {(e.name, e.dtype, e.shape, e.form) for e in pointer.stored.values()}
    return pointer.layout, stored


def _split(layout: Layout) -> tuple[Any, ...]:
    stored = {(p.name, p.dtype, p.shape, p.form) for p in layout.payloads}
    return (layout.format, layout.version), stored


def _kept(proposed: Layout, previous: Pointer, source: Source, store: Store) -> Layout:
    """The layout of ``previous`` where it stands for exactly this content, else ``proposed``.

    Also where its format is described by another file and nothing tells better today: the
    same file with other values.
    """
    if previous.format == "opaque":
        layout = table.opaque(source)
    else:
        try:
            layout = layout_of(previous, load_skeleton(previous, store))
        except GitNNError:
            return proposed
    if layout.size != source.size:
        return proposed
    undescribed = previous.format in table.DESCRIBED and proposed.format == "opaque"
    return layout if undescribed or point(layout, source) == previous else proposed


def layout_of(pointer: Pointer, skeleton: Skeleton) -> Layout:
    """How the file of ``pointer`` is split; its checksums are those that hold."""
    extents: dict[str, list[tuple[int, Extent]]] = {name: [] for name in pointer.stored}
    checksums: list[Checksum] = []
    chains: list[Chain] = []
    position = 0
    for run in skeleton.runs:
        match run:
            case Part():
                extents[run.payload].append((run.offset, Extent(position, run.length)))
            case Crc32():
                checksums.append(Checksum(position, run.start, run.stop))
            case Crc32Chain():
                chains.append(Chain(position, run.spans))
        position += run.length
    payloads = tuple(
        Payload(e.name, e.dtype, e.shape, tuple(x for _, x in sorted(extents[e.name])), e.form)
        for e in pointer.stored.values()
    )
    views = tuple(
        View(e.name, e.dtype, e.shape, e.of, e.offset, e.strides)
        for e in pointer.entries
        if isinstance(e, Window)
    )
    return Layout(*pointer.layout, position, payloads, views, tuple(checksums), tuple(chains))


def point(layout: Layout, source: Source) -> Pointer:
    """The pointer of a checked layout, storing nothing."""
    with HashOnly().batch() as batch:
        return _put(layout, source, batch, {})


def _put(layout: Layout, source: Source, batch: Batch, similar: Mapping[str, Oid]) -> Pointer:
    entries: list[Entry] = [
        _put_payload(payload, source, batch, similar.get(payload.name))
        for payload in layout.payloads
    ]
    entries += (
        Window(view.name, view.dtype, view.shape, view.payload, view.offset, view.strides)
        for view in layout.views
    )
    oid, size = put_skeleton(layout, source, batch)
    return Pointer(layout.format, layout.version, oid, size, sorted_entries(entries))


def put_skeleton(layout: Layout, source: Source, batch: Batch) -> tuple[Oid, int]:
    """The skeleton of a file, stored. Where no checksum is claimed no payload is read."""
    return batch.put([skeletons.encode(Skeleton(tuple(_runs(layout, source, batch))))])


def _put_payload(payload: Payload, source: Source, batch: Batch, base: Oid | None) -> Stored:
    content = (
        piece
        for extent in payload.extents
        for piece in pieces(source, extent.offset, extent.length)
    )
    oid, length = batch.put(content, dtype="u8" if payload.form else payload.dtype, base=base)
    return Stored(payload.name, payload.dtype, payload.shape, oid, length, payload.form)


def _runs(layout: Layout, source: Source, batch: Batch) -> Iterator[Run]:
    """Every byte of the file, in order: parts and checksums, with literals between them."""
    position = 0
    for offset, run in _placed(layout, source):
        yield from _literal(source, position, offset, batch)
        yield run
        position = offset + run.length
    yield from _literal(source, position, layout.size, batch)


def _placed(layout: Layout, source: Source) -> list[tuple[int, Run]]:
    placed: list[tuple[int, Run]] = list(_true_checksums(layout, source))
    for payload in layout.payloads:
        done = 0
        for extent in payload.extents:
            if extent.length:
                placed.append((extent.offset, Part(payload.name, done, extent.length)))
            done += extent.length
    return sorted(placed, key=lambda item: item[0])


def _true_checksums(layout: Layout, source: Source) -> Iterator[tuple[int, Run]]:
    """The checksums and chains that hold; a wrong one in the file is a literal like any other."""

    @cache
    def crc(start: int, stop: int) -> int:
        value = 0
        for piece in pieces(source, start, stop - start):
            value = crc32(piece, value)
        return value

    for checksum in layout.checksums:
        value = crc(checksum.start, checksum.stop).to_bytes(4, "little")
        if source.read(checksum.offset, 4) == value:
            yield checksum.offset, Crc32(checksum.start, checksum.stop)
    for chain in layout.chains:
        digits = chain_digits(crc(*span) for span in chain.spans)
        if source.read(chain.offset, len(digits)) == digits:
            yield chain.offset, Crc32Chain(chain.spans)


def _literal(source: Source, start: int, stop: int, batch: Batch) -> Iterator[Run]:
    length = stop - start
    if length >= INLINE_LIMIT:
        for chunk in cuts(pieces(source, start, length)):
            yield Blob(batch.put([chunk])[0], len(chunk))
    elif length:
        yield Literal(source.read(start, length))
