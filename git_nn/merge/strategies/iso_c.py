"""iso-c: all changes added, and every direction of a matrix made equally strong.

Directions whose singular value is zero to rounding stay zero: they have no direction.
The last bits come from LAPACK and may differ between machines. What is no matrix gets the
mean of the changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from git_nn.merge.strategies.blocks import Block, Doubles, added, base_of
from git_nn.merge.strategies.matrices import of_matrix, whole

NAME = "iso-c"
FORMULA = "base + lambda * mean(S) * U V', with U S V' = dO + dT + ..."
PAPER = "https://arxiv.org/abs/2502.04959"
PARAMETERS = {"lambda": 1.0}
NEEDS_BASE = True


unit = whole


def merge(block: Block, parameters: Mapping[str, float], _: None) -> Doubles:
    return base_of(block) + parameters["lambda"] * of_matrix(block, _isotropic)


def _isotropic(changes: Sequence[Doubles]) -> Doubles:
    total = added(changes)
    u, s, v = np.linalg.svd(total, full_matrices=False)
    there = s > s[0] * max(total.shape) * np.finfo(np.float64).eps
    merged: Doubles = s.mean() * (u[:, there] @ v[there])
    return merged
