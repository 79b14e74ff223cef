"""overlap: what two sides changed in a tensor and how far that goes together, in numbers.

Definitions (docs/merge.md, Preview), with dO = ours - base and dT = theirs - base in doubles:

1. Complex numbers count as pairs of reals.
2. An element is changed where its bits differ; where the dtypes do, where its value differs.
3. Signs agree where both changes are above zero or both below. A change that has no sign
   (-0.0 to 0.0, NaN) agrees with none.
4. An element that is NaN or infinite in one of the versions counts in no sum. Sums are those
   of strategies.sums: the same whatever the blocks; NaN where they overflow.

Tensors are read in blocks, so memory does not depend on their size. Everything is additive: what
holds for several tensors as one vector is ``sum_of`` what holds for each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from math import inf, isnan, sqrt
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from git_nn.arrays import Array, as_float64, element_bits
from git_nn.merge.strategies.blocks import Doubles
from git_nn.merge.strategies.sums import cosine, totals

BLOCK = 1 << 17  # elements of a block; with fewer more time goes to what is around them

Blocks = Callable[[int], Iterable[Array]]  # flat arrays of so many elements, the last shorter
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Overlap:
    """Counts of elements, and sums of squares: |base|², |dO|², |dT|² and dO·dT."""

    elements: int = 0
    ours: int = 0
    theirs: int = 0
    both: int = 0
    agreeing: int = 0
    base_square: float = 0.0
    ours_square: float = 0.0
    theirs_square: float = 0.0
    product: float = 0.0

    @property
    def ours_relative(self) -> float | None:
        """The L2 norm of dO by that of the base."""
        return _ratio(self.ours_square, self.base_square)

    @property
    def theirs_relative(self) -> float | None:
        return _ratio(self.theirs_square, self.base_square)

    @property
    def cosine(self) -> float | None:
        """Of the angle of dO and dT; None where one of them is zero."""
        return cosine(self.ours_square, self.product, self.theirs_square)

    @property
    def shared(self) -> float | None:
        """The share of elements that both sides changed."""
        return self.both / self.elements if self.elements else None

    @property
    def sign_overlap(self) -> float | None:
        """Of the elements that both changed, the share whose changes have the same sign."""
        return self.agreeing / self.both if self.both else None


@dataclass(frozen=True, slots=True)
class Apart:
    """How far a result is from a version: the squares of that distance and of the version."""

    step: float = 0.0
    norm: float = 0.0

    @property
    def relative(self) -> float | None:
        """|result - version| / |version|, as a diff from the version to the result has it."""
        return _ratio(self.step, self.norm)


Additive = TypeVar("Additive", Overlap, Apart)


def sum_of(parts: Sequence[Additive], zero: Additive) -> Additive:
    """The numbers of several tensors as one vector; ``zero`` where there are none."""
    columns = zip(*(astuple(part) for part in parts), strict=True)
    return type(zero)(*map(sum, columns)) if parts else zero


def _ratio(square: float, by: float) -> float | None:
    """The square root of ``square / by``; infinite where something grew out of nothing."""
    if isnan(square) or isnan(by):
        return None
    if not by:
        return inf if square else 0.0
    return sqrt(square) / sqrt(by)


def overlap(base: Blocks, ours: Blocks | None, theirs: Blocks | None) -> Overlap:
    """Compare the changes of two versions of one shape; None is a side that is as the base."""
    counts = np.zeros(5, np.int64)

    def columns() -> Iterator[tuple[Doubles, ...]]:
        for before, *sides in _side_by_side(base, ours, theirs):
            origin = as_float64(before)
            d_ours, d_theirs = (
                np.zeros_like(origin) if side is before else as_float64(side) - origin
                for side in sides
            )
            counts[:] += _counts(before, sides, d_ours, d_theirs)
            finite = np.isfinite(origin) & np.isfinite(d_ours) & np.isfinite(d_theirs)
            kept = [origin, d_ours, d_theirs]
            o, a, b = kept if finite.all() else (np.where(finite, x, 0.0) for x in kept)
            yield o * o, a * a, b * b, a * b

    with np.errstate(all="ignore"):
        sums = totals(columns(), 4)
    return Overlap(*counts.tolist(), *sums)


def _side_by_side(
    base: Blocks, ours: Blocks | None, theirs: Blocks | None
) -> Iterator[tuple[Array, Array, Array]]:
    """The blocks of the three versions; a side that is as the base is the very same array."""
    read = [_reals(version) for version in (base, ours, theirs) if version is not None]
    for blocks in zip(*read, strict=True):
        rest = list(blocks[1:])
        mine, other = (blocks[0] if side is None else rest.pop(0) for side in (ours, theirs))
        yield blocks[0], mine, other


def _reals(read: Blocks) -> Iterator[Array]:
    """Blocks in which a complex number is two reals."""
    for block in read(BLOCK):
        yield block.view(block.real.dtype) if block.dtype.kind == "c" else block


def _changed(before: Array, after: Array) -> Mask:
    if after is before:
        return np.zeros(len(before), np.bool_)
    if before.dtype == after.dtype:
        differ: Mask = element_bits(before) != element_bits(after)
        return differ
    old, new = as_float64(before), as_float64(after)
    moved: Mask = (old != new) & ~(np.isnan(old) & np.isnan(new))
    return moved


def _counts(before: Array, sides: list[Array], d_ours: Doubles, d_theirs: Doubles) -> list[int]:
    """Elements, changed by ours, by theirs, by both, and by both with the same sign."""
    mine, other = (_changed(before, side) for side in sides)
    both = mine & other
    agree = ((d_ours > 0) & (d_theirs > 0)) | ((d_ours < 0) & (d_theirs < 0))
    return [len(mine), *(int(np.count_nonzero(x)) for x in (mine, other, both, both & agree))]


def distances(result: Blocks, versions: Sequence[Blocks]) -> tuple[Apart, ...]:
    """How far ``result`` is from each of ``versions``, all of one shape."""

    def columns() -> Iterator[list[Doubles]]:
        read = (_reals(version) for version in versions)
        for made, *others in zip(_reals(result), *read, strict=True):
            values, found = as_float64(made), []
            for other in map(as_float64, others):
                step = values - other
                finite = np.isfinite(step)
                whole = bool(finite.all())
                step, norm = (x if whole else np.where(finite, x, 0.0) for x in (step, other))
                found += [step * step, norm * norm]
            yield found

    with np.errstate(all="ignore"):
        sums = totals(columns(), 2 * len(versions))
    return tuple(map(Apart, sums[::2], sums[1::2]))
