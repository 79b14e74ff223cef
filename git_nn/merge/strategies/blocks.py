"""blocks: what a strategy sees of a tensor: blocks of doubles, read as often as it needs.

A block is a run of elements in C order; where it starts and how long it is must not change
a result. Complex numbers count as pairs: a complex m x n is a real m x 2n.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from math import prod
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from git_nn.objects.tensor import Shape

Doubles = NDArray[np.float64]
Places = NDArray[np.intp]


Result = TypeVar("Result")


class Each(Protocol):
    """One pass over a tensor: what ``work`` makes of each block, in order.

    ``work`` may run in several threads at once. With ``every`` about one element in so many
    counts: those at the start of each block.
    """

    def __call__(self, work: Callable[[Block], Result], every: int = 1) -> Iterator[Result]: ...


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor that is being merged; ``sides`` is how many versions are, the base not counted.

    ``singles`` gives the blocks in single precision, where that holds all values and is faster.
    """

    shape: Shape
    each: Each
    sides: int
    singles: Each | None = None

    @property
    def size(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class Block:
    """Elements ``start`` and following of every version, flat; base is None if not read.

    ``shape`` is that of the tensor; ``sides`` are two or more, ours first. ``keys`` are 128
    bits for each side, for the draws of its change: they follow from the content ids of the
    versions that are read. ``statistics`` are those that a strategy NEEDS, one for each side:
    the same elements where they have the tensor's shape, else all; or none at all. With
    ``places`` these are only some of the elements, so many after ``start``.
    """

    shape: Shape
    keys: tuple[int, ...]
    start: int
    base: Doubles | None
    sides: tuple[Doubles, ...]
    statistics: tuple[Doubles, ...] = ()
    places: Places | None = None

    @property
    def ours(self) -> Doubles:
        return self.sides[0]

    @property
    def theirs(self) -> Doubles:
        """The other side of a merge of two."""
        _, theirs = self.sides
        return theirs


def changes(block: Block) -> tuple[Doubles, ...]:
    """What each side changed: (ours - base, theirs - base, ...)."""
    base = base_of(block)
    return tuple(side - base for side in block.sides)


def added(values: Sequence[Doubles]) -> Doubles:
    """The sum of one or more arrays, from the first to the last."""
    return reduce(np.add, values)


def base_of(block: Block) -> Doubles:
    """The base of a strategy that NEEDS_BASE."""
    assert block.base is not None
    return block.base


def only(values: Doubles, mask: NDArray[np.bool_]) -> Doubles:
    """``values`` where ``mask`` holds, else zero: by bits, where numpy.where would branch."""
    bits = np.negative(mask.view(np.int8), dtype=np.int64)
    bits &= values.view(np.int64)
    return bits.view(np.float64)


def shares(weight: float, count: int) -> list[float]:
    """The weights of ``count`` sides, which add up to one.

    Ours has 1 - weight and each other side the weight, divided by the sum of all these (of two
    sides that is exactly 1, after rounding). So at 0.5 all sides count the same.
    """
    total = 1.0 - weight + (count - 1) * weight
    return [(1.0 - weight) / total, *[weight / total] * (count - 1)]


def finite(values: Doubles) -> Doubles:
    """``values`` with zero for NaN and infinity, which no statistic counts."""
    usable = np.isfinite(values)
    return values if usable.all() else np.where(usable, values, 0.0)
