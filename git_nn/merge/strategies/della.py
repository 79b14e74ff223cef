"""della: as dare-ties, but the smaller a change within its row, the likelier it is dropped.

A row is all that belongs to one index of the first axis; a vector is one row. Within it the
magnitudes have ranks from 0 to 1 (equal ones in order). The rank gives the probability to be
kept, density + epsilon * (2 * rank - 1), held between 0 and 1, and what is kept is divided by
it. A density of 1 drops nothing and one of 0 everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np

from git_nn.merge.strategies.blocks import Block, Doubles, base_of, changes, finite
from git_nn.merge.strategies.draws import thin
from git_nn.merge.strategies.elect import elected
from git_nn.objects.tensor import Shape

NAME = "della"
FORMULA = "base + lambda * mean of the thinned changes that have the sign of their sum"
PAPER = "https://arxiv.org/abs/2406.11617"
PARAMETERS = {"density": 0.5, "epsilon": 0.15, "lambda": 1.0}
LIMITS = {"density": (0.0, 1.0), "epsilon": (0.0, 0.5)}
NEEDS_BASE = True


def unit(shape: Shape) -> int:
    return prod(shape[1:]) if len(shape) > 1 else prod(shape)


def merge(block: Block, parameters: Mapping[str, float], _: None) -> Doubles:
    width = unit(block.shape)
    thinned = [
        thin(change, _chance(change.reshape(-1, width), parameters), key, block.start)
        for change, key in zip(changes(block), block.keys, strict=True)
    ]
    return base_of(block) + parameters["lambda"] * elected(thinned)


def _chance(change: Doubles, parameters: Mapping[str, float]) -> Doubles:
    """The probability of each element to be kept; ``change`` has a row per row."""
    density, epsilon = parameters["density"], parameters["epsilon"]
    if density in (0.0, 1.0):
        return np.full(change.size, density)
    width = change.shape[1]
    order = np.argsort(np.abs(finite(change)), axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(width)[np.newaxis], axis=1)
    spread = 2.0 * (ranks / (width - 1.0)) - 1.0 if width > 1 else np.zeros(change.shape)
    return np.clip(density + epsilon * spread, 0.0, 1.0).reshape(-1)
