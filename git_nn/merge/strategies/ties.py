"""ties: of each change the largest part, and of these the ones with the sign that weighs more.

A change that is NaN or infinite is never trimmed away, so it shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from git_nn.merge.strategies.blocks import Block, Doubles, Tensor, base_of, changes
from git_nn.merge.strategies.elect import elected
from git_nn.merge.strategies.ranks import Cut, largest, largest_changes, may_be_among, share

NAME = "ties"
FORMULA = "base + lambda * mean of the trimmed changes that have the sign of their sum"
PAPER = "https://arxiv.org/abs/2306.01708"
PARAMETERS = {"density": 0.2, "lambda": 1.0}
LIMITS = {"density": (0.0, 1.0)}
NEEDS_BASE = True


def measure(tensor: Tensor, parameters: Mapping[str, float]) -> list[Cut]:
    """Where the largest part of each change ends."""
    count = share(parameters["density"], tensor.size)
    wanted = [(side, count) for side in range(tensor.sides)]
    return largest_changes(tensor, wanted)


def touched(block: Block, _: Mapping[str, float], measured: list[Cut]) -> NDArray[np.bool_]:
    pairs = zip(measured, changes(block), strict=True)
    return reduce(np.logical_or, [may_be_among(cut, change) for cut, change in pairs])


def merge(block: Block, parameters: Mapping[str, float], measured: list[Cut]) -> Doubles:
    trimmed = [
        largest(change, cut, block) for cut, change in zip(measured, changes(block), strict=True)
    ]
    return base_of(block) + parameters["lambda"] * elected(trimmed)
