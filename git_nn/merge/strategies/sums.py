"""sums: sums over a whole tensor that are the same on every machine, whatever the blocks.

The doubles are summed in leaves of 2**15 elements that start at multiples of 2**15, each by
halving (elementwise IEEE additions, so neither BLAS nor SIMD has a say), and the sums of
the leaves are added exactly and rounded once (math.fsum).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
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
        if held is not None:
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


def gram(
    tensor: Tensor, pair: Callable[[Block], tuple[Doubles, Doubles]]
) -> tuple[float, float, float]:
    """a·a, a·b and b·b of the two vectors that ``pair`` takes from each block.

    An element that is NaN or infinite in either counts in none of them.
    """
    aa, ab, bb = totals((_products(*pair(block)) for block in tensor.read()), 3)
    return aa, ab, bb


def _products(a: Doubles, b: Doubles) -> tuple[Doubles, Doubles, Doubles]:
    usable = np.isfinite(a) & np.isfinite(b)
    a, b = np.where(usable, a, 0.0), np.where(usable, b, 0.0)
    return a * a, a * b, b * b


def cosine(aa: float, ab: float, bb: float) -> float | None:
    """The cosine of the angle; None where a vector is zero or a sum is no finite number."""
    length = sqrt(aa) * sqrt(bb) if aa > 0 and bb > 0 else 0.0
    cos = ab / length if length else nan
    return max(-1.0, min(1.0, cos)) if abs(cos) < 2 else None
