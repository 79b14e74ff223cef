"""arcee-fusion: ours, with theirs in the few places that matter most.

The importance of an element is how far it moved, times how much its row (the last axis) as
a whole moved: the Kullback-Leibler divergence of the softmax of theirs from that of ours.
Taken are the elements at or above median + 1.5 * (third quartile - first quartile) of all
importances; the quartiles are exact, and are the lower of two neighbours. Where a side is NaN or
infinite it counts as zero, and ours stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from git_nn.merge.strategies.blocks import Block, Doubles, Tensor, finite
from git_nn.merge.strategies.elementary import exp, log
from git_nn.merge.strategies.ranks import Work, cuts
from git_nn.merge.strategies.sums import fold
from git_nn.objects.tensor import Shape

NAME = "arcee-fusion"
FORMULA = "theirs where |theirs - ours| * KL(row) >= median + 1.5 * interquartile range, else ours"
PAPER = "https://github.com/arcee-ai/mergekit"
PARAMETERS: dict[str, float] = {}
NEEDS_BASE = False
TWO_SIDED = True


_EPSILON = 1e-8  # is added to every probability


def unit(shape: Shape) -> int:
    return shape[-1] if shape else 1


def measure(tensor: Tensor, _: Mapping[str, float]) -> float:
    """The importance from which on theirs is taken."""

    def read(work: Work, every: int = 1) -> Iterable[Any]:
        return tensor.each(lambda block: work(block.start, [_importance(block)]), every)

    last = tensor.size - 1
    wanted = [(0, tensor.size - part * last // 4) for part in (1, 2, 3)]
    first, median, third = (cut.value for cut in cuts(read, tensor.size, wanted))
    return median + 1.5 * (third - first)


def _importance(block: Block) -> Doubles:
    width = unit(block.shape)
    ours, theirs = (finite(side).reshape(-1, width) for side in (block.ours, block.theirs))
    p, q = _softmax(theirs) + _EPSILON, _softmax(ours) + _EPSILON
    divergence = np.maximum(fold(p * log(p / q)), 0.0)[:, np.newaxis]
    return (np.abs(theirs - ours) * divergence).reshape(-1)


def _softmax(rows: Doubles) -> Doubles:
    powers = exp(rows - rows.max(axis=1, keepdims=True))
    return powers / fold(powers)[:, np.newaxis]


def merge(block: Block, _: Mapping[str, float], measured: float) -> Doubles:
    taken = (_importance(block) >= measured) & np.isfinite(block.theirs - block.ours)
    return np.where(taken, block.theirs, block.ours)
