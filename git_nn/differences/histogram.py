"""histogram: how the values of a tensor lie before and after, and how large its steps are.

Values fall into equal bins between the lowest and the highest finite one of both versions. Steps,
|Δ|, fall into octaves: those from 2**k up to 2**(k+1). What is not finite is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from git_nn.arrays import Array, as_float64
from git_nn.differences.changes import Kind
from git_nn.differences.numbers import BLOCK, Blocks, Numbers
from git_nn.differences.result import Readable, TensorDelta
from git_nn.errors import DamagedObjectError, MissingObjectError

BINS = 48
TENSORS = 20  # that are read for a page, those that moved most
ELEMENTS = 1 << 28  # of all of them together
OCTAVES = 40  # below the largest step; smaller steps count with the lowest
_SMALLEST = -1075  # below the exponent of every double


@dataclass(frozen=True, slots=True)
class Histogram:
    """``before`` and ``after`` are counts in BINS bins from ``low`` to ``high``.

    ``steps`` are counts by octave, the last of 2**``top``; ``still`` elements did not move at all.
    """

    low: float
    high: float
    before: tuple[int, ...]
    after: tuple[int, ...]
    top: int
    steps: tuple[int, ...]
    still: int


def of_model(
    old: Readable, new: Readable, deltas: Iterable[TensorDelta]
) -> Mapping[str, Histogram]:
    """By name, those of the first TENSORS of ``deltas`` that can be read, in one pass over each."""
    found: dict[str, Histogram] = {}
    room = ELEMENTS
    for delta in deltas:
        numbers = delta.numbers
        if len(found) == TENSORS:
            break
        if numbers is None or delta.kind is Kind.RESIZED or numbers.elements > room:
            continue
        made = _of_tensor(old, new, delta, numbers)
        if made is not None:
            found[delta.name] = made
            room -= numbers.elements
    return found


def _of_tensor(
    old: Readable, new: Readable, delta: TensorDelta, numbers: Numbers
) -> Histogram | None:
    assert delta.change.old is not None
    assert delta.change.new is not None
    try:
        before, after = old.blocks(delta.change.old.name), new.blocks(delta.change.new.name)
    except (MissingObjectError, DamagedObjectError, MemoryError):
        return None
    return None if before is None or after is None else measure(before, after, numbers)


def measure(old: Blocks, new: Blocks, numbers: Numbers) -> Histogram | None:
    """One pass over both versions; None where no value is finite or their span overflows."""
    ends = [
        end
        for side in (numbers.before, numbers.after)
        for end in (side.low, side.high)
        if end is not None
    ]
    if not ends:
        return None
    low, high = float(min(ends)), float(max(ends))
    if not math.isfinite(high - low):
        return None
    counts = np.zeros((2, BINS), dtype=np.int64)
    octaves = np.zeros(2101, dtype=np.int64)
    still = 0
    with np.errstate(all="ignore"):
        for pair in zip(old(BLOCK), new(BLOCK), strict=True):
            before, after = (_real(as_float64(side)) for side in pair)
            counts[0] += _binned(before, low, high)
            counts[1] += _binned(after, low, high)
            # of complex values the step itself, not the step of their magnitudes
            step = np.abs(as_float64(pair[1]) - as_float64(pair[0]))
            step = step[np.isfinite(step)]
            moved = step[step > 0]
            still += len(step) - len(moved)
            octaves += np.bincount(np.frexp(moved)[1] - 1 - _SMALLEST, minlength=2101)
    top, steps = _trimmed(octaves)
    return Histogram(low, high, _plain(counts[0]), _plain(counts[1]), top, steps, still)


def _real(values: Array) -> Array:
    return np.abs(values) if values.dtype.kind == "c" else values


def _binned(values: Array, low: float, high: float) -> Array:
    values = values[np.isfinite(values)]
    if low == high:
        found = np.zeros(BINS, dtype=np.int64)
        found[BINS // 2] = len(values)
        return found
    places = ((values - low) * (BINS / (high - low))).astype(np.int64)
    return np.bincount(np.clip(places, 0, BINS - 1), minlength=BINS)


def _trimmed(octaves: Array) -> tuple[int, tuple[int, ...]]:
    """The exponent of the last octave that holds a step, and the counts up to it."""
    held = np.flatnonzero(octaves)
    if not len(held):
        return 0, ()
    first, last = int(held[0]), int(held[-1])
    start = max(first, last - OCTAVES + 1)
    counts = octaves[start : last + 1].copy()
    counts[0] += octaves[:start].sum()
    return last + _SMALLEST, _plain(counts)


def _plain(counts: Array) -> tuple[int, ...]:
    return tuple(int(count) for count in counts)
