"""Words to planes of bytes and back, in numpy (docs/spec-store.md, section 6).

The speed comes from two habits: no strided byte views, but shifts and narrowing copies,
which numpy runs as SIMD; and blocks that stay in the cache. An optional native version
may replace this module: it is the only place that looks at single words.

Words of 4 and 8 bytes give their lower part away whole and go on as words of half the
width, down to the 16 bits that hold sign, exponent and the first bits of the mantissa.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

BLOCK = 64 * 1024  # words
ITEMS = {2: (1, 1), 4: (1, 1, 2), 8: (1, 1, 2, 4)}  # width -> bytes per element of each plane
_LOWER = {4: 2, 8: 3}  # width -> the plane of the lower halves


def split(words: Array) -> list[Array]:
    """The planes of ``words``, which are little-endian unsigned integers."""
    width = words.dtype.itemsize
    planes: list[Array] = [np.empty(len(words), f"<u{size}") for size in ITEMS[width]]
    scratch = {size: np.empty(BLOCK, f"<u{size}") for size in (2, 4, 8) if size <= width}
    rotated = np.empty(BLOCK, "<u2")
    for start in range(0, len(words), BLOCK):
        block = words[start : start + BLOCK]
        at = slice(start, start + len(block))
        size = width
        while size > 2:
            block = _halve(block, planes[_LOWER[size]][at], scratch)
            size //= 2
        _rotate(block, planes[0][at], planes[1][at], rotated)
    return planes


def _halve(block: Array, low: Array, scratch: dict[int, Array]) -> Array:
    """Store the lower halves in ``low``; the upper halves, as words of half the width."""
    size = block.dtype.itemsize
    np.copyto(low, block, casting="unsafe")
    shifted = scratch[size][: len(block)]
    np.right_shift(block, 4 * size, out=shifted)
    high = scratch[size // 2][: len(block)]
    np.copyto(high, shifted, casting="unsafe")
    return high


def _rotate(block: Array, exponent: Array, rest: Array, scratch: Array) -> None:
    """Both bytes of each 16-bit word rotated left by one."""
    word = scratch[: len(block)]
    np.right_shift(block, 15, out=word)
    np.add(word, block, out=word)
    np.add(word, block, out=word)
    np.copyto(rest, word, casting="unsafe")
    np.right_shift(block, 7, out=word)
    np.copyto(exponent, word, casting="unsafe")


def merge(planes: list[Array], words: Array) -> None:
    """The inverse of ``split``, into ``words``."""
    width = words.dtype.itemsize
    scratch = {size: np.empty(BLOCK, f"<u{size}") for size in (2, 4)}
    for start in range(0, len(words), BLOCK):
        stop = min(start + BLOCK, len(words))
        at = slice(start, stop)
        high = words[at] if width == 2 else scratch[2][: stop - start]
        _unrotate(planes[0][at], planes[1][at], high)
        for size in (size for size in _LOWER if size <= width):
            out = words[at] if size == width else scratch[size][: stop - start]
            np.copyto(out, high)
            np.left_shift(out, 4 * size, out=out)
            np.bitwise_or(out, planes[_LOWER[size]][at], out=out)
            high = out


def _unrotate(exponent: Array, rest: Array, out: Array) -> None:
    np.copyto(out, exponent)
    np.left_shift(out, 8, out=out)
    np.bitwise_or(out, rest, out=out)
    sign = np.left_shift(out, 15)
    np.right_shift(out, 1, out=out)
    np.bitwise_or(out, sign, out=out)


def to_bytes(words: Array) -> list[Array]:
    """One plane per byte of the words, the most significant first."""
    width = words.dtype.itemsize
    planes: list[Array] = [np.empty(len(words), np.uint8) for _ in range(width)]
    for start in range(0, len(words), BLOCK):
        block = words[start : start + BLOCK]
        at = slice(start, start + len(block))
        for i, plane in enumerate(planes):
            np.copyto(plane[at], np.right_shift(block, 8 * (width - 1 - i)), casting="unsafe")
    return planes


def from_bytes(planes: list[Array]) -> Array:
    """The inverse of ``to_bytes``."""
    words: Array = np.empty(len(planes[0]), f"<u{len(planes)}")
    for start in range(0, len(words), BLOCK):
        at = slice(start, start + BLOCK)
        block = words[at]
        np.copyto(block, planes[0][at])
        for plane in planes[1:]:
            np.left_shift(block, 8, out=block)
            np.bitwise_or(block, plane[at], out=block)
    return words
