"""Writes a zip file of members that are given with their sizes and CRC-32s, 64-bit safe.

No clock and no compression: what a member's entry says is written, but for the place of its
bytes, and a data descriptor is never used. So a member of another archive is copied as its raw
stream, whatever its method. Where the bytes of members have to be aligned, the local header is
made longer by the extra field that torch has for it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from git_nn.errors import LayoutError
from git_nn.formats.zip_directory import DESCRIPTOR, FULL, Entry

Content = Iterable[bytes]

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")
_UNIX = 3 << 8  # made on, which says how attributes are meant


def write_zip(file: BinaryIO, members: Iterable[tuple[Entry, Content]], alignment: int = 1) -> None:
    """Write ``members`` in their order to ``file``, which is empty.

    The bytes of each begin at a multiple of ``alignment``, a power of two below 64 Ki.
    LayoutError where the bytes of a member are not as many as its entry says.
    """
    directory: list[bytes] = []
    at = 0
    for entry, content in members:
        head = _local(entry, at, alignment)
        written = file.write(head)
        for piece in content:
            written += file.write(piece)
        if written != len(head) + entry.stored_size:
            raise LayoutError(f"zip member {entry.name!r} has another size than was said")
        directory.append(_central(entry, at))
        at += written
    file.writelines([*directory, *_end(len(directory), sum(map(len, directory)), at)])


def _local(entry: Entry, at: int, alignment: int) -> bytes:
    sizes = (entry.stored_size, entry.size)
    extra = b""
    if max(sizes) >= FULL:
        extra = struct.pack("<2H2Q", 1, 16, entry.size, entry.stored_size)
        sizes = (FULL, FULL)
    before = at + _LOCAL.size + len(entry.raw_name) + len(extra)
    if before % alignment:
        padding = -(before + 4) % alignment
        extra += struct.pack("<2sH", b"FB", padding) + b"Z" * padding
    head = _LOCAL.pack(
        b"PK\x03\x04", 45 if extra else 20, entry.flags & ~DESCRIPTOR, entry.method,
        entry.modified & 0xFFFF, entry.modified >> 16, entry.crc, *sizes,
        len(entry.raw_name), len(extra),
    )  # fmt: skip
    return head + entry.raw_name + extra


def _central(entry: Entry, at: int) -> bytes:
    values = (entry.size, entry.stored_size, at)
    wide = [value for value in values if value >= FULL]
    extra = struct.pack(f"<2H{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
    size, stored_size, start = (min(value, FULL) for value in values)
    version = 45 if wide else 20
    head = _CENTRAL.pack(
        b"PK\x01\x02", version | _UNIX, version, entry.flags & ~DESCRIPTOR, entry.method,
        entry.modified & 0xFFFF, entry.modified >> 16, entry.crc, stored_size, size,
        len(entry.raw_name), len(extra), 0, 0, 0, entry.attributes, start,
    )  # fmt: skip
    return head + entry.raw_name + extra


def _end(count: int, size: int, start: int) -> Iterator[bytes]:
    if count >= 0xFFFF or size >= FULL or start >= FULL:
        yield _END64.pack(b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, start)
        yield _LOCATOR.pack(b"PK\x06\x07", 0, start + size, 1)
    few = min(count, 0xFFFF)
    yield _END.pack(b"PK\x05\x06", 0, 0, few, few, min(size, FULL), min(start, FULL), 0)
