"""How a plane is to be coded: read from a sample, as plans for ``records`` to carry out.

By the chain rule a plane costs the same whether its bytes are coded whole or as packed
symbols and escapes. What differs is the coder: Huffman codes spend at least one bit on a
byte and come the closer to the entropy the more of it a byte holds. So the plan is the
one that the floor of one bit hurts least.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from git_nn.codec import zstd
from git_nn.codec.scratch import Array

AS_IS, ZSTD, CONSTANT, BYTEWISE, PACKED, SPARSE = range(6)

_SLICES, _SLICE = 8, 1024
_RANDOM = 7.9  # bits per byte: not worth a coder
_RARE = 0.05  # below this share of uncommon elements their gaps are the shorter description
_REPETITIVE = 1.5  # bits
_WASTE = 0.03  # bits that a Huffman code spends on a byte above its entropy, roughly
_ESCAPE = 0.2  # bits that an escape seems to cost more than it does, as it costs time
_LIKELY = 1.04  # how far above the cheapest a plan may seem to be tried by a thorough encoder


@dataclass(frozen=True, slots=True)
class Plan:
    """A mode of docs/spec-codecs.md with its parameters; ``checked``: decoded and compared."""

    mode: int
    preset: str = zstd.HUFFMAN
    bits: int = 0
    lowest: int = 0
    checked: bool = True


def plans(plane: Array, *, thorough: bool) -> list[Plan]:
    """What to try, at least one plan; thorough: everything likely, for the smallest, and
    unchecked, as who has so much time checks the whole at the end."""
    if not len(plane):
        return [Plan(AS_IS)]
    some = sample(plane)
    if (some == plane[0]).all() and (plane == plane[0]).all():
        return [Plan(CONSTANT)]
    if plane.itemsize > 1:
        random = min(entropy(counts) for counts in _byte_counts(some)) > _RANDOM
        return [Plan(AS_IS) if random else Plan(BYTEWISE)]
    costs = _costs(np.bincount(some, minlength=256))
    if not costs:
        return [Plan(AS_IS)]
    least = min(costs.values())
    if not thorough:
        return [next(plan for plan, cost in costs.items() if cost == least)]
    likely = [
        replace(plan, checked=False) for plan, cost in costs.items() if cost <= _LIKELY * least
    ]
    # one that zstd's own search for repeats may have something to give to
    repeats = Plan(ZSTD, zstd.DEFAULT, checked=False)
    return [*likely, repeats] if least < _REPETITIVE else likely


def sample(plane: Array) -> Array:
    """A few slices of ``plane``, or all of it."""
    if len(plane) <= _SLICES * _SLICE:
        return plane
    step = (len(plane) - _SLICE) // (_SLICES - 1)
    return np.concatenate([plane[i * step : i * step + _SLICE] for i in range(_SLICES)])


def bits_of(plane: Array) -> float:
    """About how many bits an element of ``plane``, a sample of single bytes, will take."""
    return min(_costs(np.bincount(plane, minlength=256)).values(), default=8.0)


def _byte_counts(words: Array) -> list[Array]:
    octets = words.view(np.uint8).reshape(-1, words.itemsize)
    return [np.bincount(octets[:, i], minlength=256) for i in range(words.itemsize)]


def entropy(counts: Array) -> float:
    """Bits per symbol of an order-0 model."""
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log2(share)).sum())


def _costs(counts: Array) -> dict[Plan, float]:
    """Plan -> bits per element, in the order of speed; nothing where coding is in vain."""
    whole = entropy(counts)
    if whole > _RANDOM:
        return {}
    total = int(counts.sum())
    sums = np.concatenate(([0], np.cumsum(counts)))
    costs: dict[Plan, float] = {}
    for bits in (4, 2, 1):
        width = (1 << bits) - 1
        inside = sums[width:] - sums[:-width]
        lowest = int(inside.argmax())
        symbols = np.append(counts[lowest : lowest + width], total - inside[lowest])
        packed = entropy(symbols)
        preset = zstd.HUFFMAN if packed * 8 / bits >= 1 else zstd.FAST
        share = 1 - inside[lowest] / total
        escapes = _coded(whole - packed, share) + _ESCAPE * share
        costs[Plan(PACKED, preset, bits, lowest)] = _coded(packed, bits / 8) + escapes
    costs[Plan(ZSTD, zstd.HUFFMAN if whole >= 1 else zstd.FAST)] = _coded(whole, 1)
    common = int(counts.argmax())
    if counts[common] > (1 - _RARE) * total:
        costs[Plan(SPARSE, lowest=common)] = whole + 2 * _WASTE * (1 - counts[common] / total)
    return costs


def _coded(bits: float, octets: float) -> float:
    """Bits that zstd needs for ``octets`` bytes holding ``bits``: with its floor, as it is."""
    return max(bits, (bits + 3 * octets) / 4) + _WASTE * octets
