"""summary: one version of a tensor alone, in one pass (definitions: docs/diff.md).

Mean and spread are of the finite elements, summed as distances from the mean of the first
block (the shifted data of Chan, Golub and LeVeque, 1983), so nothing is lost where the mean is
large against the spread. Complex elements count by their magnitude.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from git_nn.arrays import Array, as_float64

_SAFE = 400  # values up to 2**400, with differences down to 2**-453: their squares are doubles


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts over all elements; ``mean``, ``std`` (of the population), ``low`` and ``high`` over
    the finite ones, None where there are none."""

    elements: int
    nan: int
    inf: int
    zero: int
    mean: float | None
    std: float | None
    low: float | None
    high: float | None


@dataclass(slots=True)
class Totals:
    """Running totals; ``total`` and ``squares`` are of the distances from ``shift``, all three
    of values times 2**-exponent."""

    elements: int = 0
    nan: int = 0
    inf: int = 0
    zero: int = 0
    finite: int = 0
    shift: float = 0.0
    total: float = 0.0
    squares: float = 0.0
    low: float = math.inf
    high: float = -math.inf

    def add(self, values: Array, exponent: int = 0) -> Array | None:
        """Add a block of doubles or complex doubles; which are finite, None where all are."""
        self.elements += len(values)
        finite: Array = np.isfinite(values)
        kept = int(np.count_nonzero(finite))
        everything = kept == len(values)
        if not everything:
            nan = int(np.count_nonzero(np.isnan(values)))
            self.nan += nan
            self.inf += len(values) - kept - nan
        self._add_finite(values if everything else values[finite], exponent)
        return None if everything else finite

    def _add_finite(self, values: Array, exponent: int) -> None:
        if not len(values):
            return
        if values.dtype.kind == "c":
            values = np.abs(values)
        self.zero += int(np.count_nonzero(values == 0))
        self.low = min(self.low, float(values.min()))
        self.high = max(self.high, float(values.max()))
        if exponent:
            values = scaled(values, exponent)
        if not self.finite:
            self.shift = float(values.mean())
        away = values - self.shift
        self.finite += len(values)
        self.total += float(away.sum())
        self.squares += float(np.dot(away, away))

    def summary(self, exponent: int = 0) -> Summary:
        if not self.finite:
            return Summary(self.elements, self.nan, self.inf, self.zero, None, None, None, None)
        mean = self.total / self.finite
        # one value everywhere has no spread, whatever its mean was rounded to
        variance = self.squares / self.finite - mean * mean if self.low < self.high else 0.0
        mean = math.ldexp(self.shift + mean, exponent)
        std = math.ldexp(math.sqrt(max(variance, 0.0)), exponent)
        return Summary(self.elements, self.nan, self.inf, self.zero, mean, std, self.low, self.high)


def summarise(blocks: Callable[[], Iterable[Array]]) -> Summary:
    """The summary of a tensor that comes in blocks, of doubles twice."""
    totals = Totals()
    exponent = 0
    with np.errstate(all="ignore"):
        for number, block in enumerate(blocks()):
            if not number and is_double(block):
                exponent = exponent_of(blocks())
            totals.add(as_float64(block), exponent)
        return totals.summary(exponent)


def exponent_of(*sides: Iterable[Array]) -> int:
    """The power of two by which doubles are scaled, lest their squares overflow or vanish."""
    top = 0.0
    for block in chain(*sides):
        if not is_double(block):
            continue
        size = np.abs(as_float64(block).view(np.float64))
        most = float(size.max(initial=0.0))
        if not math.isfinite(most):
            most = float(size[np.isfinite(size)].max(initial=0.0))
        top = max(top, most)
    exponent = math.frexp(top)[1] + 1 if top else 0
    return exponent if abs(exponent) > _SAFE else 0


def is_double(values: Array) -> bool:
    return values.dtype.newbyteorder("=") in (np.float64, np.complex128)


def scaled(values: Array, exponent: int) -> Array:
    """``values``, doubles or complex doubles, times 2**-``exponent``."""
    if not exponent:
        return values
    part: Any = np.ldexp(np.ascontiguousarray(values).view(np.float64), -exponent)
    result: Array = part.view(values.dtype)
    return result
