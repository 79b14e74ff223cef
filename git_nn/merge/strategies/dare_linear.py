"""dare-linear: every change thinned out at random and scaled up, then added."""

from __future__ import annotations

from collections.abc import Mapping

from git_nn.merge.strategies.blocks import Block, Doubles, added, base_of
from git_nn.merge.strategies.draws import thinned

NAME = "dare-linear"
FORMULA = "base + lambda * (thinned dO + thinned dT + ...)"
PAPER = "https://arxiv.org/abs/2311.03099"
PARAMETERS = {"density": 0.5, "lambda": 1.0}
LIMITS = {"density": (0.0, 1.0)}
NEEDS_BASE = True


def merge(block: Block, parameters: Mapping[str, float], _: None) -> Doubles:
    return base_of(block) + parameters["lambda"] * added(thinned(block, parameters["density"]))
