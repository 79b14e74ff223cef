"""A LevelDB table (leveldb/doc/table_format.md), as TensorFlow writes its ``.index`` files.

At the end a footer names the index block; that names the data blocks, in order; each holds
entries whose keys leave out what they share with the key before. Compressed blocks are refused:
TensorFlow writes none. Checksums are not looked at: what comes of a table is a hint.

Limits: ENTRIES entries, KEYS bytes of keys. No block may stand at or before the one before it,
so that no block is read twice.
"""

from __future__ import annotations

from collections.abc import Iterator

from git_nn.errors import LayoutError
from git_nn.formats.base import Source
from git_nn.formats.protobuf import varint

ENTRIES = 250_000
KEYS = 64 * 1024 * 1024
LONGEST = 16 * 1024  # bytes of one key

FOOTER = 48
MAGIC = 0xDB4775248B80FB57.to_bytes(8, "little")

_TRAILER = 5  # bytes behind a block: how it is compressed, its checksum

Entry = tuple[bytes, int, int]  # key, where its value stands in the table


def entries(table: Source) -> Iterator[Entry]:
    """All entries in ascending order of their keys; LayoutError where the table is broken."""
    if table.size < FOOTER or table.read(table.size - 8, 8) != MAGIC:
        raise LayoutError("the index is no LevelDB table")
    footer = table.read(table.size - FOOTER, FOOTER - 8)
    _, at = varint(footer, 0)
    _, at = varint(footer, at)
    count = total = end = 0
    last = None
    for _, start, stop in _block(table, *_handle(footer, at)):
        offset, size = _handle(table.read(start, stop - start), 0)
        if offset < end:
            raise LayoutError("two blocks of the index overlap")
        end = offset + size
        for entry in _block(table, offset, size):
            count, total = count + 1, total + len(entry[0])
            if count > ENTRIES or total > KEYS:
                raise LayoutError("the index has too many entries or too long keys")
            if last is not None and entry[0] <= last:
                raise LayoutError("the keys of the index are not in order")
            last = entry[0]
            yield entry


def _handle(data: bytes, at: int) -> tuple[int, int]:
    """Offset and size of a block."""
    offset, at = varint(data, at)
    return offset, varint(data, at)[0]


def _block(table: Source, offset: int, size: int) -> Iterator[Entry]:
    if offset + size + _TRAILER > table.size:
        raise LayoutError("a block leaves the index")
    data = table.read(offset, size + _TRAILER)
    if data[size]:
        raise LayoutError("the index is compressed")
    restarts = int.from_bytes(data[max(0, size - 4) : size], "little")
    end = size - 4 - 4 * restarts
    if end < 0:
        raise LayoutError("a block of the index is too short")
    at, key = 0, b""
    while at < end:
        shared, at = varint(data, at)
        fresh, at = varint(data, at)
        length, at = varint(data, at)
        start = at + fresh
        if shared > len(key) or start + length > end or shared + fresh > LONGEST:
            raise LayoutError("an entry of the index leaves its block")
        key = key[:shared] + data[at:start]
        at = start + length
        yield key, offset + start, offset + at
