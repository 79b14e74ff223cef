"""The members of a zip file, read from its central directory and held against each local header.

Strict, since two readers that see different members in one file are how files lie: no
duplicate names, no encryption, no several disks, no bytes before the archive, local and
central header agree, members do not overlap. Nothing is ever inflated.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from git_nn.errors import LayoutError
from git_nn.formats.base import Source

STORED = 0
MAX_MEMBERS = 400_000
MAX_DIRECTORY = 128 * 1024 * 1024

_CENTRAL = struct.Struct("<4s6H3I5H2I")
_LOCAL = struct.Struct("<4s5H3I2H")
_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")
FULL = 0xFFFFFFFF
_ENCRYPTED = 0x0001 | 0x0040 | 0x2000
DESCRIPTOR = 0x0008
_UTF8 = 0x0800


@dataclass(frozen=True, slots=True)
class Entry:
    """What the central directory says about a file in the archive.

    ``modified`` is MS-DOS time and date, ``attributes`` what zip files call external ones.
    """

    raw_name: bytes
    name: str
    flags: int
    method: int
    modified: int
    crc: int
    stored_size: int
    size: int
    attributes: int
    header: int
    crc_slot: int


@dataclass(frozen=True, slots=True)
class Member:
    """One file in the archive; ``start`` is where its bytes begin in the zip file.

    ``crc_slots`` are the offsets at which the zip file holds its CRC-32.
    """

    entry: Entry
    start: int
    crc_slots: tuple[int, ...]

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def method(self) -> int:
        return self.entry.method

    @property
    def size(self) -> int:
        return self.entry.size

    @property
    def stored_size(self) -> int:
        return self.entry.stored_size

    @property
    def stop(self) -> int:
        return self.start + self.stored_size

    @property
    def is_stored(self) -> bool:
        """Whether the bytes of the file stand in the archive as they are."""
        return self.method == STORED and self.size == self.stored_size


def read_members(source: Source) -> dict[str, Member]:
    """The members by name, in the order of their place in the file."""
    start, size, count = _find_directory(source)
    if count > MAX_MEMBERS or size > MAX_DIRECTORY:
        raise LayoutError("the zip directory is too large")
    entries = sorted(_entries(source.read(start, size), start), key=lambda entry: entry.header)
    if len(entries) != count or len({entry.name for entry in entries}) != count:
        raise LayoutError("the zip directory counts wrong or has a name twice")
    limits = [entry.header for entry in entries[1:]] + [start]
    members = [_locate(source, *pair) for pair in zip(entries, limits, strict=True)]
    return {member.name: member for member in members}


def _find_directory(source: Source) -> tuple[int, int, int]:
    """Offset, length and number of entries of the central directory."""
    tail_size = min(source.size, _END.size + 0xFFFF)
    tail = source.read(source.size - tail_size, tail_size)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + _END.size > tail_size:
        raise LayoutError("the zip file has no end")
    end = source.size - tail_size + at
    _, disk, first_disk, here, count, size, start, comment = _END.unpack_from(tail, at)
    if disk or first_disk or here != count or end + _END.size + comment != source.size:
        raise LayoutError("the zip file has several disks or ends wrongly")
    if end >= _LOCATOR.size and source.read(end - _LOCATOR.size, 4) == b"PK\x06\x07":
        end, start, size, count = _zip64(source, end, start, size, count)
    if start + size != end:
        raise LayoutError("the zip directory is not where the end of the file says")
    return start, size, count


def _zip64(source: Source, end: int, *short: int) -> tuple[int, int, int, int]:
    """The zip64 record, which must agree with each field of the short one that is in use."""
    _, disk, at, disks = _LOCATOR.unpack(source.read(end - _LOCATOR.size, _LOCATOR.size))
    record = _END64.unpack(source.read(at, _END64.size))
    signature, length, _, _, this, first, here, count, size, start = record
    agree = all(
        given in {full, exact}
        for given, exact, full in zip(
            short, (start, size, count), (FULL, FULL, 0xFFFF), strict=True
        )
    )
    placed = at + 12 + length == end - _LOCATOR.size
    if signature != b"PK\x06\x06" or disk or this or first or disks > 1 or here != count:
        raise LayoutError("the zip64 record makes no sense")
    if not agree or not placed:
        raise LayoutError("the zip64 record contradicts the end of the file")
    return at, start, size, count


def _entries(directory: bytes, base: int) -> Iterator[Entry]:
    at = 0
    while at < len(directory):
        fields = _CENTRAL.unpack_from(directory, at)
        signature, _, _, flags, method, time, date, crc, stored_size, size = fields[:10]
        name_size, extra_size, comment_size, disk, _, attributes, header = fields[10:]
        names = at + _CENTRAL.size
        raw_name = directory[names : names + name_size]
        extra = directory[names + name_size : names + name_size + extra_size]
        if signature != b"PK\x01\x02" or flags & _ENCRYPTED or disk not in {0, 0xFFFF}:
            raise LayoutError("the zip directory has an entry that is damaged or encrypted")
        size, stored_size, header = _widen(extra, size, stored_size, header)
        name = raw_name.decode("utf-8" if flags & _UTF8 else "cp437")
        yield Entry(
            raw_name, name, flags, method, date << 16 | time, crc, stored_size, size, attributes,
            header, base + at + 16,
        )  # fmt: skip
        at = names + name_size + extra_size + comment_size
    if at != len(directory):
        raise LayoutError("the zip directory ends in the middle of an entry")


def _widen(extra: bytes, *values: int) -> tuple[int, ...]:
    """``values`` with each full one replaced by its 64-bit form from the zip64 extra field."""
    if FULL not in values:
        return values
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            wide = iter(struct.unpack_from(f"<{length // 8}Q", extra, at + 4))
            return tuple(next(wide) if value == FULL else value for value in values)
        at += 4 + length
    return values  # the value may just be 0xFFFFFFFF


def _locate(source: Source, entry: Entry, limit: int) -> Member:
    """The member of ``entry``, whose bytes must end before ``limit``."""
    head = source.read(entry.header, _LOCAL.size)
    signature, _, flags, method, _, _, crc, stored_size, size, name_size, extra_size = (
        _LOCAL.unpack(head)
    )
    names = entry.header + _LOCAL.size
    rest = source.read(names, name_size + extra_size)
    size, stored_size = _widen(rest[name_size:], size, stored_size)
    sizes = (stored_size, size)
    if (signature, flags, method, rest[:name_size]) != (
        b"PK\x03\x04", entry.flags, entry.method, entry.raw_name
    ):  # fmt: skip
        raise LayoutError(f"zip member {entry.name!r}: local header and directory differ")
    if sizes != (entry.stored_size, entry.size) and not (flags & DESCRIPTOR and sizes == (0, 0)):
        raise LayoutError(f"zip member {entry.name!r}: local header and directory differ in size")
    start = names + name_size + extra_size
    if start + entry.stored_size > limit:
        raise LayoutError(f"zip member {entry.name!r} reaches into the next one")
    slots = [entry.crc_slot]
    if crc == entry.crc and not flags & DESCRIPTOR:
        slots.append(entry.header + 14)
    if flags & DESCRIPTOR:
        slots += _descriptor_slot(source, start + entry.stored_size, limit, entry.crc)
    return Member(entry, start, tuple(slots))


def _descriptor_slot(source: Source, at: int, limit: int, crc: int) -> list[int]:
    """Where the data descriptor at ``at`` holds the CRC-32, when there is one."""
    if at + 8 > limit:
        return []
    return [at + 4] if source.read(at, 8) == b"PK\x07\x08" + crc.to_bytes(4, "little") else []
