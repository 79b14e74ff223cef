"""NaN and infinity in a tensor: how many, and where the first one is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from git_nn.arrays import BLOCK, as_float64

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Seen:
    """``count`` elements of one kind, the first of them at ``first``."""

    count: int = 0
    first: tuple[int, ...] = ()


def special(array: Array) -> tuple[Seen, Seen]:
    """(NaNs, infinities) of an array of floats of any kind; a complex NaN is no infinity."""
    nans, infs = Seen(), Seen()
    for start, values in _blocks(array.reshape(-1)):
        finite = np.isfinite(values)
        if finite.all():
            continue
        nan = np.isnan(values)
        nans = _add(nans, nan, start, array.shape)
        infs = _add(infs, ~(finite | nan), start, array.shape)
    return nans, infs


def _blocks(flat: Array) -> Iterator[tuple[int, Array]]:
    for start in range(0, flat.size, BLOCK):
        values = flat[start : start + BLOCK]
        yield start, values if values.dtype.kind in "fc" else as_float64(values)


def _add(seen: Seen, mask: Array, start: int, shape: tuple[int, ...]) -> Seen:
    count = int(np.count_nonzero(mask))
    if not count:
        return seen
    first = seen.first
    if not seen.count:
        first = tuple(int(i) for i in np.unravel_index(start + int(mask.argmax()), shape))
    return Seen(seen.count + count, first)
