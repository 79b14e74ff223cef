"""karcher: the point on the sphere that is nearest to all sides, each taken as one vector.

Nearest is the least weighted sum of squared angles; the point is then given the weighted
average of the lengths. It is found by steps along great circles. The point is a sum of the
sides at every step, so only their products are needed and the tensor is read once; the
steps are computed with 40 decimal digits. Sides without length or angle count as zeros, and
where nothing is left the sides are averaged linearly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, localcontext
from math import isfinite, sqrt

from git_nn.merge.strategies import angles
from git_nn.merge.strategies.blocks import Block, Doubles, Tensor, added, shares
from git_nn.merge.strategies.sums import angle, gram

NAME = "karcher"
FORMULA = "mean(|x|) * argmin over unit u of the sum of angle(u, x)^2, for x in ours, theirs, ..."
PAPER = "https://en.wikipedia.org/wiki/Karcher_mean"
PARAMETERS = {"weight": 0.5}
LIMITS = {"weight": (0.0, 1.0)}
NEEDS_BASE = False


_STEPS = 100
_STILL = Decimal("1e-24")  # the square of a step that is none

Row = Sequence[Decimal]


def measure(tensor: Tensor, parameters: Mapping[str, float]) -> list[float]:
    """The factor of each side."""
    weights = shares(parameters["weight"], tensor.sides)
    products = gram(tensor, lambda block: block.sides)
    lengths = [sqrt(products[side][side]) for side in range(tensor.sides)]
    used = [side for side, length in enumerate(lengths) if length > 0 and weights[side] > 0]
    if not used or not all(map(isfinite, lengths)):
        return weights
    length = sum(weight * own for weight, own in zip(weights, lengths, strict=True))
    with localcontext() as context:
        context.prec = angles.DIGITS
        total = sum(Decimal(weights[side]) for side in used)
        cosines = [
            [Decimal(1 if a == b else angle(products, a, b) or 0) for b in used] for a in used
        ]
        found = _nearest(cosines, [Decimal(weights[side]) / total for side in used])
    factors = [0.0] * tensor.sides
    for side, factor in zip(used, found, strict=True):
        factors[side] = float(factor) * length / lengths[side]
    return factors


def _nearest(cosines: Sequence[Row], weights: Row) -> Row:
    """How much of each unit vector the nearest point has."""
    point = _unit(weights, cosines) or [Decimal(i == 0) for i in range(len(weights))]
    for _ in range(_STEPS):
        step = [Decimal(0)] * len(point)
        for i, weight in enumerate(weights):
            cosine = max(Decimal(-1), min(Decimal(1), _dot(cosines[i], point)))
            sine = (1 - cosine * cosine).sqrt()
            if sine * sine > _STILL:
                pull = weight * angles.angle(sine, cosine) / sine
                step = [s - pull * cosine * p for s, p in zip(step, point, strict=True)]
                step[i] += pull
        square = _square(step, cosines)
        if square <= _STILL:
            break
        size = square.sqrt()
        along, across = angles.cosine(size), angles.sine(size) / size
        moved = [along * p + across * s for p, s in zip(point, step, strict=True)]
        point = _unit(moved, cosines) or point
    return point


def _unit(row: Row, cosines: Sequence[Row]) -> Row | None:
    """The combination of the unit vectors made one long; None where they cancel out."""
    square = _square(row, cosines)
    return [part / square.sqrt() for part in row] if square > _STILL else None


def _square(row: Row, cosines: Sequence[Row]) -> Decimal:
    return sum(
        (part * _dot(row, line) for part, line in zip(row, cosines, strict=True)), Decimal(0)
    )


def _dot(a: Row, b: Row) -> Decimal:
    return sum((x * y for x, y in zip(a, b, strict=True)), Decimal(0))


def merge(block: Block, _: Mapping[str, float], measured: list[float]) -> Doubles:
    return added([factor * side for factor, side in zip(measured, block.sides, strict=True)])
