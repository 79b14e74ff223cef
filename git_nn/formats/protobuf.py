"""The wire format of Protocol Buffers, read field by field without a schema.

Strict: a field outside its message, an endless varint, a group, field number 0 or an unknown wire
type is a LayoutError. Nothing here recurses; who follows nested messages bounds how deep.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from git_nn.errors import LayoutError
from git_nn.formats.base import Source

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

_HEAD = 15  # bytes at most of a tag (32 bits) and the varint behind it (64 bits)
_BLOCK = 64 * 1024


class Field(NamedTuple):
    """One field. ``value`` is the unsigned number, 0 for BYTES.

    [start, stop) of the source is the content of BYTES (a nested message, a string, a packed
    array), and the number itself for the others.
    """

    number: int
    wire: int
    value: int
    start: int
    stop: int


class Buffered:
    """A source that reads ahead, for the many small reads of a message; see formats.base.Source."""

    __slots__ = ("_ahead", "_at", "_block", "_source", "size")

    def __init__(self, source: Source, ahead: int = _BLOCK) -> None:
        self._source, self._ahead = source, ahead
        self._at, self._block = 0, b""
        self.size = source.size

    def read(self, offset: int, length: int) -> bytes:
        start = offset - self._at
        if length < 0 or start < 0 or start + length > len(self._block):
            if not 0 <= length < self._ahead:
                return self._source.read(offset, length)
            ahead = max(length, min(self._ahead, self.size - offset))
            self._at, self._block, start = offset, self._source.read(offset, ahead), 0
        return self._block[start : start + length]


def fields(source: Source, start: int, stop: int) -> Iterator[Field]:
    """The fields of the message in [start, stop), in order; LayoutError where it is broken."""
    if not 0 <= start <= stop <= source.size:
        raise LayoutError("a message leaves the file")
    while start < stop:
        head = source.read(start, min(_HEAD, stop - start))
        found = _short(head, start) or _field(head, start)
        if found.stop > stop:
            raise LayoutError("a field leaves its message")
        yield found
        start = found.stop


def _short(head: bytes, start: int) -> Field | None:
    """A field whose tag and number or length are a byte each, as most are: a shorter way."""
    if len(head) < 2 or head[0] & 0x80 or head[1] & 0x80:
        return None
    number, wire, value = head[0] >> 3, head[0] & 7, head[1]
    if number and wire == BYTES:
        return Field(number, BYTES, 0, start + 2, start + 2 + value)
    return Field(number, VARINT, value, start + 1, start + 2) if number and not wire else None


def _field(head: bytes, start: int) -> Field:
    tag, used = varint(head, 0)
    number, wire = tag >> 3, tag & 7
    if not 0 < number < 1 << 29:
        raise LayoutError(f"field number {number} is none")
    at, value = start + used, 0
    if wire == VARINT:
        value, end = varint(head, used)
        end += start
    elif wire == BYTES:
        length, used = varint(head, used)
        at, end = start + used, start + used + length
    elif wire in (FIXED64, FIXED32):
        end = at + (8 if wire == FIXED64 else 4)
        value = int.from_bytes(head[used : end - start], "little")
    else:
        raise LayoutError(f"wire type {wire} is none")
    return Field(number, wire, value, at, end)


def varint(data: bytes, at: int) -> tuple[int, int]:
    """The varint at ``at``, mod 2**64 as the library has it, and where it ends."""
    value = shift = 0
    for i in range(at, min(at + 10, len(data))):
        byte = data[i]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, i + 1
        shift += 7
    raise LayoutError("a varint does not end")


def varints(source: Source, start: int, stop: int) -> Iterator[int]:
    """The numbers of a packed field; LayoutError where the last one does not end."""
    data = source.read(start, stop - start)
    at = 0
    while at < len(data):
        value, at = varint(data, at)
        yield value


def signed(value: int) -> int:
    """A varint as int32 or int64 has it: two's complement of 64 bits."""
    return value - (1 << 64) if value >> 63 else value
