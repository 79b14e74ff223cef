"""mean: the weighted average of both sides, as in model soups."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

NAME = "mean"
FORMULA = "(1 - weight) * ours + weight * theirs"
PAPER = "https://arxiv.org/abs/2203.05482"
PARAMETERS = {"weight": 0.5}
LIMITS = {"weight": (0.0, 1.0)}
NEEDS_BASE = False


def merge(
    _: NDArray[np.float64] | None,
    ours: NDArray[np.float64],
    theirs: NDArray[np.float64],
    parameters: Mapping[str, float],
) -> NDArray[np.float64]:
    weight = parameters["weight"]
    return (1.0 - weight) * ours + weight * theirs
