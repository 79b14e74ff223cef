"""Blob storage of Core ML, written by hand from StorageFormat.hpp."""

from __future__ import annotations

import struct
from collections.abc import Sequence

KINDS = {
    "f16": 1, "f32": 2, "u8": 3, "i8": 4, "bf16": 5, "i16": 6, "u16": 7, "i4": 8, "u1": 9,
    "u2": 10, "u4": 11, "u3": 12, "u6": 13, "i32": 14, "u32": 15, "f8_e4m3fn": 16, "f8_e5m2": 17,
}  # fmt: skip

Blob = tuple[str | int, bytes] | tuple[str | int, bytes, int]  # kind, content, bits of padding


def weights(blobs: Sequence[Blob], *, count: int | None = None, version: int = 2) -> bytes:
    out = bytearray(struct.pack("<II56x", len(blobs) if count is None else count, version))
    for kind, content, *padding in blobs:
        out += bytes(-len(out) % 64)
        number = kind if isinstance(kind, int) else KINDS[kind]
        told = (0xDEADBEEF, number, len(content), len(out) + 64, *(padding or [0]))
        out += struct.pack("<IIQQQ32x", *told) + content
    return bytes(out)
