"""mean: the weighted average of both sides, as in model soups."""

from __future__ import annotations

from collections.abc import Mapping

from git_nn.merge.strategies.blocks import Block, Doubles

NAME = "mean"
FORMULA = "(1 - weight) * ours + weight * theirs"
PAPER = "https://arxiv.org/abs/2203.05482"
PARAMETERS = {"weight": 0.5}
LIMITS = {"weight": (0.0, 1.0)}
NEEDS_BASE = False


def merge(block: Block, parameters: Mapping[str, float], _: None) -> Doubles:
    weight = parameters["weight"]
    return (1.0 - weight) * block.ours + weight * block.theirs
