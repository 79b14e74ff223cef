"""dare-linear: both changes thinned out at random and scaled up, then added."""

from __future__ import annotations

from collections.abc import Mapping

from git_nn.merge.strategies.blocks import Block, Doubles, base_of
from git_nn.merge.strategies.draws import thinned

NAME = "dare-linear"
FORMULA = "base + lambda * (thinned dO + thinned dT)"
PAPER = "https://arxiv.org/abs/2311.03099"
PARAMETERS = {"density": 0.5, "lambda": 1.0}
LIMITS = {"density": (0.0, 1.0)}
NEEDS_BASE = True


def merge(block: Block, parameters: Mapping[str, float], _: None) -> Doubles:
    ours, theirs = thinned(block, parameters["density"])
    return base_of(block) + parameters["lambda"] * (ours + theirs)
