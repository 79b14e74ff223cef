"""regmean: of linear layers the weights whose outputs are nearest to those of every side.

Nearest is the least sum of squares over the inputs of all sides. These are told by their
Gram matrices X'X, in NAME.gram.safetensors beside the model: a tensor of the same name,
n x n for a weight m x n (or n x m) with n inputs. All but its diagonal is scaled by
``alpha``. A tensor without one on any side is averaged, as are inputs that no side has used.
The last bits come from LAPACK and may differ between machines.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from git_nn.merge.strategies.blocks import Block, Doubles, added, finite
from git_nn.merge.strategies.matrices import whole

NAME = "regmean"
FORMULA = "(sum of W G) (sum of G)^-1, G = alpha X'X + (1 - alpha) diag(X'X) of each side"
PAPER = "https://arxiv.org/abs/2212.09849"
PARAMETERS = {"alpha": 0.9}
LIMITS = {"alpha": (0.0, 1.0)}
NEEDS_BASE = False
NEEDS = "gram"


unit = whole


def merge(block: Block, parameters: Mapping[str, float], _: None) -> Doubles:
    mean = added(block.sides) / float(len(block.sides))
    if not block.statistics:
        return mean
    usable = finite(mean).reshape(block.shape)
    sides = [finite(side).reshape(block.shape) for side in block.sides]
    inputs = round(len(block.statistics[0]) ** 0.5)
    grams = [_scaled(finite(g).reshape(inputs, inputs), parameters) for g in block.statistics]
    if block.shape[1] == inputs:
        step = _step([side - usable for side in sides], grams)
    else:
        step = _step([(side - usable).T for side in sides], grams).T
    strange = np.any([~np.isfinite(side) for side in block.sides], axis=0)
    return np.where(strange, np.nan, (usable + step).reshape(-1))


def _scaled(gram: Doubles, parameters: Mapping[str, float]) -> Doubles:
    scaled = parameters["alpha"] * gram
    np.fill_diagonal(scaled, np.diagonal(gram))
    return scaled


def _step(distances: list[Doubles], grams: list[Doubles]) -> Doubles:
    """From the mean to the solution; of several the nearest, as where an input is unused."""
    pull = added([d @ g for d, g in zip(distances, grams, strict=True)])
    found = np.linalg.lstsq(added(grams).T, pull.T, rcond=None)[0]
    return found.T.astype(np.float64)
