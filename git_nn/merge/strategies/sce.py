"""sce: where the sides differ most, their changes by their energy, the lesser sign erased.

select: the elements with the largest variance, that is with the largest |dO - dT|, of those
where it is not zero. calculate: the weight of a side is the mean square of what is selected of
its change. erase: a change that has not the sign of their sum.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from git_nn.merge.strategies.blocks import Block, Doubles, Tensor, base_of, changes, finite
from git_nn.merge.strategies.elect import agreeing
from git_nn.merge.strategies.ranks import EVERYTHING, Columns, Cut, among, cuts, share
from git_nn.merge.strategies.sums import gram, totals

NAME = "sce"
FORMULA = "base + mean, weighted by energy, of the selected changes with the sign of their sum"
PAPER = "https://arxiv.org/abs/2408.07990"
PARAMETERS = {"select": 1.0}
LIMITS = {"select": (0.0, 1.0)}
NEEDS_BASE = True


@dataclass(frozen=True, slots=True)
class Selected:
    """Which elements count, and the weights of the two sides."""

    cut: Cut
    ours: float
    theirs: float


def measure(tensor: Tensor, parameters: Mapping[str, float]) -> Selected:
    cut = EVERYTHING if parameters["select"] >= 1 else _cut(tensor, parameters["select"])
    mine, _, other = gram(tensor, lambda block: _selected(block, cut))
    if not mine + other > 0:  # no change at all, or sums that are no finite numbers
        return Selected(cut, 0.5, 0.5)
    return Selected(cut, mine / (mine + other), other / (mine + other))


def _cut(tensor: Tensor, density: float) -> Cut:
    def read() -> Iterator[Columns]:
        for block in tensor.read():
            yield block.start, (_spread(*changes(block)),)

    (differ,) = totals(([(spread > 0).astype(np.float64)] for _, (spread,) in read()), 1)
    return cuts(read, tensor.size, [(0, share(density, int(differ)))])[0]


def _spread(ours: Doubles, theirs: Doubles) -> Doubles:
    return np.abs(finite(ours - theirs))


def _selected(block: Block, cut: Cut) -> tuple[Doubles, Doubles]:
    ours, theirs = changes(block)
    strange = ~np.isfinite(ours - theirs)  # is never left out, so that it shows
    inside = among(cut, _spread(ours, theirs), block.start) | strange
    return np.where(inside, ours, 0.0), np.where(inside, theirs, 0.0)


def merge(block: Block, _: Mapping[str, float], measured: Selected) -> Doubles:
    ours, theirs = _selected(block, measured.cut)
    mine, other = agreeing(ours, theirs)
    total = np.where(mine, measured.ours * ours, 0.0) + np.where(other, measured.theirs * theirs, 0)
    weight = np.where(mine, measured.ours, 0.0) + np.where(other, measured.theirs, 0.0)
    return base_of(block) + total / np.where(weight > 0, weight, 1.0)
