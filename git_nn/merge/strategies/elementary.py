"""elementary: exp and log of arrays by IEEE additions and multiplications only.

numpy's own differ in the last bit with the processor, and a threshold may hang on it. These
are within a few units of the last place.
"""

from __future__ import annotations

import numpy as np

from git_nn.merge.strategies.blocks import Doubles

_LN2_HIGH, _LN2_LOW = float.fromhex("0x1.62e42fee00000p-1"), float.fromhex("0x1.a39ef35793c76p-33")


def exp(x: Doubles) -> Doubles:
    """e**x for x up to 700; 0 for x below -690."""
    tiny, x = x < -690.0, np.maximum(x, -690.0)
    steps = np.rint(x * float.fromhex("0x1.71547652b82fep+0"))
    rest = (x - steps * _LN2_HIGH) - steps * _LN2_LOW
    total = np.ones_like(x)
    for n in range(14, 0, -1):
        total = 1.0 + rest * total / n
    scaled: Doubles = np.ldexp(total, steps.astype(np.int32))
    return np.where(tiny, 0.0, scaled)


def log(x: Doubles) -> Doubles:
    """The natural logarithm of positive normal numbers."""
    mantissa, exponent = np.frexp(x)
    low = mantissa < float.fromhex("0x1.6a09e667f3bcdp-1")
    mantissa, steps = np.where(low, 2 * mantissa, mantissa), exponent - low
    s = (mantissa - 1.0) / (mantissa + 1.0)
    square, total = s * s, np.zeros_like(s)
    for n in range(23, 0, -2):
        total = 1.0 / n + square * total
    result: Doubles = steps * _LN2_HIGH + (2.0 * s * total + steps * _LN2_LOW)
    return result
