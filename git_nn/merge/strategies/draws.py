"""draws: one random number per element, from its index and a key and nothing else.

Element i gets word i of numpy's Philox4x64-10 stream with the key, whose bits NEP 19 keeps
stable. The word's upper 53 bits, as a fraction of 2**53, are compared with a probability:
both are doubles without rounding, so the outcome is the same everywhere.
"""

from __future__ import annotations

from math import ceil

import numpy as np
from numpy.typing import NDArray

from git_nn.merge.strategies.blocks import Block, Doubles, changes, only


def kept(key: int, start: int, count: int, probability: float | Doubles) -> NDArray[np.bool_]:
    """Whether elements ``start`` and following are kept, each with its probability."""
    first = start // 4  # a step of the counter gives four words
    words = np.random.Philox(counter=first, key=key).random_raw(count + start % 4)[start % 4 :]
    if isinstance(probability, float):
        return np.less(words, ceil(probability * 2.0**53) << 11)  # the same, in one step
    words >>= np.uint64(11)
    return words.astype(np.float64) < np.multiply(probability, 2.0**53)


def thin(change: Doubles, chance: float | Doubles, key: int, start: int) -> Doubles:
    """``change`` with elements dropped, and those that are kept divided by their chance.

    A change that is NaN or infinite is never dropped, so it shows.
    """
    stays = kept(key, start, len(change), chance)
    scaled = change / np.where(np.greater(chance, 0.0), chance, 1.0)
    return only(scaled, stays | ~np.isfinite(change))


def thinned(block: Block, density: float) -> list[Doubles]:
    """Every change, each thinned with a key of its own."""
    pairs = zip(changes(block), block.keys, strict=True)
    return [thin(change, density, key, block.start) for change, key in pairs]
