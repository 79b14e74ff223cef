"""multislerp: the changes averaged as directions, with their average length, on the base.

This is the barycentre in the tangent space at the weighted mean of the directions; taken at
that point itself it is the mean, made as long as the changes are. So unlike a mean it does
not shrink where the changes differ. Directions that cancel out, and what has no finite
length, are averaged linearly.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from math import sqrt

from git_nn.merge.strategies.blocks import Block, Doubles, Tensor, added, base_of, changes, shares
from git_nn.merge.strategies.sums import angle, gram

NAME = "multislerp"
FORMULA = "base + mean(|d|) * m / |m|, m = mean of d / |d|, for d in dO, dT, ..."
PAPER = "https://goddard.blog/posts/multislerp-wow-what-a-cool-idea"
PARAMETERS = {"weight": 0.5}
LIMITS = {"weight": (0.0, 1.0)}
NEEDS_BASE = True


_CANCELLED = 1e-8


def measure(tensor: Tensor, parameters: Mapping[str, float]) -> list[float]:
    """The factor of each change."""
    sides = range(tensor.sides)
    weights = shares(parameters["weight"], tensor.sides)
    products = gram(tensor, changes)
    lengths = [sqrt(products[side][side]) for side in sides]
    cosines = {(a, b): angle(products, a, b) or 0.0 for a, b in product(sides, sides)}
    square = sum(weights[a] * weights[b] * cosine for (a, b), cosine in cosines.items())
    reached = sqrt(max(square, 0.0))
    if not reached > _CANCELLED or not sum(lengths) > 0:
        return weights
    length = sum(weight * length for weight, length in zip(weights, lengths, strict=True))
    return [
        weight * length / (own * reached) if own > 0 else 0.0
        for weight, own in zip(weights, lengths, strict=True)
    ]


def merge(block: Block, _: Mapping[str, float], measured: list[float]) -> Doubles:
    parts = zip(measured, changes(block), strict=True)
    return base_of(block) + added([factor * change for factor, change in parts])
