"""clean: a file -> its pointer, with every payload and the skeleton in the store.

Rules:
1. The pointer is a function of the bytes and of the layout version that the path's
   pointer already has; no clock, environment or tolerance.
2. What a format says is checked here before anything depends on it: the layout by
   ``layout.check`` (in formats.table), its checksums by computing them.
3. The batch is durable when ``clean`` returns, so Git never holds a pointer to nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from zlib import crc32

from git_nn.bases import bases
from git_nn.formats import table
from git_nn.formats.base import Source, pieces
from git_nn.formats.chunking import cuts
from git_nn.objects import skeleton as skeletons
from git_nn.objects.layout import Layout, Payload
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
) -> Cleaned:
    """Store the content of ``source`` and return its pointer.

    ``previous`` is the pointer that the path has in the index. Where it names another
    layout than the newest and that layout gives the very same pointer for this content,
    the content is unchanged and stays under it: upgrading git-nn changes no file.
    Tensors are coded against those of ``likely``, without it of ``previous`` (see bases).
    """
    layout = table.detect(source)
    if previous is not None and previous.layout != (layout.format, layout.version):
        layout = _older(previous, source) or layout
    with store.batch() as batch:
        pointer = _put(layout, source, batch, bases(layout.payloads, likely or previous))
    return Cleaned(pointer, layout.notes)


def _older(previous: Pointer, source: Source) -> Layout | None:
    """The layout that ``previous`` names, where it describes exactly this content."""
    layout = table.build(*previous.layout, source)
    return layout if layout is not None and point(layout, source) == previous else None


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
    skeleton = Skeleton(tuple(_runs(layout, source, batch)))
    oid, size = batch.put([skeletons.encode(skeleton)])
    return Pointer(layout.format, layout.version, oid, size, sorted_entries(entries))


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
