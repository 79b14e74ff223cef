"""model-stock: from the base towards the mean, the farther the smaller the angle of the changes.

Orthogonal changes give the base back; so do opposed ones (the formula would step away from
the mean, and has a pole) and a side without change.
"""

from __future__ import annotations

from collections.abc import Mapping

from git_nn.merge.strategies.blocks import Block, Doubles, Tensor, base_of, changes
from git_nn.merge.strategies.sums import cosine, gram

NAME = "model-stock"
FORMULA = "k * (ours + theirs) / 2 + (1 - k) * base, k = 2c / (1 + c), c = max(0, cos(dO, dT))"
PAPER = "https://arxiv.org/abs/2403.19522"
PARAMETERS: dict[str, float] = {}
NEEDS_BASE = True


def measure(tensor: Tensor, _: Mapping[str, float]) -> float:
    """How far to go, from 0 to 1."""
    cos = max(0.0, cosine(*gram(tensor, changes)) or 0.0)
    return 2.0 * cos / (1.0 + cos)


def merge(block: Block, _: Mapping[str, float], measured: float) -> Doubles:
    mean = (block.ours + block.theirs) / 2.0
    return measured * mean + (1.0 - measured) * base_of(block)
