"""Messages of Protocol Buffers written by hand from the encoding guide."""

from __future__ import annotations

import struct


def varint(value: int) -> bytes:
    value %= 1 << 64
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: int | float | str | bytes) -> bytes:
    """A varint, a fixed32 float, or content of a certain length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    raw = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def message(*parts: tuple[int, int | float | str | bytes]) -> bytes:
    return b"".join(field(number, value) for number, value in parts)
