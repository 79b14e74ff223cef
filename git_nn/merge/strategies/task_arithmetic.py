"""task-arithmetic: the base plus both sides' changes (task vectors), scaled."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

NAME = "task-arithmetic"
FORMULA = "base + lambda * ((ours - base) + (theirs - base))"
PAPER = "https://arxiv.org/abs/2212.04089"
PARAMETERS = {"lambda": 1.0}
NEEDS_BASE = True


def merge(
    base: NDArray[np.float64] | None,
    ours: NDArray[np.float64],
    theirs: NDArray[np.float64],
    parameters: Mapping[str, float],
) -> NDArray[np.float64]:
    assert base is not None
    return base + parameters["lambda"] * ((ours - base) + (theirs - base))
