"""mean: the weighted average, as in model soups.

Of many sides ours has the weight 1 - weight and each of the others the weight, all divided
by their sum; so at 0.5 all count the same.
"""

from __future__ import annotations

from collections.abc import Mapping

from git_nn.merge.strategies.blocks import Block, Doubles, added, shares

NAME = "mean"
FORMULA = "((1 - weight) * ours + weight * theirs + ...) / sum of the weights"
PAPER = "https://arxiv.org/abs/2203.05482"
PARAMETERS = {"weight": 0.5}
LIMITS = {"weight": (0.0, 1.0)}
NEEDS_BASE = False


def merge(block: Block, parameters: Mapping[str, float], _: None) -> Doubles:
    weights = shares(parameters["weight"], len(block.sides))
    return added([part * side for part, side in zip(weights, block.sides, strict=True)])
