"""scale: whether a tensor is an earlier one times a constant, but for rounding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from git_nn.arrays import Array
from git_nn.differences.ulps import ulp_distance

_DIGITS = (4, 7, 15)  # of what may have been meant, before what was fitted


@dataclass(slots=True)
class Scale:
    """Found in the first block that is not zero, and given up at the first that contradicts.

    Every value must be within one representable value of the old one times ``factor``.
    """

    factor: float | None = None
    possible: bool = True

    def add(self, before: Array, after: Array, stored: Array) -> None:
        """Finite doubles of both versions, and the new block as it is stored: floats."""
        if not self.possible:
            return
        if self.factor is None:
            squares = float(np.dot(before, before))
            if not squares:
                self.possible = not after.any()
                return
            fitted = float(np.dot(before, after)) / squares
            meant = (float(f"{fitted:.{digits}g}") for digits in _DIGITS)
            self.factor = next((f for f in (*meant, fitted) if _holds(f, before, stored)), None)
            self.possible = self.factor is not None
        elif not _holds(self.factor, before, stored):
            self.possible, self.factor = False, None


def _holds(factor: float, before: Array, stored: Array) -> bool:
    scaled = (before * factor).astype(stored.dtype)
    return bool((ulp_distance(scaled, stored) <= 1).all())
