"""tsv: of each change its strongest directions, made orthogonal to those of the others.

Of N sides each keeps one N-th. These parts side by side are replaced by the nearest
matrices with orthonormal columns (whitening, by Procrustes). The last bits come from LAPACK
and may differ between machines.
What is no matrix gets the mean of the changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from git_nn.merge.strategies.blocks import Block, Doubles, base_of
from git_nn.merge.strategies.matrices import of_matrix, whole

NAME = "tsv"
FORMULA = "base + lambda * U S V', the strongest of svd(dO), svd(dT), ..., U and V orthogonal"
PAPER = "https://arxiv.org/abs/2412.00081"
PARAMETERS = {"lambda": 1.0}
NEEDS_BASE = True


unit = whole


def merge(block: Block, parameters: Mapping[str, float], _: None) -> Doubles:
    return base_of(block) + parameters["lambda"] * of_matrix(block, _orthogonalised)


def _orthogonalised(changes: Sequence[Doubles]) -> Doubles:
    count = min(changes[0].shape) // len(changes)
    parts = [np.linalg.svd(change, full_matrices=False) for change in changes]
    left = _nearest(np.concatenate([u[:, :count] for u, _, _ in parts], axis=1))
    right = _nearest(np.concatenate([v[:count].T for _, _, v in parts], axis=1))
    merged: Doubles = (left * np.concatenate([s[:count] for _, s, _ in parts])) @ right.T
    return merged


def _nearest(columns: Doubles) -> Doubles:
    """The matrix with orthonormal columns that is nearest."""
    u, _, v = np.linalg.svd(columns, full_matrices=False)
    nearest: Doubles = u @ v
    return nearest
