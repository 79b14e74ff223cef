"""rank: of how few directions the change of a matrix is made, as a merged LoRA's is.

The largest singular values come from a randomised range finder (Halko, Martinsson and
Tropp, 2011, algorithm 4.4) with a fixed seed. Rounding the merged weights adds noise of full
rank, so the rank of a change is where its singular values fall off a cliff, not where
they end.
"""

from __future__ import annotations

from math import exp

import numpy as np

from git_nn.arrays import Array

MOST = 64  # the highest rank that is looked for
CLIFF = 2.5  # between the last singular value that counts and the next one
EXACT = 2048  # rows or columns up to which all singular values are computed

_SPARE, _POWERS = 10, 2


def low_rank(change: Array) -> int | None:
    """The rank of ``change``, a matrix of finite values, where it is low; else None.

    Low is at most MOST and a quarter of the smaller dimension.
    """
    limit = min(MOST, min(change.shape) // 4)
    if limit < 1 or not change.any():
        return None
    values = _largest(change, limit + _SPARE)
    floor = values[0] * 1e-7  # what single precision leaves of nothing
    steps = values[:limit] / np.maximum(values[1 : limit + 1], floor)
    steps[values[:limit] <= floor] = 0
    at = int(steps.argmax())
    return at + 1 if steps[at] >= CLIFF else None


def effective_rank(change: Array) -> float | None:
    """exp of the entropy of the singular values as shares (Roy and Vetterli, 2007).

    None for a change of nothing and for matrices larger than EXACT both ways.
    """
    if min(change.shape) > EXACT or not change.any():
        return None
    wide = change if change.shape[0] <= change.shape[1] else change.T
    wide = wide / np.abs(wide).max()
    squares = np.linalg.eigvalsh(wide @ wide.T)
    values = np.sqrt(squares[squares > squares[-1] * 1e-14])
    share = values / values.sum()
    return exp(-float((share * np.log(share)).sum()))


def _largest(change: Array, count: int) -> Array:
    """The ``count`` largest singular values, about; the first of them the best."""
    random = np.random.default_rng(0)
    basis = np.linalg.qr(change @ random.standard_normal((change.shape[1], count)))[0]
    for _ in range(_POWERS):
        basis = np.linalg.qr(change.T @ basis)[0]
        basis = np.linalg.qr(change @ basis)[0]
    values: Array = np.linalg.svd(basis.T @ change, compute_uv=False)
    return values
