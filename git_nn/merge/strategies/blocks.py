"""blocks: what a strategy sees of a tensor: blocks of doubles, read as often as it needs.

A block is a run of elements in C order; where it starts and how long it is must not change
a result. Complex numbers count as pairs: a complex m x n is a real m x 2n.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from git_nn.objects.tensor import Shape

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor that is being merged. ``read()`` gives its blocks from the start, each time."""

    shape: Shape
    read: Callable[[], Iterator[Block]]

    @property
    def size(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class Block:
    """Elements ``start`` and following of the three versions, flat; base is None if not read.

    ``shape`` is that of the tensor. ``keys`` are 128 bits each, for the draws of our and of
    their change: they follow from the content ids of the versions that are read.
    """

    shape: Shape
    keys: tuple[int, int]
    start: int
    base: Doubles | None
    ours: Doubles
    theirs: Doubles


def changes(block: Block) -> tuple[Doubles, Doubles]:
    """What ours and theirs changed: (ours - base, theirs - base)."""
    base = base_of(block)
    return block.ours - base, block.theirs - base


def base_of(block: Block) -> Doubles:
    """The base of a strategy that NEEDS_BASE."""
    assert block.base is not None
    return block.base


def finite(values: Doubles) -> Doubles:
    """``values`` with zero for NaN and infinity, which no statistic counts."""
    usable = np.isfinite(values)
    return values if usable.all() else np.where(usable, values, 0.0)
