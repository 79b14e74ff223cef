"""Bytes of few different values as several symbols to a byte, and sparse bytes as gaps.

Why: an entropy coder that works on whole bytes spends at least one bit on each. Two, four
or eight weights to a byte go below that, come closer to the entropy, and halve the work.
Modes 4 and 5 of docs/spec-codecs.md, without their records.
"""

from __future__ import annotations

import numpy as np

from git_nn.codec import scratch
from git_nn.codec.scratch import Array

BITS = (1, 2, 4)
RUN = 255  # a gap byte that is not followed by an element
_BLOCK = 256 * 1024  # elements, a multiple of 8
_NONE = np.empty(0, np.intp)
_FIELDS = {(4, 4): 0x0F0F, (2, 12): 0x000F000F, (2, 6): 0x03030303}  # what a shift may fill


class MismatchError(Exception):
    """What was encoded does not decode to what it was made from."""


def packed_size(count: int, bits: int) -> int:
    """Bytes of ``count`` packed symbols."""
    return -(-count * bits // 8)


def pack(plane: Array, bits: int, lowest: int, out: Array, *, checked: bool = True) -> Array:
    """The symbols of ``plane`` into ``out``, ``packed_size`` bytes; the escapes, in order.

    MismatchError where the symbols would not come back.
    """
    per, rest = 8 // bits, (1 << bits) - 1
    symbols, back = (scratch.array(f"symbols {i}", _BLOCK) for i in range(2))
    most = _constant(rest)
    escapes = [plane[:0]]
    for start in range(0, len(plane), _BLOCK):
        block = plane[start : start + _BLOCK]
        inner = symbols[: len(block)]
        np.subtract(block, np.uint8(lowest), out=inner)
        escaped = _escaped(inner, rest)
        if len(escaped):
            escapes.append(block[escaped])
            # numpy 2.4 has SIMD for the minimum of two arrays, not for that with a scalar
            np.minimum(inner, most[: len(block)], out=inner)
        whole = symbols[: -(-len(block) // 8) * 8]
        whole[len(block) :] = 0
        octets = out[start // per : start // per + packed_size(len(block), bits)]
        _squeeze(whole, bits, octets)
        if not checked:
            continue
        _spread(octets, bits, back)
        if not np.array_equal(back[: len(block)], inner):
            raise MismatchError("symbols were not packed as they are")
    return np.concatenate(escapes)


def _escaped(symbols: Array, rest: int) -> Array:
    """Where ``symbols`` are at least ``rest``; quick where that is rare."""
    found = scratch.array("escaped", _BLOCK, "?")[: -(-len(symbols) // 8) * 8]
    found[len(symbols) :] = False
    np.greater_equal(symbols, np.uint8(rest), out=found[: len(symbols)])
    eights = np.flatnonzero(found.view("<u8") != 0)
    if 32 * len(eights) > len(symbols):
        return np.flatnonzero(found)
    inner = np.flatnonzero(found.reshape(-1, 8)[eights])
    return eights[inner // 8] * 8 + inner % 8


def _constant(value: int) -> Array:
    found = scratch.array(f"constant {value}", _BLOCK)
    if found[0] != value or found[-1] != value:
        found.fill(value)
    return found


def _squeeze(symbols: Array, bits: int, out: Array) -> None:
    if bits == 1:
        out[:] = np.packbits(symbols, bitorder="little")[: len(out)]
        return
    per = 8 // bits
    wide = symbols.view(f"<u{per}")
    shifted, joined = (scratch.array(f"wide {i}", len(wide), wide.dtype.str) for i in range(2))
    shift = 8 - bits
    while shift < (8 - bits) * per:
        np.right_shift(wide, shift, out=shifted)
        np.bitwise_or(wide, shifted, out=joined)
        wide = joined
        shift *= 2
    np.copyto(out, wide[: len(out)], casting="unsafe")


def unpack(packed: Array, bits: int, lowest: int, out: Array) -> Array:
    """The plane of ``packed`` into ``out``; where its escapes belong, as indices."""
    per, rest = 8 // bits, (1 << bits) - 1
    symbols = scratch.array("symbols 0", _BLOCK)
    escapes = [_NONE]
    for start in range(0, len(out), _BLOCK):
        block = out[start : start + _BLOCK]
        octets = packed[start // per : start // per + packed_size(len(block), bits)]
        _spread(octets, bits, symbols)
        inner = symbols[: len(block)]
        escapes.append(_escaped(inner, rest) + start)
        np.add(inner, np.uint8(lowest), out=block)
    return np.concatenate(escapes)


def _spread(packed: Array, bits: int, symbols: Array) -> None:
    if bits == 1:
        symbols[: 8 * len(packed)] = np.unpackbits(packed, bitorder="little")
        return
    per = 8 // bits
    wide = symbols.view(f"<u{per}")[: len(packed)]
    other = scratch.array("wide 0", len(wide), wide.dtype.str)
    np.copyto(wide, packed)
    shift = (8 - bits) * per // 2
    while shift >= 8 - bits:
        np.left_shift(wide, shift, out=other)
        np.bitwise_or(wide, other, out=wide)
        np.bitwise_and(wide, _FIELDS[bits, shift], out=wide)
        shift //= 2


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
