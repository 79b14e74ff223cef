"""elect: the sign election of TIES, and the mean of the changes that agree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from git_nn.merge.strategies.blocks import Doubles, added


def agreeing(changes: Sequence[Doubles]) -> list[NDArray[np.bool_]]:
    """Which of the changes have the sign of their sum (of a sum of zero: plus).

    A change of zero agrees with none. Where the sum is NaN all do, so that it is not hidden.
    """
    total = added(changes)
    strange, positive = np.isnan(total), total >= 0
    return [np.where(positive, change > 0, change < 0) | strange for change in changes]


def elected(changes: Sequence[Doubles]) -> Doubles:
    """The mean of the changes that agree with the elected sign; zero where none does."""
    masks = agreeing(changes)
    pairs = zip(masks, changes, strict=True)
    total = added([np.where(mask, change, 0.0) for mask, change in pairs])
    return total / np.maximum(added([mask.astype(np.float64) for mask in masks]), 1.0)
