"""numbers_text: numbers in as few characters as tell the truth."""

from __future__ import annotations

from math import isinf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from git_nn.differences.numbers import Numbers


def relative(numbers: Numbers) -> str:
    return ratio(numbers.relative)


def ratio(value: float | None) -> str:
    """``2.1e-02``; ``new`` where the old tensor was all zeros, ``0`` where nothing moved."""
    if value is None:
        return "-"
    if isinf(value):
        return "new"
    return f"{value:.1e}" if value else "0"


def cosine(numbers: Numbers) -> str:
    return "-" if numbers.cosine is None else f"{numbers.cosine:.5f}"


def largest(numbers: Numbers) -> str:
    value = numbers.max_abs
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3g}"


def where(numbers: Numbers) -> str:
    """``[3,17]``; nothing where nothing moved."""
    return "" if numbers.max_at is None else f"[{','.join(map(str, numbers.max_at))}]"


def percent(count: int, total: int) -> str:
    """Never ``0 %`` for something nor ``100 %`` for less than all."""
    if not count:
        return "0 %"
    if count == total:
        return "100 %"
    tenths = round(1000 * count / total)
    if tenths == 0:
        return "<0.1 %"
    return ">99.9 %" if tenths == 1000 else f"{tenths / 10:.1f} %"
