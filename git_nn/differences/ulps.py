"""ulps: how many representable values lie between two floats of one type.

A float's bits, read as a sign and a magnitude, count the representable values from zero. So
the distance of two floats is that of these numbers; 0.0 and -0.0 are no step apart.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from git_nn.arrays import Array, element_bits

_WIDER = {2: np.int32, 4: np.int64, 8: np.int64}


def ulp_distance(old: Array, new: Array) -> Array:
    """Per element, as integers; of NaNs and infinities it means nothing.

    Floats of 8 bytes: uint64, since the distance of two of opposite sign can exceed 2**63.
    """
    left, right = _steps(old), _steps(new)
    if old.dtype.itemsize < 8:
        apart: Array = np.subtract(right, left, out=left)
        return np.abs(apart, out=apart)
    back = right < left
    wide: Array = right.view(np.uint64) - left.view(np.uint64)
    return np.negative(wide, out=wide, where=back)


def _steps(values: Array) -> Array:
    """The signed count of representable values from zero, in an array of its own."""
    if values.dtype.itemsize == 1:
        ranks: Array = _ranks(values.dtype)[element_bits(values)]
        return ranks
    codes = element_bits(values.astype(values.dtype.newbyteorder("="), copy=False))
    signed = codes.view(f"i{codes.itemsize}").astype(_WIDER[codes.itemsize])
    negative = signed >> (8 * codes.itemsize - 1)  # all bits or none
    signed &= (1 << (8 * codes.itemsize - 1)) - 1
    signed ^= negative
    signed -= negative
    return signed


@cache
def _ranks(dtype: np.dtype[Any]) -> Array:
    """Code -> place of its value among all values of a type of one byte or less."""
    values = np.arange(256, dtype=np.uint8).view(dtype).astype(np.float32)
    return np.unique(values, return_inverse=True)[1].astype(np.int16)
