"""angles: the weights of spherical interpolation, the same on every machine.

A C library's acos and sin differ in the last bit between machines, so both are computed here
with 40 decimal digits and rounded once.
"""

from __future__ import annotations

from decimal import Decimal, localcontext

DIGITS = 40
_SMALL = Decimal(10) ** -(DIGITS + 5)


def weights(cos: float | None, t: float, least: float) -> tuple[float, float]:
    """Weights of two vectors whose angle has the cosine ``cos``, for a step ``t`` from 0 to 1.

    Linear ones where the vectors are (nearly) colinear - the sine of their angle below
    ``least`` - or where there is no angle.
    """
    with localcontext() as context:
        context.prec = DIGITS
        across = (1 - Decimal(cos) ** 2).sqrt() if cos is not None else Decimal(0)
        if cos is None or across <= Decimal(least):
            return 1.0 - t, t
        whole, step = angle(across, Decimal(cos)), Decimal(t)
        return float(sine((1 - step) * whole) / across), float(sine(step * whole) / across)


def angle(sine: Decimal, cos: Decimal) -> Decimal:
    """The angle from 0 to pi that has this sine and cosine, by halving until it is small.

    This and what follows compute with the precision of the context, of DIGITS or more.
    """
    tangent = sine / (1 + cos) if cos >= 0 else (1 - cos) / sine  # of half the angle
    halvings = 1
    while tangent > Decimal("0.05"):
        tangent /= 1 + (1 + tangent * tangent).sqrt()
        halvings += 1
    power, total, n = tangent, Decimal(0), 1
    while abs(power) > _SMALL:
        total += power / n
        power *= -tangent * tangent
        n += 2
    return total * Decimal(2) ** halvings


def sine(angle: Decimal) -> Decimal:
    return _series(angle, angle, 1)


def cosine(angle: Decimal) -> Decimal:
    return _series(angle, Decimal(1), 0)


def _series(angle: Decimal, term: Decimal, n: int) -> Decimal:
    total = Decimal(0)
    while abs(term) > _SMALL:
        total += term
        term *= -angle * angle / ((n + 1) * (n + 2))
        n += 2
    return total
