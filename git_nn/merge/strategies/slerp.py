"""slerp: between both sides along the great circle, the tensor taken as one vector.

Vectors whose cosine is beyond 0.9995 are mixed linearly, as the common implementations do; so
are a vector of zeros and what has no angle for NaN or overflow.
"""

from __future__ import annotations

from collections.abc import Mapping

from git_nn.merge.strategies.angles import weights
from git_nn.merge.strategies.blocks import Block, Doubles, Tensor
from git_nn.merge.strategies.sums import angle, gram

NAME = "slerp"
FORMULA = "(sin((1 - t) * a) * ours + sin(t * a) * theirs) / sin(a), a the angle of the two"
PAPER = "https://en.wikipedia.org/wiki/Slerp"
PARAMETERS = {"t": 0.5}
LIMITS = {"t": (0.0, 1.0)}
NEEDS_BASE = False
TWO_SIDED = True


_COLINEAR = 0.9995


def measure(tensor: Tensor, parameters: Mapping[str, float]) -> tuple[float, float]:
    """The weights of ours and theirs."""
    cos = angle(gram(tensor, lambda block: (block.ours, block.theirs)))
    near = cos is None or abs(cos) > _COLINEAR
    return weights(None if near else cos, parameters["t"], 0.0)


def merge(block: Block, _: Mapping[str, float], measured: tuple[float, float]) -> Doubles:
    mine, other = measured
    return mine * block.ours + other * block.theirs
