"""sce: where the sides differ most, their changes by their energy, the lesser sign erased.

select: the elements with the largest variance, that is with the largest |dO - dT|, of those
where it is not zero. calculate: the weight of a side is the mean square of what is selected of
its change. erase: a change that has not the sign of their sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from git_nn.merge.strategies.blocks import (
    Block,
    Doubles,
    Tensor,
    added,
    base_of,
    changes,
    finite,
    only,
)
from git_nn.merge.strategies.elect import agreeing
from git_nn.merge.strategies.ranks import EVERYTHING, Cut, Work, among, cuts, share
from git_nn.merge.strategies.sums import energies

NAME = "sce"
FORMULA = "base + mean, weighted by energy, of the selected changes with the sign of their sum"
PAPER = "https://arxiv.org/abs/2408.07990"
PARAMETERS = {"select": 1.0}
LIMITS = {"select": (0.0, 1.0)}
NEEDS_BASE = True


@dataclass(frozen=True, slots=True)
class Selected:
    """Which elements count, and the weight of each side."""

    cut: Cut
    weights: tuple[float, ...]


def measure(tensor: Tensor, parameters: Mapping[str, float]) -> Selected:
    cut = EVERYTHING if parameters["select"] >= 1 else _cut(tensor, parameters["select"])
    strong = energies(tensor, lambda block: _selected(block, cut))
    total = sum(strong)
    if not total > 0:  # no change at all, or sums that are no finite numbers
        return Selected(cut, (1.0 / tensor.sides,) * tensor.sides)
    return Selected(cut, tuple(energy / total for energy in strong))


def _cut(tensor: Tensor, density: float) -> Cut:
    def read(work: Work, every: int = 1) -> Iterable[Any]:
        return tensor.each(
            lambda block: work(block.start, [finite(_spread(changes(block)))]), every
        )

    differ = sum(read(lambda _, columns: int(np.count_nonzero(columns[0]))))
    return cuts(read, tensor.size, [(0, share(density, differ))])[0]


def _spread(parts: Sequence[Doubles]) -> Doubles:
    """What grows with the variance of the changes: of two their distance."""
    if len(parts) == 2:
        return np.abs(parts[0] - parts[1])
    mean = added(parts) / float(len(parts))
    return added([(part - mean) ** 2 for part in parts])


def _selected(block: Block, cut: Cut) -> list[Doubles]:
    parts = changes(block)
    spread = _spread(parts)
    strange = ~np.isfinite(spread)  # is never left out, so that it shows
    inside = among(cut, finite(spread), block.start) | strange
    return [only(part, inside) for part in parts]


def merge(block: Block, _: Mapping[str, float], measured: Selected) -> Doubles:
    parts = _selected(block, measured.cut)
    counted = [*zip(agreeing(parts), measured.weights, parts, strict=True)]
    total = added([only(weight * part, mask) for mask, weight, part in counted])
    weights = added([np.multiply(mask, weight, dtype=np.float64) for mask, weight, _ in counted])
    return base_of(block) + total / np.where(weights > 0, weights, 1.0)
