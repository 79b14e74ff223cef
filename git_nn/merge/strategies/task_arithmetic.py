"""task-arithmetic: the base plus every side's change (task vectors), scaled."""

from __future__ import annotations

from collections.abc import Mapping

from git_nn.merge.strategies.blocks import Block, Doubles, added, base_of, changes

NAME = "task-arithmetic"
FORMULA = "base + lambda * ((ours - base) + (theirs - base) + ...)"
PAPER = "https://arxiv.org/abs/2212.04089"
PARAMETERS = {"lambda": 1.0}
NEEDS_BASE = True


def merge(block: Block, parameters: Mapping[str, float], _: None) -> Doubles:
    return base_of(block) + parameters["lambda"] * added(changes(block))
