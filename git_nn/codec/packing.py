"""Bytes of few different values as several symbols to a byte, and sparse bytes as gaps.

Why: an entropy coder that works on whole bytes spends at least one bit on each. Two, four
or eight weights to a byte go below that, come closer to the entropy, and halve the work.
Modes 4 and 5 of docs/spec-codecs.md, without their records.
"""

from __future__ import annotations

import numpy as np

from git_nn.codec import kernels, scratch
from git_nn.codec.scratch import Array

BITS = (1, 2, 4)
RUN = 255  # a gap byte that is not followed by an element
_FIELDS = {(4, 4): 0x0F0F, (2, 12): 0x000F000F, (2, 6): 0x03030303}  # what a shift may fill


def packed_size(count: int, bits: int) -> int:
    """Bytes of ``count`` packed symbols."""
    return -(-count * bits // 8)


def pack(plane: Array, bits: int, lowest: int, out: Array) -> None:
    """The symbols of ``plane`` into ``out``, ceil(len(plane) * bits / 8) bytes."""
    per = 8 // bits
    for at in kernels.blocks(len(plane), 2):
        symbols = _symbols(plane[at], bits, lowest)
        stop = -(-at.stop // per)
        _squeeze(symbols, bits, out[at.start // per : stop])


def _symbols(block: Array, bits: int, lowest: int) -> Array:
    """One symbol per byte, with zeros up to a whole number of packed bytes."""
    padded = -(-len(block) // 8) * 8
    symbols = scratch.array("symbols", padded)
    symbols[len(block) :] = 0
    inner = symbols[: len(block)]
    np.subtract(block, np.uint8(lowest), out=inner)
    # numpy 2.4 has SIMD for the minimum of two arrays, not for that with a scalar
    np.minimum(inner, _constant((1 << bits) - 1, len(inner)), out=inner)
    return symbols


def _constant(value: int, count: int) -> Array:
    name = f"constant{value}"
    found = scratch.array(name, kernels.BLOCK // 2)
    if found[0] != value or found[-1] != value:
        found.fill(value)
    return found[:count]


def _squeeze(symbols: Array, bits: int, out: Array) -> None:
    if bits == 1:
        out[:] = np.packbits(symbols, bitorder="little")[: len(out)]
        return
    per = 8 // bits
    wide = symbols.view(f"<u{per}")
    other = scratch.array("squeezed", len(wide), wide.dtype.str)
    shift = 8 - bits
    while shift < (8 - bits) * per:
        np.right_shift(wide, shift, out=other)
        np.bitwise_or(wide, other, out=wide)
        shift *= 2
    np.copyto(out, wide[: len(out)], casting="unsafe")


def unpack(packed: Array, bits: int, lowest: int, out: Array) -> Array:
    """The plane of ``packed`` into ``out``; where its escapes belong, as indices."""
    per, escapes = 8 // bits, []
    escape = np.uint8((lowest + (1 << bits) - 1) & 255)
    for at in kernels.blocks(len(out), 2):
        block = out[at]
        symbols = scratch.array("symbols", -(-len(block) // 8) * 8)
        _spread(packed[at.start // per : -(-at.stop // per)], bits, symbols)
        np.add(symbols[: len(block)], np.uint8(lowest), out=block)
        found = scratch.array("found", len(block), "?")
        np.equal(block, escape, out=found)
        escapes.append(np.flatnonzero(found) + at.start)
    return np.concatenate(escapes) if escapes else np.empty(0, np.intp)


def _spread(packed: Array, bits: int, symbols: Array) -> None:
    if bits == 1:
        symbols[: 8 * len(packed)] = np.unpackbits(packed, bitorder="little")
        return
    per = 8 // bits
    wide = symbols.view(f"<u{per}")[: len(packed)]
    other = scratch.array("squeezed", len(wide), wide.dtype.str)
    np.copyto(wide, packed)
    shift = (8 - bits) * per // 2
    while shift >= 8 - bits:
        np.left_shift(wide, shift, out=other)
        np.bitwise_or(wide, other, out=wide)
        np.bitwise_and(wide, _FIELDS[bits, shift], out=wide)
        shift //= 2


def escapes_of(plane: Array, bits: int, lowest: int) -> Array:
    """The elements of ``plane`` that ``pack`` has no symbol for, in order."""
    rest = np.uint8((1 << bits) - 1)
    runs = []
    for at in kernels.blocks(len(plane), 2):
        block = plane[at]
        shifted = scratch.array("symbols", len(block))
        found = scratch.array("found", len(block), "?")
        np.subtract(block, np.uint8(lowest), out=shifted)
        np.greater_equal(shifted, rest, out=found)
        runs.append(block[found])
    return np.concatenate(runs) if runs else plane[:0]


def to_gaps(plane: Array, common: int) -> tuple[Array, Array]:
    """(gap bytes, elements that are not ``common``)."""
    where = np.flatnonzero(plane != np.uint8(common))
    gaps = np.diff(where, prepend=-1) - 1
    runs = gaps // RUN
    out = np.full(len(where) + int(runs.sum()), RUN, np.uint8)
    out[np.cumsum(runs + 1) - 1] = gaps % RUN
    return out, plane[where]


def from_gaps(gaps: Array, others: Array, common: int, out: Array) -> None:
    """The inverse of ``to_gaps``, into ``out``; ValueError where it does not fit."""
    ends = gaps != RUN
    places = np.cumsum(gaps.astype(np.intp) + ends)[ends] - 1
    if len(places) != len(others) or (len(places) and places[-1] >= len(out)):
        raise ValueError("gaps that do not fit their plane")
    out.fill(common)
    out[places] = others


def elements_of(gaps: Array) -> int:
    """How many elements the gap bytes are followed by."""
    return int(np.count_nonzero(gaps != RUN))
