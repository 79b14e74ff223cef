"""numbers: how far a tensor moved, in one pass over both versions (definitions: docs/diff.md).

Every sum runs in double precision over the elements that are finite in both versions;
the others are counted. Differences of 64-bit integers are exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from git_nn.arrays import Array, as_float64, blocks, cast, element_bits
from git_nn.objects.tensor import Shape


@dataclass(frozen=True, slots=True)
class Numbers:
    """What changed in one tensor; a pair is (before, after)."""

    elements: int
    changed: int
    relative: float | None
    cosine: float | None
    max_abs: float | int | None
    max_at: Shape | None
    mean_abs: float | None
    nan: tuple[int, int]
    inf: tuple[int, int]


@dataclass(slots=True)
class _Sums:
    """The running sums of one pass; squares are of values times 2**-``exponent``."""

    exponent: int = 0
    position: int = 0
    pairs: int = 0
    changed: int = 0
    squares: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0, 0.0])
    total: float = 0.0
    largest: float | int = 0
    largest_at: int = 0
    nan: list[int] = field(default_factory=lambda: [0, 0])
    inf: list[int] = field(default_factory=lambda: [0, 0])


def measure(old: Array, new: Array, dtype: str) -> Numbers:
    """Compare two arrays of one shape; ``dtype`` is that of ``new``.

    Where the dtypes differ, a changed element is one that is not the old value converted
    to ``dtype``; the other numbers compare the values themselves.
    """
    sums = _Sums(exponent=_exponent(old, new))
    with np.errstate(all="ignore"):
        for before, after in blocks(old, new):
            sums.changed += _count_changed(before, after, dtype)
            _add_block(sums, before, after)
            sums.position += len(before)
    whole = old.dtype.kind in "biu" and new.dtype.kind in "biu"
    sums.largest = int(sums.largest) if whole else float(sums.largest)
    return _finish(sums, old.shape)


def measure_flat(old: Array, new: Array, dtype: str) -> Numbers:
    """Compare arrays of different shape but equal size, element by element in C order."""
    return measure(old.reshape(new.shape), new, dtype)


def measure_common(old: Array, new: Array, dtype: str) -> Numbers:
    """Compare the part that two arrays of equal rank have in common: the same indices."""
    room = tuple(slice(min(a, b)) for a, b in zip(old.shape, new.shape, strict=True))
    return measure(old[room], new[room], dtype)


def _count_changed(old: Array, new: Array, dtype: str) -> int:
    if old.dtype == new.dtype:
        differ = element_bits(old) != element_bits(new)
        return int(np.count_nonzero(differ.any(axis=1) if differ.ndim == 2 else differ))
    converted = cast(old, dtype)
    differ = element_bits(converted) != element_bits(new)
    if differ.ndim == 2:
        differ = differ.any(axis=1)
    both_nan = np.isnan(as_float64(converted)) & np.isnan(as_float64(new))
    return int(np.count_nonzero(differ & ~both_nan))


def _add_block(sums: _Sums, old: Array, new: Array) -> None:
    before, after = as_float64(old), as_float64(new)
    finite = _count_special(sums, 0, before) & _count_special(sums, 1, after)
    distance = _distance(old, new, before, after)
    kept = np.count_nonzero(finite)
    if kept < len(finite):
        before, after = np.where(finite, before, 0), np.where(finite, after, 0)
        distance = np.where(finite, distance, 0)
    sums.pairs += int(kept)
    _note_largest(sums, distance)
    sums.total += float(distance.sum(dtype=np.float64))
    step = distance.astype(np.float64, copy=False)
    if sums.exponent:
        before, after = _scaled(before, sums.exponent), _scaled(after, sums.exponent)
        step = np.abs(after - before)
    for i, (left, right) in enumerate(
        ((step, step), (before, before), (after, after), (before, after))
    ):
        sums.squares[i] += float(np.vdot(left, right).real)


def _count_special(sums: _Sums, side: int, values: Array) -> Array:
    """Count the NaNs and infinities of one side; which elements are finite."""
    finite: Array = np.isfinite(values)
    if not finite.all():
        nan = int(np.count_nonzero(np.isnan(values)))
        sums.nan[side] += nan
        sums.inf[side] += int(np.count_nonzero(~finite)) - nan
    return finite


def _distance(old: Array, new: Array, before: Array, after: Array) -> Array:
    """|new - old|: exact unsigned integers for 64-bit integers, else doubles."""
    wide = {old.dtype.newbyteorder("="), new.dtype.newbyteorder("=")}
    if wide in ({np.dtype(np.int64)}, {np.dtype(np.uint64)}):
        left, right = old.astype(np.int64, copy=False), new.astype(np.int64, copy=False)
        left, right = left.view(np.uint64), right.view(np.uint64)
        return np.where(new >= old, right - left, left - right)
    distance: Array = np.abs(after - before)
    return distance


def _note_largest(sums: _Sums, distance: Array) -> None:
    at = int(distance.argmax())
    largest = distance[at].item()
    if largest > sums.largest:
        sums.largest, sums.largest_at = largest, sums.position + at


def _exponent(*arrays: Array) -> int:
    """The power of two by which doubles are scaled, lest their squares overflow or vanish."""
    if not any(array.dtype.newbyteorder("=") in (np.float64, np.complex128) for array in arrays):
        return 0
    top = 0.0
    for (block,) in (part for array in arrays for part in blocks(array)):
        size = np.abs(as_float64(block).view(np.float64))
        top = max(top, float(np.max(size, where=np.isfinite(size), initial=0.0)))
    return math.frexp(top)[1] + 1 if top else 0


def _scaled(values: Array, exponent: int) -> Array:
    if not exponent:
        return values
    scaled: Any = np.ldexp(np.ascontiguousarray(values).view(np.float64), -exponent)
    result: Array = scaled.view(values.dtype)
    return result


def _finish(sums: _Sums, shape: Shape) -> Numbers:
    step, before, after, both = sums.squares
    relative = cosine = None
    if sums.pairs:
        relative = math.sqrt(step) / math.sqrt(before) if before else math.inf if step else 0.0
        if before and after:
            cosine = max(-1.0, min(1.0, both / (math.sqrt(before) * math.sqrt(after))))
    at = np.unravel_index(sums.largest_at, shape) if sums.largest else None
    return Numbers(
        elements=sums.position,
        changed=sums.changed,
        relative=relative,
        cosine=cosine,
        max_abs=sums.largest if sums.pairs else None,
        max_at=None if at is None else tuple(int(i) for i in at),
        mean_abs=sums.total / sums.pairs if sums.pairs else None,
        nan=(sums.nan[0], sums.nan[1]),
        inf=(sums.inf[0], sums.inf[1]),
    )
