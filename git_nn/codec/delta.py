"""Codec 6: the residuals against an earlier version, as planes (docs/spec-codecs.md, 4)."""

from __future__ import annotations

import numpy as np

from git_nn.codec import choice, kernels, records, residual, scratch
from git_nn.codec.scratch import Array

Buffer = bytes | bytearray | memoryview

CODEC, PARTITIONED = 6, 9
WIDTHS = (1, 2, 4, 8)
FLOATS = 16


def encode(
    data: Buffer, base: Buffer, width: int, *, floats: bool, thorough: bool = False
) -> bytes:
    """The body; MismatchError where it would not come back."""
    planes = planes_of(words_of(data, width), words_of(base, width), floats=floats)
    pieces = [piece for plane in planes for piece in records.encode(plane, thorough=thorough)]
    tail = memoryview(data)[len(data) // width * width :]
    return b"".join([bytes([width + FLOATS * floats]), *pieces, tail])


def words_of(data: Buffer, width: int) -> Array:
    return np.frombuffer(data, f"<u{width}", len(data) // width)


def planes_of(new: Array, base: Array, *, floats: bool) -> list[Array]:
    """The bytes of the residuals, the most significant first, in scratch memory."""
    width = new.itemsize
    found = scratch.array("residual", len(new), f"<u{width}")
    residual.residuals(new, base, found, floats=floats)
    planes = [scratch.array(f"plane {i}", len(new)) for i in range(width)]
    kernels.to_bytes(found, planes)
    return planes


def estimate(data: Buffer, base: Buffer, width: int, *, floats: bool) -> float:
    """About how many bits a byte of ``data`` will take as a delta, by a sample."""
    new, old = (choice.sample(words_of(buffer, width)) for buffer in (data, base))
    return sum(map(choice.bits_of, planes_of(new, old, floats=floats))) / width


def decode(body: Buffer, rawlen: int, base: Buffer) -> memoryview:
    """The inverse of ``encode``; ValueError where ``body`` is not its result."""
    width, floats = (body[0] % FLOATS, body[0] // FLOATS) if body else (0, 0)
    if width not in WIDTHS or floats > 1:
        raise ValueError("a delta of unknown kind")
    count = rawlen // width
    rest = memoryview(body)[1:]
    planes = []
    for i in range(width):
        plane, rest = records.decode(rest, count, 1, f"plane {i}")
        planes.append(plane)
    if len(rest) != rawlen % width:
        raise ValueError("planes of another length")
    found = scratch.array("residual", count, f"<u{width}")
    kernels.from_bytes(planes, found)
    out = np.empty(rawlen, np.uint8)
    words = out[: count * width].view(f"<u{width}")
    residual.restore(found, words_of(base, width), words, floats=bool(floats))
    out[count * width :] = np.frombuffer(rest, np.uint8)
    return out.data
