"""Words to planes of bytes and back, in numpy (docs/spec-codecs.md).

The speed comes from three habits: no strided byte views, but shifts and narrowing copies,
which numpy runs as SIMD; blocks that stay in the cache; and results written where the
caller says, into memory that is warm. An optional native version may replace this module
and ``packing``: they are the only places that look at single words.

Words of 4 and 8 bytes give their lower part away whole and go on as words of half the
width, down to the 16 bits that hold sign, exponent and the first bits of the mantissa.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from git_nn.codec import scratch
from git_nn.codec.scratch import Array

BLOCK = 256 * 1024  # bytes
ITEMS = {2: (1, 1), 4: (1, 1, 2), 8: (1, 1, 2, 4)}  # width -> bytes per element of each plane
_LOWER = {4: 2, 8: 3}  # width -> the plane of the lower halves


def blocks(count: int, width: int) -> Iterator[slice]:
    """Cache-sized runs of ``count`` words."""
    step = BLOCK // width
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def split(words: Array, planes: list[Array]) -> None:
    """The planes of codec 5, of unsigned ``words``, into ``planes``."""
    width = words.dtype.itemsize
    for at in blocks(len(words), width):
        block, size = words[at], width
        while size > 2:
            block = _halve(block, planes[_LOWER[size]][at])
            size //= 2
        _split16(block, planes[0][at], planes[1][at])


def _halve(block: Array, low: Array) -> Array:
    """Store the lower halves in ``low``; the upper halves, as words of half the width."""
    size = block.dtype.itemsize
    np.copyto(low, block, casting="unsafe")
    shifted = scratch.array(f"shifted{size}", len(block), f"<u{size}")
    np.right_shift(block, 4 * size, out=shifted)
    high = scratch.array(f"high{size}", len(block), f"<u{size // 2}")
    np.copyto(high, shifted, casting="unsafe")
    return high


def _split16(block: Array, exponent: Array, rest: Array) -> None:
    word = scratch.array("word", len(block), "<u2")
    sign = scratch.array("sign", len(block))
    np.right_shift(block, 7, out=word)
    np.copyto(exponent, word, casting="unsafe")
    np.copyto(rest, block, casting="unsafe")
    np.bitwise_and(rest, 0x7F, out=rest)
    np.less(block.view("<i2"), 0, out=sign.view("?"))
    np.subtract(0, sign, out=sign)
    np.bitwise_and(sign, 0x80, out=sign)
    np.bitwise_or(rest, sign, out=rest)


def merge(planes: list[Array], words: Array, *, rotated: bool = False) -> None:
    """The inverse of ``split``; ``rotated`` for the planes of codecs 2 to 4."""
    width = words.dtype.itemsize
    merge16 = _merge_rotated if rotated else _merge16
    for at in blocks(len(words), width):
        count = at.stop - at.start
        high = words[at] if width == 2 else scratch.array("word", count, "<u2")
        merge16(planes[0][at], planes[1][at], high)
        for size in (size for size in _LOWER if size <= width):
            out = words[at] if size == width else scratch.array("wider", count, f"<u{size}")
            low = scratch.array("low", count, f"<u{size}")
            np.copyto(out, high)
            np.left_shift(out, 4 * size, out=out)
            np.copyto(low, planes[_LOWER[size]][at])
            np.bitwise_or(out, low, out=out)
            high = out


def _merge16(exponent: Array, rest: Array, out: Array) -> None:
    shifted = scratch.array("low", len(out), "<u2")
    np.copyto(out.view("<i2"), rest.view("i1"))  # the sign runs into all upper bits
    np.bitwise_and(out, 0x807F, out=out)
    np.copyto(shifted, exponent)
    np.left_shift(shifted, 7, out=shifted)
    np.bitwise_or(out, shifted, out=out)


def _merge_rotated(exponent: Array, rest: Array, out: Array) -> None:
    shifted = scratch.array("low", len(out), "<u2")
    np.copyto(out, rest)
    np.left_shift(out, 15, out=shifted)
    np.right_shift(out, 1, out=out)
    np.bitwise_or(out, shifted, out=out)
    np.copyto(shifted, exponent)
    np.left_shift(shifted, 7, out=shifted)
    np.bitwise_or(out, shifted, out=out)


def to_bytes(words: Array, planes: list[Array]) -> None:
    """One plane per byte of unsigned ``words``, the most significant first, into ``planes``."""
    for at in blocks(len(words), words.dtype.itemsize):
        _block_to_bytes(words[at], [plane[at] for plane in planes])


def _block_to_bytes(block: Array, planes: list[Array]) -> None:
    if len(planes) == 1:
        np.copyto(planes[0], block, casting="unsafe")
        return
    size = block.dtype.itemsize
    half = scratch.array(f"half{size}", len(block), f"<u{size // 2}")
    np.copyto(half, block, casting="unsafe")
    _block_to_bytes(half, planes[len(planes) // 2 :])
    shifted = scratch.array(f"shifted{size}", len(block), block.dtype.str)
    np.right_shift(block, 4 * size, out=shifted)
    np.copyto(half, shifted, casting="unsafe")
    _block_to_bytes(half, planes[: len(planes) // 2])


def from_bytes(planes: list[Array], words: Array) -> None:
    """The inverse of ``to_bytes``, into ``words``."""
    for at in blocks(len(words), words.dtype.itemsize):
        _block_from_bytes([plane[at] for plane in planes], words[at])


def _block_from_bytes(planes: list[Array], block: Array) -> None:
    if len(planes) == 1:
        np.copyto(block, planes[0])
        return
    size = block.dtype.itemsize
    half = scratch.array(f"half{size}", len(block), f"<u{size // 2}")
    low = scratch.array(f"shifted{size}", len(block), block.dtype.str)
    _block_from_bytes(planes[: len(planes) // 2], half)
    np.copyto(block, half)
    np.left_shift(block, 4 * size, out=block)
    _block_from_bytes(planes[len(planes) // 2 :], half)
    np.copyto(low, half)
    np.bitwise_or(block, low, out=block)
