"""elect: the sign election of TIES for two changes, and the mean of those that agree."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from git_nn.merge.strategies.blocks import Doubles


def agreeing(ours: Doubles, theirs: Doubles) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which of the two changes has the sign of their sum (of a sum of zero: plus).

    A change of zero agrees with none. Where the sum is NaN both do, so that it is not hidden.
    """
    total = ours + theirs
    strange, positive = np.isnan(total), total >= 0
    mine, other = (np.where(positive, side > 0, side < 0) | strange for side in (ours, theirs))
    return mine, other


def elected(ours: Doubles, theirs: Doubles) -> Doubles:
    """The mean of the changes that agree with the elected sign; zero where none does."""
    mine, other = agreeing(ours, theirs)
    total = np.where(mine, ours, 0.0) + np.where(other, theirs, 0.0)
    return total / np.where(mine & other, 2.0, 1.0)
