"""elect: the sign election of TIES, and the mean of the changes that agree."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from git_nn.merge.strategies.blocks import Doubles, added, only


def agreeing(changes: Sequence[Doubles]) -> list[NDArray[np.bool_]]:
    """Which of the changes have the sign of their sum (of a sum of zero: plus).

    A change of zero agrees with none. Where the sum is NaN all do, so that it is not hidden.
    """
    total = added(changes)
    plus, strange = total >= 0, np.isnan(total)
    minus = ~plus
    return [((change > 0) & plus) | ((change < 0) & minus) | strange for change in changes]


def elected(changes: Sequence[Doubles]) -> Doubles:
    """The mean of the changes that agree with the elected sign; zero where none does."""
    masks = agreeing(changes)
    total = added([only(change, mask) for mask, change in zip(masks, changes, strict=True)])
    counts = reduce(np.add, [mask.astype(np.uint16) for mask in masks])
    return total / np.maximum(counts, 1).astype(np.float64)
