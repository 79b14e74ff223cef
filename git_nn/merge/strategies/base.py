"""base: go back to the tensor that both sides started from. It is copied, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping

from git_nn.merge.strategies.blocks import Block, Doubles, base_of

NAME = "base"
FORMULA = "base"
PAPER = ""
PARAMETERS: dict[str, float] = {}
NEEDS_BASE = True
COPIES_BASE = True


def merge(block: Block, _p: Mapping[str, float], _: None) -> Doubles:
    return base_of(block)
