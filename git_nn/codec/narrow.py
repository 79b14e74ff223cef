"""Codecs 7 and 8: f32 words that hold 16-bit floats (docs/spec-codecs.md, section 5).

Whether they do is found with integers only: conversions of NaNs differ between machines.
"""

from __future__ import annotations

from functools import cache
from typing import Protocol

import numpy as np

from git_nn.codec.scratch import Array

Buffer = bytes | bytearray | memoryview

TYPES = ("", "bf16", "f16")
INNER = (0, 1, 5, 6, 9, 10)
_WITH_BASE = (6, 9, 10)
_SAMPLE = 4096


class Decoder(Protocol):
    """``table.decode``, which stands above this module."""

    def __call__(self, codec: int, body: Buffer, rawlen: int, base: Buffer | None) -> Buffer: ...


def narrowed(data: Buffer) -> tuple[str, memoryview] | None:
    """(16-bit dtype, its bytes) that ``data`` is an f32 form of; None for other data."""
    if len(data) % 4:
        return None
    words = np.frombuffer(data, "<u4")
    some = words[:: max(1, len(words) // _SAMPLE)]
    for dtype, unused in (("bf16", 0xFFFF), ("f16", 0x1FFF)):
        if not (some & unused).any() and (half := narrowed_as(dtype, data)) is not None:
            return dtype, half
    return None


def narrowed_as(dtype: str, data: Buffer) -> memoryview | None:
    """The ``dtype`` bytes that ``data`` is the f32 form of; None where it is not."""
    words = np.frombuffer(data, "<u4")
    half = (words >> 16).astype("<u2") if dtype == "bf16" else _half_floats(words)
    return half.view(np.uint8).data if np.array_equal(_widened(dtype, half), words) else None


def _half_floats(words: Array) -> Array:
    """The f16 of each word where there is one; anything elsewhere."""
    with np.errstate(all="ignore"):
        half: Array = words.view("<f4").astype("<f2").view("<u2")
    special = np.flatnonzero(words & 0x7F800000 == 0x7F800000)
    of_special = words[special]
    half[special] = (of_special >> 16 & 0x8000) | 0x7C00 | (of_special >> 13 & 0x3FF)
    return half


def _widened(dtype: str, half: Array) -> Array:
    if dtype == "bf16":
        wide: Array = half.astype("<u4")
        wide <<= 16
        return wide
    return _half_table()[half]


@cache
def _half_table() -> Array:
    """The f32 word of each f16 word."""
    half = np.arange(1 << 16, dtype="<u4")
    sign, exponent, mantissa = half >> 15 << 31, half >> 10 & 31, half & 0x3FF
    normal = exponent + 112 << 23 | mantissa << 13
    normal[exponent == 31] |= 0xFF << 23
    denormal = (mantissa.astype("<f4") * np.float32(2**-24)).view("<u4")
    return sign | np.where(exponent == 0, denormal, normal)


def wrapped(dtype: str, codec: int, body: Buffer) -> bytes:
    """The body of codec 7 or 8 around one for the 16-bit words."""
    return b"".join((bytes([TYPES.index(dtype), codec]), body))


def decode(body: Buffer, rawlen: int, base: Buffer | None, inner: Decoder) -> memoryview:
    """The f32 bytes; ValueError where ``body`` is not valid or ``base`` cannot be narrowed."""
    if len(body) < 2 or rawlen % 4 or body[0] not in (1, 2) or body[1] not in INNER:
        raise ValueError("not narrowed words")
    dtype, codec = TYPES[body[0]], body[1]
    if (base is not None) != (codec in _WITH_BASE):
        raise ValueError("narrowed words with a base of no use, or without one")
    old = None if base is None else narrowed_as(dtype, base)
    if base is not None and old is None:
        raise ValueError("a base that cannot be narrowed")
    half = np.frombuffer(inner(codec, memoryview(body)[2:], rawlen // 2, old), "<u2")
    return _widened(dtype, half).view(np.uint8).data
