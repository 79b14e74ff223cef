"""numbers: how far a tensor moved, in one pass over both versions (definitions: docs/diff.md).

Both versions come as blocks of elements that fit the cache, so memory does not depend on the
tensor's size. Every sum runs in double precision; elements that are not finite are
counted and left out. Differences of 64-bit integers are exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

import numpy as np

from git_nn.arrays import Array, as_float64, cast, element_bits
from git_nn.differences.scale import Scale
from git_nn.differences.summary import Summary, Totals, exponent_of, is_double, scaled
from git_nn.differences.ulps import ulp_distance
from git_nn.objects.tensor import Shape

BLOCK = 1 << 16  # elements of a block, about; as doubles they stay in the cache

Blocks = Callable[[int], Iterator[Array]]  # flat arrays of so many elements, the last shorter


@dataclass(frozen=True, slots=True)
class Numbers:
    """What changed in one tensor; ``before`` and ``after`` describe each version alone."""

    elements: int
    changed: int
    relative: float | None
    cosine: float | None
    max_abs: float | int | None
    max_at: Shape | None
    mean_abs: float | None
    flips: int
    rows: tuple[int, int] | None
    ulps: int | None
    scale: float | None
    before: Summary
    after: Summary

    @property
    def nan(self) -> tuple[int, int]:
        return self.before.nan, self.after.nan

    @property
    def inf(self) -> tuple[int, int]:
        return self.before.inf, self.after.inf


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
    flips: int = 0
    ulps: int = 0
    scale: Scale = field(default_factory=Scale)
    before: Totals = field(default_factory=Totals)
    after: Totals = field(default_factory=Totals)


def measure(old: Array, new: Array, dtype: str) -> Numbers:
    """Compare two arrays of one shape; ``dtype`` is that of ``new``.

    Where the dtypes differ, a changed element is one that is not the old value converted
    to ``dtype``; the other numbers compare the values themselves.
    """
    return measure_blocks(blocks_of(old), blocks_of(new), new.shape, dtype)


def measure_flat(old: Array, new: Array, dtype: str) -> Numbers:
    """Compare arrays of different shape but equal size, element by element in C order."""
    return measure(old.reshape(new.shape), new, dtype)


def measure_common(old: Array, new: Array, dtype: str) -> Numbers:
    """Compare the part that two arrays of equal rank have in common: the same indices."""
    room = tuple(slice(min(a, b)) for a, b in zip(old.shape, new.shape, strict=True))
    return measure(old[room], new[room], dtype)


def blocks_of(array: Array) -> Blocks:
    """The blocks of an array in memory, in C order."""

    def blocks(count: int) -> Iterator[Array]:
        flat = array.reshape(-1)
        for start in range(0, flat.size, count):
            yield flat[start : start + count]

    return blocks


def measure_blocks(old: Blocks, new: Blocks, shape: Shape, dtype: str) -> Numbers:
    """As ``measure``, for tensors that are read block by block, perhaps twice (doubles)."""
    rows = _Rows(shape)
    exponent, pairs = _pairs(old, new, rows.step)
    sums = _Sums(exponent=exponent)
    whole = floats = True
    with np.errstate(all="ignore"):
        for before, after in pairs:
            whole = before.dtype.kind in "biu" and after.dtype.kind in "biu"
            floats = _add_block(sums, rows, before, after, dtype)
            sums.position += len(before)
    sums.largest = int(sums.largest) if whole else float(sums.largest)
    return _finish(sums, rows, shape, comparable=floats)


def _pairs(old: Blocks, new: Blocks, step: int) -> tuple[int, Iterator[tuple[Array, Array]]]:
    """The exponent for ``scaled``, which only doubles need, and the blocks side by side."""
    pairs = zip(old(step), new(step), strict=True)
    first = list(islice(pairs, 1))
    exponent = 0
    if any(is_double(side) for pair in first for side in pair):
        exponent = exponent_of(old(step), new(step))
    return exponent, chain(first, pairs)


@dataclass(slots=True)
class _Rows:
    """Which rows of a matrix changed: those along the first of two or more dimensions."""

    shape: Shape
    hit: Array | None = field(init=False)
    length: int = field(init=False)

    def __post_init__(self) -> None:
        self.length = math.prod(self.shape[1:]) if len(self.shape) > 1 else 0
        self.hit = np.zeros(self.shape[0], bool) if self.length else None

    @property
    def step(self) -> int:
        """Elements of a block: whole rows, or a part of one row that is longer."""
        if not self.length or self.length > BLOCK:
            return BLOCK
        return BLOCK // self.length * self.length

    def note(self, changed: Array, position: int) -> None:
        """``changed`` says which elements from ``position`` on have changed."""
        if self.hit is None:
            return
        row, begun = divmod(position, self.length)
        if begun or len(changed) % self.length:
            where = (np.flatnonzero(changed) + begun) // self.length
            self.hit[row + where] = True
        else:
            count = len(changed) // self.length
            self.hit[row : row + count] |= changed.reshape(count, self.length).any(axis=1)

    def counts(self) -> tuple[int, int] | None:
        return None if self.hit is None else (int(np.count_nonzero(self.hit)), len(self.hit))


def _add_block(sums: _Sums, rows: _Rows, old: Array, new: Array, dtype: str) -> bool:
    """Add a block; whether ulps between the two versions mean something."""
    changed = _changed(old, new, dtype)
    count = int(np.count_nonzero(changed))
    if count:
        rows.note(changed, sums.position)
    sums.changed += count
    before, after = as_float64(old), as_float64(new)
    finite_before = sums.before.add(before, sums.exponent)
    finite_after = sums.after.add(after, sums.exponent)
    finite = None
    if finite_before is not None or finite_after is not None:
        finite = np.isfinite(before) & np.isfinite(after)
    distance = _distance(old, new, before, after)
    if finite is not None:
        before, after = np.where(finite, before, 0), np.where(finite, after, 0)
        distance = np.where(finite, distance, 0)
    sums.pairs += len(before) if finite is None else int(np.count_nonzero(finite))
    _add_sums(sums, before, after, distance)
    if before.dtype.kind != "c" and count:
        sums.flips += _flips(before, after)
    if finite is not None:
        sums.scale.possible = False
    elif _same_floats(old, new):
        sums.scale.add(before, after, new)
    return _add_ulps(sums, old, new, finite) if count else _same_floats(old, new)


def _add_sums(sums: _Sums, before: Array, after: Array, distance: Array) -> None:
    _note_largest(sums, distance)
    sums.total += float(distance.sum(dtype=np.float64))
    step = distance.astype(np.float64, copy=False)
    if sums.exponent:
        before, after = scaled(before, sums.exponent), scaled(after, sums.exponent)
        step = np.abs(after - before)
    for i, (left, right) in enumerate(
        ((step, step), (before, before), (after, after), (before, after))
    ):
        sums.squares[i] += float(np.vdot(left, right).real)


def _changed(old: Array, new: Array, dtype: str) -> Array:
    """Which elements changed."""
    if old.dtype == new.dtype:
        return _any_part(element_bits(old) != element_bits(new))
    converted = cast(old, dtype)
    differ = _any_part(element_bits(converted) != element_bits(new))
    if differ.any():
        differ &= ~(np.isnan(as_float64(converted)) & np.isnan(as_float64(new)))
    return differ


def _any_part(differ: Any) -> Array:
    """One truth for each element; complex doubles have two parts."""
    parts: Array = differ.any(axis=1) if differ.ndim == 2 else differ
    return parts


def _flips(before: Array, after: Array) -> int:
    """Elements that went from below zero to above it, or the other way round."""
    down, up = before < 0, before > 0
    down &= after > 0
    up &= after < 0
    return int(np.count_nonzero(down)) + int(np.count_nonzero(up))


def _same_floats(old: Array, new: Array) -> bool:
    return old.dtype == new.dtype and "float" in old.dtype.name


def _add_ulps(sums: _Sums, old: Array, new: Array, finite: Array | None) -> bool:
    if not _same_floats(old, new):
        return False
    apart = ulp_distance(old, new)
    if finite is not None:
        apart = np.where(finite, apart, 0)
    sums.ulps = max(sums.ulps, int(apart.max()))
    return True


def _distance(old: Array, new: Array, before: Array, after: Array) -> Array:
    """|new - old|: exact unsigned integers for 64-bit integers, else doubles."""
    wide = {old.dtype.newbyteorder("="), new.dtype.newbyteorder("=")}
    if wide in ({np.dtype(np.int64)}, {np.dtype(np.uint64)}):
        left, right = old.astype(np.int64, copy=False), new.astype(np.int64, copy=False)
        left, right = left.view(np.uint64), right.view(np.uint64)
        return np.where(new >= old, right - left, left - right)
    distance: Array = after - before
    return np.abs(distance, out=distance) if distance.dtype.kind != "c" else np.abs(distance)


def _note_largest(sums: _Sums, distance: Array) -> None:
    at = int(distance.argmax())
    largest = distance[at].item()
    if largest > sums.largest:
        sums.largest, sums.largest_at = largest, sums.position + at


def _finish(sums: _Sums, rows: _Rows, shape: Shape, *, comparable: bool) -> Numbers:
    step, before, after, both = sums.squares
    relative = cosine = None
    if sums.pairs:
        relative = math.sqrt(step) / math.sqrt(before) if before else math.inf if step else 0.0
        if before and after:
            cosine = max(-1.0, min(1.0, both / (math.sqrt(before) * math.sqrt(after))))
    at: Any = np.unravel_index(sums.largest_at, shape) if sums.largest else None
    return Numbers(
        elements=sums.position,
        changed=sums.changed,
        relative=relative,
        cosine=cosine,
        max_abs=sums.largest if sums.pairs else None,
        max_at=None if at is None else tuple(int(i) for i in at),
        mean_abs=sums.total / sums.pairs if sums.pairs else None,
        flips=sums.flips,
        rows=rows.counts(),
        ulps=sums.ulps if comparable and sums.position else None,
        scale=sums.scale.factor if comparable and sums.changed and sums.scale.possible else None,
        before=sums.before.summary(sums.exponent),
        after=sums.after.summary(sums.exponent),
    )
