"""Codecs 2 to 5: words as planes, each a record (docs/spec-codecs.md, sections 2 and 3).

Trained weights have few different exponents and random mantissas, so the exponent plane
is worth an entropy coder and the rest is mostly stored as it is.
"""

from __future__ import annotations

import numpy as np

from git_nn.codec import kernels, records, scratch

Buffer = bytes | bytearray | memoryview

WIDTHS = (2, 4, 8)


def encode(data: Buffer, width: int, *, thorough: bool = False) -> bytes:
    """The body of codec 5; MismatchError where it would not come back."""
    count = len(data) // width
    planes = [
        scratch.array(f"plane {i}", count, f"<u{size}")
        for i, size in enumerate(kernels.ITEMS[width])
    ]
    kernels.split(np.frombuffer(data, f"<u{width}", count), planes)
    pieces = [piece for plane in planes for piece in records.encode(plane, thorough=thorough)]
    return b"".join([bytes([width]), *pieces, memoryview(data)[count * width :]])


def decode(body: Buffer, rawlen: int) -> memoryview:
    """The inverse of ``encode``; ValueError where ``body`` is not its result."""
    if not body or body[0] not in WIDTHS:
        raise ValueError("words of no known width")
    return decode_planes(memoryview(body)[1:], rawlen, body[0], rotated=False)


def decode_planes(body: Buffer, rawlen: int, width: int, *, rotated: bool = True) -> memoryview:
    """The raw bytes of codecs 2 to 4; ValueError where ``body`` is no such encoding."""
    count = rawlen // width
    rest = memoryview(body)
    planes = []
    for i, itemsize in enumerate(kernels.ITEMS[width]):
        plane, rest = records.decode(rest, count, itemsize, f"plane {i}")
        planes.append(plane)
    if len(rest) != rawlen % width:
        raise ValueError("planes of another length")
    out = np.empty(rawlen, np.uint8)
    kernels.merge(planes, out[: count * width].view(f"<u{width}"), rotated=rotated)
    out[count * width :] = np.frombuffer(rest, np.uint8)
    return out.data
