"""sums: sums over a whole tensor that are the same on every machine, whatever the blocks.

The doubles are summed in leaves of 2**15 elements that start at multiples of 2**15, each by
halving (elementwise IEEE additions, so neither BLAS nor SIMD has a say), and the sums of
the leaves are added exactly and rounded once (math.fsum).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations_with_replacement
from math import fsum, isfinite, nan, sqrt

import numpy as np

from git_nn.merge.strategies.blocks import Block, Doubles, Tensor

LEAF = 1 << 15


def totals(blocks: Iterable[Sequence[Doubles]], count: int) -> tuple[float, ...]:
    """The sum of each of ``count`` columns; NaN where it overflows."""
    leaves: list[list[float]] = [[] for _ in range(count)]
    for block in _leaves(blocks):
        for column, values in zip(leaves, block, strict=True):
            column.extend(fold(values.reshape(-1, min(LEAF, len(values)))).tolist())
    return tuple(map(_exact, leaves))


def fold(values: Doubles) -> Doubles:
    """Sums along the last axis: halves are added until one column is left."""
    width = 1 << max(values.shape[-1] - 1, 0).bit_length()
    if width != values.shape[-1]:
        padding = [(0, 0)] * (values.ndim - 1) + [(0, width - values.shape[-1])]
        values = np.pad(values, padding)
    while width > 1:
        width //= 2
        values = values[..., :width] + values[..., width:]
    return values[..., 0]


def _leaves(blocks: Iterable[Sequence[Doubles]]) -> Iterator[Sequence[Doubles]]:
    """The same columns cut at multiples of LEAF: whole leaves, then what is left over."""
    held: Sequence[Doubles] | None = None
    for block in blocks:
        if held is not None and len(held[0]):
            block = [np.concatenate(pair) for pair in zip(held, block, strict=True)]  # noqa: PLW2901
        whole = len(block[0]) // LEAF * LEAF
        if whole:
            yield [column[:whole] for column in block]
        held = [column[whole:] for column in block]
    if held is not None and len(held[0]):
        yield held


def _exact(values: list[float]) -> float:
    try:
        total = fsum(values)
    except (OverflowError, ValueError):  # too large for a double, or inf - inf
        return nan
    return total if isfinite(total) else nan


Vectors = Callable[[Block], Sequence[Doubles]]  # one for each side


def gram(tensor: Tensor, vectors: Vectors) -> list[list[float]]:
    """The products a·b of every two of the vectors that ``vectors`` takes from each block.

    An element that is NaN or infinite in one of them counts in none.
    """
    count = range(tensor.sides)
    pairs = [*combinations_with_replacement(count, 2)]
    products = totals(tensor.each(lambda block: _products(vectors(block), pairs)), len(pairs))
    found = dict(zip(pairs, products, strict=True))
    return [[found[min(a, b), max(a, b)] for b in count] for a in count]


def energies(tensor: Tensor, vectors: Vectors) -> tuple[float, ...]:
    """The product of each vector with itself: the diagonal of ``gram``."""
    pairs = [(side, side) for side in range(tensor.sides)]
    return totals(tensor.each(lambda block: _products(vectors(block), pairs)), len(pairs))


def _products(vectors: Sequence[Doubles], pairs: Sequence[tuple[int, int]]) -> list[Doubles]:
    usable = np.all([np.isfinite(vector) for vector in vectors], axis=0)
    values = [np.where(usable, vector, 0.0) for vector in vectors]
    return [values[a] * values[b] for a, b in pairs]


def angle(products: Sequence[Sequence[float]], a: int = 0, b: int = 1) -> float | None:
    """The cosine of two of the vectors whose products ``gram`` gave."""
    return cosine(products[a][a], products[a][b], products[b][b])


def cosine(aa: float, ab: float, bb: float) -> float | None:
    """The cosine of the angle; None where a vector is zero or a sum is no finite number."""
    length = sqrt(aa) * sqrt(bb) if aa > 0 and bb > 0 else 0.0
    cos = ab / length if length else nan
    return max(-1.0, min(1.0, cos)) if abs(cos) < 2 else None
