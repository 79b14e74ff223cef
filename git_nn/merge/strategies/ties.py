"""ties: of both changes the largest part, and where their signs differ the larger one alone.

A change that is NaN or infinite is never trimmed away, so it shows.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from git_nn.merge.strategies.blocks import Block, Doubles, Tensor, base_of, changes, finite
from git_nn.merge.strategies.elect import elected
from git_nn.merge.strategies.ranks import Cut, among, cuts, magnitudes, share

NAME = "ties"
FORMULA = "base + lambda * mean of the trimmed changes that have the sign of their sum"
PAPER = "https://arxiv.org/abs/2306.01708"
PARAMETERS = {"density": 0.2, "lambda": 1.0}
LIMITS = {"density": (0.0, 1.0)}
NEEDS_BASE = True


def measure(tensor: Tensor, parameters: Mapping[str, float]) -> tuple[Cut, Cut]:
    """Where the largest part of our and of their change ends."""
    count = share(parameters["density"], tensor.size)
    ours, theirs = cuts(lambda: magnitudes(tensor), tensor.size, [(0, count), (1, count)])
    return ours, theirs


def merge(block: Block, parameters: Mapping[str, float], measured: tuple[Cut, Cut]) -> Doubles:
    ours, theirs = (
        np.where(among(cut, np.abs(finite(change)), block.start) | ~np.isfinite(change), change, 0)
        for cut, change in zip(measured, changes(block), strict=True)
    )
    return base_of(block) + parameters["lambda"] * elected(ours, theirs)
