"""model-stock: from the base towards the mean, the farther the smaller the angle of the changes.

The cosine is the mean one of all pairs of changes; that with a side without change is 0.
Orthogonal changes give the base back; so do opposed ones (the formula would step away from
the mean, and has a pole).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

from git_nn.merge.strategies.blocks import Block, Doubles, Tensor, added, base_of, changes
from git_nn.merge.strategies.sums import angle, gram

NAME = "model-stock"
FORMULA = "k * mean + (1 - k) * base, k = Nc / (1 + (N - 1) c), c = max(0, mean cos(dO, dT))"
PAPER = "https://arxiv.org/abs/2403.19522"
PARAMETERS: dict[str, float] = {}
NEEDS_BASE = True


def measure(tensor: Tensor, _: Mapping[str, float]) -> float:
    """How far to go, from 0 to 1."""
    products = gram(tensor, changes)
    pairs = [*combinations(range(len(products)), 2)]
    cosines = [angle(products, a, b) or 0.0 for a, b in pairs]
    cos, count = max(0.0, sum(cosines) / len(pairs)), len(products)
    return count * cos / (1.0 + (count - 1) * cos)


def merge(block: Block, _: Mapping[str, float], measured: float) -> Doubles:
    mean = added(block.sides) / float(len(block.sides))
    return measured * mean + (1.0 - measured) * base_of(block)
