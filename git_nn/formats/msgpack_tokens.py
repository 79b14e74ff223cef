"""MessagePack, token by token: where each value stands, without reading what is long.

The msgpack library gives no offsets. Nothing here recurses, and no count is believed that
the file is too short for.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

from git_nn.errors import LayoutError
from git_nn.formats.base import Source

VALUE, STR, BIN, EXT, ARRAY, MAP = "value", "str", "bin", "ext", "array", "map"

# first byte -> kind, bytes of its length or count
_SIZED = {
    0xC4: (BIN, 1), 0xC5: (BIN, 2), 0xC6: (BIN, 4), 0xC7: (EXT, 1), 0xC8: (EXT, 2), 0xC9: (EXT, 4),
    0xD9: (STR, 1), 0xDA: (STR, 2), 0xDB: (STR, 4),
    0xDC: (ARRAY, 2), 0xDD: (ARRAY, 4), 0xDE: (MAP, 2), 0xDF: (MAP, 4),
}  # fmt: skip
_NUMBERS = {
    0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q",
    0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q",
}  # fmt: skip
_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}


class Token(NamedTuple):
    """One value, or the head of a container.

    ``value`` is that of VALUE, the number of entries of ARRAY and MAP, the type of EXT.
    [start, stop) is the content of STR, BIN and EXT; where the next token begins is ``stop``.
    """

    kind: str
    value: Any
    start: int
    stop: int


def token(source: Source, at: int, end: int) -> Token:
    """The token at ``at``; LayoutError where it is none or leaves [at, end)."""
    found = _token(source.read(at, min(9, end - at)), at)
    # an entry takes a byte at least, that of a map two
    room = end - found.stop
    entries = {ARRAY: 1, MAP: 2}.get(found.kind, 0) * (found.value if found.kind in _OPEN else 0)
    if found.stop > end or entries > room:
        raise LayoutError("a value leaves the file")
    return found


_OPEN = (ARRAY, MAP)


def _token(head: bytes, at: int) -> Token:
    if not head:
        raise LayoutError("the file ends before its last value")
    first = head[0]
    if first < 0x80 or first >= 0xE0:
        return Token(VALUE, first if first < 0x80 else first - 256, at, at + 1)
    if first < 0xA0:
        return Token(MAP if first < 0x90 else ARRAY, first & 15, at + 1, at + 1)
    if first < 0xC0:
        return Token(STR, None, at + 1, at + 1 + (first & 31))
    if first in _SIZED:
        return _sized(head, at, *_SIZED[first])
    if 0xD4 <= first <= 0xD8:
        return Token(EXT, _byte(head, 1), at + 2, at + 2 + (1 << first - 0xD4))
    if first in _NUMBERS:
        size = struct.calcsize(_NUMBERS[first])
        (number,) = struct.unpack(_NUMBERS[first], _exactly(head, size))
        return Token(VALUE, number, at, at + 1 + size)
    if first not in _CONSTANTS:
        raise LayoutError("a byte begins no value")
    return Token(VALUE, _CONSTANTS[first], at, at + 1)


def _sized(head: bytes, at: int, kind: str, width: int) -> Token:
    count = int.from_bytes(_exactly(head, width), "big")
    start = at + 1 + width
    if kind in _OPEN:
        return Token(kind, count, start, start)
    if kind == EXT:
        return Token(kind, _byte(head, 1 + width), start + 1, start + 1 + count)
    return Token(kind, None, start, start + count)


def _exactly(head: bytes, size: int) -> bytes:
    if len(head) <= size:
        raise LayoutError("the file ends before its last value")
    return head[1 : 1 + size]


def _byte(head: bytes, at: int) -> int:
    """A signed byte: the type of an extension."""
    return (_exactly(head, at)[-1] ^ 0x80) - 0x80
