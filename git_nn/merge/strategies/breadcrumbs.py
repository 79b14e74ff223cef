"""breadcrumbs: all changes without their largest and their smallest elements.

The outliers that are dropped are fewer where density + gamma is beyond 1. A change that is
NaN or infinite is never dropped, so it shows.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from git_nn.merge.strategies.blocks import (
    Block,
    Doubles,
    Tensor,
    added,
    base_of,
    changes,
    finite,
    only,
)
from git_nn.merge.strategies.ranks import Cut, among, largest_changes, share

NAME = "breadcrumbs"
FORMULA = "base + lambda * (masked dO + masked dT + ...), masked of outliers and small ones"
PAPER = "https://arxiv.org/abs/2312.06795"
PARAMETERS = {"density": 0.9, "gamma": 0.01, "lambda": 1.0}
LIMITS = {"density": (0.0, 1.0), "gamma": (0.0, 1.0)}
NEEDS_BASE = True


Window = tuple[Cut, Cut]  # the elements among the second and not among the first are kept


def measure(tensor: Tensor, parameters: Mapping[str, float]) -> tuple[Window, ...]:
    """Where the outliers and where what is kept ends, of each change."""
    kept = share(parameters["density"], tensor.size)
    outliers = min(int(parameters["gamma"] * tensor.size), tensor.size - kept)
    ends = (outliers, outliers + kept)
    wanted = [(side, end) for side in range(tensor.sides) for end in ends]
    found = largest_changes(tensor, wanted)
    return tuple(zip(found[::2], found[1::2], strict=True))


def merge(block: Block, parameters: Mapping[str, float], measured: tuple[Window, ...]) -> Doubles:
    masked = [
        _masked(change, window, block.start)
        for window, change in zip(measured, changes(block), strict=True)
    ]
    return base_of(block) + parameters["lambda"] * added(masked)


def _masked(change: Doubles, window: Window, start: int) -> Doubles:
    size = np.abs(finite(change))
    outliers, kept = (among(cut, size, start) for cut in window)
    return only(change, (kept & ~outliers) | ~np.isfinite(change))
