"""matrices: what the strategies that decompose whole matrices share.

They hold the whole tensor in memory, a few times over, as doubles.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np

from git_nn.merge.strategies.blocks import Block, Doubles, added, changes, finite
from git_nn.objects.tensor import Shape


def whole(shape: Shape) -> int:
    """A unit: the tensor is one block."""
    return prod(shape)


def of_matrix(block: Block, combined: Callable[[Sequence[Doubles]], Doubles]) -> Doubles:
    """``combined`` of the changes as matrices; their mean where the tensor is none.

    A matrix has two axes, each longer than one. A change that is NaN or infinite counts as
    none, and the result is NaN at its place.
    """
    parts, shape = changes(block), block.shape
    if len(shape) != 2 or min(shape) < 2:
        return added(parts) / float(len(parts))
    usable = combined([finite(part).reshape(shape) for part in parts]).reshape(-1)
    strange = np.any([~np.isfinite(part) for part in parts], axis=0)
    return np.where(strange, np.nan, usable)
