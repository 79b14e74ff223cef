"""elect: the sign election of TIES, and the mean of the changes that agree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from git_nn.merge.strategies.blocks import Doubles, added, only


def agreeing(changes: Sequence[Doubles]) -> list[NDArray[np.bool_]]:
    """Which of the changes have the sign of their sum (of a sum of zero: plus).

    A change of zero agrees with none. Where the sum is NaN all do, so that it is not hidden.
    """
    total = added(changes)
    minus, strange = total < 0, np.isnan(total)
    masks = []
    for change in changes:
        mask = np.less(change, 0)
        mask ^= minus
        np.logical_not(mask, out=mask)
        mask &= change != 0
        mask |= strange
        masks.append(mask)
    return masks


def elected(changes: Sequence[Doubles]) -> Doubles:
    """The mean of the changes that agree with the elected sign; zero where none does."""
    masks = agreeing(changes)
    total = added([only(change, mask) for mask, change in zip(masks, changes, strict=True)])
    counts = masks[0].astype(np.uint16)
    for mask in masks[1:]:
        counts += mask
    total /= np.maximum(counts, 1, out=counts)
    return total
