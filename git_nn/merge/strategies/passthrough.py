"""passthrough: our tensor, scaled; theirs is not read.

Every element is scaled, also one that is equal on both sides.
"""

from __future__ import annotations

from collections.abc import Mapping

from git_nn.merge.strategies.blocks import Block, Doubles

NAME = "passthrough"
FORMULA = "scale * ours"
PAPER = ""
PARAMETERS = {"scale": 1.0}
NEEDS_BASE = False
TWO_SIDED = True
READS_BOTH = False


def merge(block: Block, parameters: Mapping[str, float], _: None) -> Doubles:
    return parameters["scale"] * block.ours
