"""nuslerp: slerp of the two changes, added to the base.

Changes whose angle has a sine below 1e-8 are mixed linearly.
"""

from __future__ import annotations

from collections.abc import Mapping

from git_nn.merge.strategies.angles import weights
from git_nn.merge.strategies.blocks import Block, Doubles, Tensor, base_of, changes
from git_nn.merge.strategies.sums import angle, gram

NAME = "nuslerp"
FORMULA = "base + (sin((1 - t) * a) * dO + sin(t * a) * dT) / sin(a), a the angle of the changes"
PAPER = "https://github.com/arcee-ai/mergekit"
PARAMETERS = {"t": 0.5}
LIMITS = {"t": (0.0, 1.0)}
NEEDS_BASE = True
TWO_SIDED = True


_COLINEAR = 1e-8


def measure(tensor: Tensor, parameters: Mapping[str, float]) -> tuple[float, float]:
    """The weights of our and of their change."""
    return weights(angle(gram(tensor, changes)), parameters["t"], _COLINEAR)


def merge(block: Block, _: Mapping[str, float], measured: tuple[float, float]) -> Doubles:
    (mine, other), (ours, theirs) = measured, changes(block)
    return base_of(block) + (mine * ours + other * theirs)
