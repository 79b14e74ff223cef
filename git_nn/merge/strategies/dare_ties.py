"""dare-ties: every change thinned out at random and scaled up, then elected as by ties."""

from __future__ import annotations

from collections.abc import Mapping

from git_nn.merge.strategies.blocks import Block, Doubles, base_of
from git_nn.merge.strategies.draws import thinned
from git_nn.merge.strategies.elect import elected

NAME = "dare-ties"
FORMULA = "base + lambda * mean of the thinned changes that have the sign of their sum"
PAPER = "https://arxiv.org/abs/2311.03099"
PARAMETERS = {"density": 0.5, "lambda": 1.0}
LIMITS = {"density": (0.0, 1.0)}
NEEDS_BASE = True


def merge(block: Block, parameters: Mapping[str, float], _: None) -> Doubles:
    return base_of(block) + parameters["lambda"] * elected(thinned(block, parameters["density"]))
