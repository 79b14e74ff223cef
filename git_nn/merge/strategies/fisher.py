"""fisher: every element averaged by how much each side's task depends on it.

That is told by the diagonal of each side's Fisher information, in NAME.fisher.safetensors
beside the model: a tensor of the same name and shape. Where it is less than ``floor``, NaN
or infinite it is the floor; where all are zero the elements are averaged.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

import numpy as np

from git_nn.merge.strategies.blocks import Block, Doubles, added, finite, shares

NAME = "fisher"
FORMULA = "sum of w F side / sum of w F, F each side's Fisher information, w the weights of mean"
PAPER = "https://arxiv.org/abs/2111.09832"
PARAMETERS = {"weight": 0.5, "floor": 1e-6}
LIMITS = {"weight": (0.0, 1.0), "floor": (0.0, inf)}
NEEDS_BASE = False
NEEDS = "fisher"


def merge(block: Block, parameters: Mapping[str, float], _: None) -> Doubles:
    weights = shares(parameters["weight"], len(block.sides))
    factors = [
        weight * np.maximum(finite(values), parameters["floor"])
        for weight, values in zip(weights, block.statistics, strict=True)
    ]
    total = added(factors)
    none = total <= 0
    scaled = [
        np.where(none, weight, factor / np.where(none, 1.0, total)) * side
        for weight, factor, side in zip(weights, factors, block.sides, strict=True)
    ]
    return added(scaled)
