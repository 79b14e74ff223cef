"""sweeping: the values of a parameter to try, and which of them did best. Pure.

A range is written ``lambda=0:1:0.1`` (start, stop, step; the stop is tried where a step meets
it), a list ``density=0.2,0.5,1``. Values are decimals, so 0.1 * 3 is 0.3.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from math import isnan

from git_nn.errors import UsageError

MOST = 1000
_NUMBER = re.compile(
    rb"(?<![\w.])[-+]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[-+]?[0-9]+)?|inf(?:inity)?\b|nan\b)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Trial:
    """A value of the parameter, and what the person's command measured with it."""

    value: str
    metric: float


def values(text: str) -> tuple[str, tuple[str, ...]]:
    """The parameter and its values, as they are written; UsageError where there are none."""
    key, equals, rest = text.partition("=")
    hint = "write --sweep 'lambda=0:1:0.1' or --sweep 'density=0.2,0.5'"
    if not key or not equals:
        raise UsageError(f"--sweep {text[:80]!r} names no parameter", hint=hint)
    try:
        found = _range(rest) if ":" in rest else [Decimal(word) for word in rest.split(",")]
    except InvalidOperation as error:
        raise UsageError(
            f"--sweep {text[:80]!r} has words that are no numbers", hint=hint
        ) from error
    if not 1 <= len(found) <= MOST:
        raise UsageError(f"--sweep {text[:80]!r} has no values, or more than {MOST}", hint=hint)
    return key, tuple(format(value.normalize(), "f") for value in found)


def _range(text: str) -> list[Decimal]:
    parts = [Decimal(word) for word in text.split(":")]
    if len(parts) != 3 or not all(part.is_finite() for part in parts) or not parts[2]:
        return []
    start, stop, step = parts
    steps = (stop - start) / step
    return [start + step * i for i in range(min(int(steps), MOST) + 1)] if steps >= 0 else []


def metric(output: bytes) -> float | None:
    """The last number in what a command printed; None where there is none."""
    found = _NUMBER.findall(output)
    return float(found[-1]) if found else None


def best(trials: Sequence[Trial], *, minimise: bool) -> Trial | None:
    """The first of those with the best metric, which is never NaN; None where all are NaN."""
    measured = [trial for trial in trials if not isnan(trial.metric)]
    sign = 1 if minimise else -1
    return min(measured, key=lambda trial: sign * trial.metric, default=None)
