"""matrices: what the strategies that decompose whole matrices share.

They hold the whole tensor in memory, a few times over, as doubles.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from git_nn.merge.strategies.blocks import Block, Doubles, changes, finite
from git_nn.objects.tensor import Shape


def whole(shape: Shape) -> int:
    """A unit: the tensor is one block."""
    return prod(shape)


def of_matrix(block: Block, combined: Callable[[Doubles, Doubles], Doubles]) -> Doubles:
    """``combined`` of the two changes as matrices; their mean where the tensor is none.

    A matrix has two axes, each longer than one. A change that is NaN or infinite counts as
    none, and the result is NaN at its place.
    """
    ours, theirs = changes(block)
    shape = block.shape
    if len(shape) != 2 or min(shape) < 2:
        return (ours + theirs) / 2.0
    usable = combined(finite(ours).reshape(shape), finite(theirs).reshape(shape)).reshape(-1)
    return np.where(np.isfinite(ours) & np.isfinite(theirs), usable, np.nan)
