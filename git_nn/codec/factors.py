"""Is the change of a matrix of low rank, and what are its factors? For lowrank.encode.

A merged word is the nearest one to the true sum, so the change is known up to half a step
of the word's last bit. Least squares, weighted by that step, find the factors; a part of
the matrix tells at little cost whether there are any.
"""

from __future__ import annotations

import numpy as np

from git_nn.codec import lowrank
from git_nn.codec.lowrank import Factors, Place
from git_nn.codec.scratch import Array

MOST_RANK = 64
_PART, _LEAST = 256, 32  # rows and columns looked at to begin with
_GAP = 2.0  # between the last singular value of the change and the first of the noise
_ROUNDS = 1
_OF_PRODUCT = 2.0**-24
_FINE = 0.03  # of a step: the error that rounding the factors may make
_COARSER = 16  # bits that may be missing to it before the products are exact


def find(new: Array, old: Array, dtype: str, place: Place) -> Factors | None:
    """The factors of new - old, unsigned words; None where there seem to be none."""
    with np.errstate(all="ignore"):
        try:
            return _found(new, old, dtype, place)
        except np.linalg.LinAlgError:
            return None


def _found(new: Array, old: Array, dtype: str, place: Place) -> Factors | None:
    rank = _rank(new, old, dtype, place)
    if not rank or rank * (place.rows + place.columns) * 4 > place.count:
        return None
    change = _matrix(lowrank.floats_of(new, dtype) - lowrank.floats_of(old, dtype), place)
    if not np.isfinite(change).all():
        return None
    # who merged them had the product itself in f32 at best, with errors of its own
    steps = np.maximum(_steps(new, dtype), _OF_PRODUCT * float(_rms(change.reshape(1, -1))[0]))
    weights = _matrix(steps**-2.0, place)
    right = _subspace(change[_whole_rows(place)], rank)
    for _ in range(_ROUNDS):
        left = _solve(change, weights, right)
        right = _solve(change.T, weights.T, left)
    return _rounded(change, weights, right)


def _whole_rows(place: Place) -> slice:
    """The rows that stand in the segment from end to end."""
    return slice(int(place.first > 0), (place.first + place.count) // place.columns)


def _matrix(values: Array, place: Place) -> Array:
    """The segment's words at their places, with zeros around them, (rows, columns)."""
    whole = np.zeros(place.rows * place.columns)
    whole[place.first : place.first + place.count] = values
    return whole.reshape(place.rows, place.columns)


def _steps(words: Array, dtype: str) -> Array:
    """The distance of each word to the next one."""
    digits, least = {"bf16": (7, -133), "f16": (10, -24), "f32": (23, -149)}[dtype]
    _, exponents = np.frexp(lowrank.floats_of(words, dtype))
    steps: Array = np.ldexp(1.0, np.maximum(exponents - 1 - digits, least))
    return steps


def _rank(new: Array, old: Array, dtype: str, place: Place) -> int:
    """The rank of a random part of the change, which has a gap behind it; 0 for none."""
    rng = np.random.default_rng(0)
    within = _whole_rows(place)
    rows = within.start + rng.permutation(within.stop - within.start)[:_PART]
    columns = rng.permutation(place.columns)[:_PART]
    if min(len(rows), len(columns)) < _LEAST:
        return 0
    part = np.sort(rows)[:, None] * place.columns + np.sort(columns) - place.first
    change = lowrank.floats_of(new[part], dtype) - lowrank.floats_of(old[part], dtype)
    if not np.isfinite(change).all() or not change.any():
        return 0
    values = np.linalg.svd(change, compute_uv=False)[: MOST_RANK + 1]
    gaps = values[:-1] / np.maximum(values[1:], values[0] * 1e-12)
    rank = int(gaps.argmax()) + 1
    return rank if gaps[rank - 1] >= _GAP else 0


def _subspace(change: Array, rank: int) -> Array:
    """An orthonormal basis of the rows' space, (rank, columns), by a randomised SVD."""
    rng = np.random.default_rng(1)
    basis = rng.standard_normal((rank + 8, change.shape[0])) @ change
    for _ in range(2):
        basis = np.linalg.qr(basis.T)[0].T
        basis = (change @ basis.T).T @ change
    return np.asarray(np.linalg.svd(basis, full_matrices=False)[2][:rank])


def _solve(change: Array, weights: Array, right: Array) -> Array:
    """The left factors, (rank, rows), that with ``right`` come nearest to ``change``."""
    rank = len(right)
    a, b = np.triu_indices(rank)
    packed = weights @ (right[a] * right[b]).T
    normal = np.empty((len(change), rank, rank))
    normal[:, a, b] = normal[:, b, a] = packed
    trace = np.trace(normal, axis1=1, axis2=2)
    normal += (1e-12 * trace + 1e-300)[:, None, None] * np.eye(rank)
    wanted = (weights * change) @ right.T
    return np.asarray(np.linalg.solve(normal, wanted[:, :, None])[:, :, 0].T)


def _rounded(change: Array, weights: Array, right: Array) -> Factors | None:
    """Integer factors; the left ones are fitted again to the right ones as rounded."""
    basis = np.linalg.svd(right, full_matrices=False)[2]
    left = _solve(change, weights, basis)
    sizes = np.sqrt(_rms(left) / _rms(basis))
    basis = basis * sizes[:, None]
    step = float(np.median(weights[weights > 0])) ** -0.5
    error = np.sqrt(2 * len(basis) / 12) * float(_rms(basis).max())
    finest = 2 * int(np.ceil(np.log2(error / (_FINE * step))))
    for scale in range(finest, finest - _COARSER, -1):
        right = np.rint(np.ldexp(basis, scale // 2))
        exact = np.ldexp(right, -(scale // 2))
        left = np.rint(np.ldexp(_solve(change, weights, exact), scale - scale // 2))
        if max(np.abs(left).max(), np.abs(right).max()) >= 2**31:
            continue
        try:
            return Factors(left.astype("<i8"), right.astype("<i8"), scale)
        except ValueError:
            continue
    return None


def _rms(rows: Array) -> Array:
    sizes: Array = np.sqrt(np.mean(rows * rows, axis=1)) + 1e-300
    return sizes
