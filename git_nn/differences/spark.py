"""spark: numbers as small pictures of text.

A cell's height is its number by the largest of the row; the lowest sign is exactly 0
(or no number), and a number above 0 never shows as 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

CELLS = 32

_HEIGHTS = "·▁▂▃▄▅▆▇█"
_ASCII = ".:-=+*#%@"


def sparkline(values: Sequence[float | None], cells: int = CELLS, *, signs: bool = True) -> str:
    """One cell per value, or per run of neighbours where there are more: the largest of the run."""
    heights = _HEIGHTS if signs else _ASCII
    found = [value or 0.0 for value in values]
    count = min(len(found), cells)
    runs = [
        max(found[len(found) * i // count : len(found) * (i + 1) // count]) for i in range(count)
    ]
    top = max((run for run in runs if math.isfinite(run)), default=0.0)
    steps = len(heights) - 1
    return "".join(heights[_height(run, top, steps)] for run in runs)


def _height(value: float, top: float, steps: int) -> int:
    if value <= 0 or math.isnan(value):
        return 0
    return steps if value >= top else max(math.ceil(value / top * steps), 1)


def bar(counts: Sequence[tuple[str, int]], most: int, width: int) -> str:
    """A sign per thing as in git's --stat, fewer where ``most`` things would not fit in ``width``.

    A sign whose count is above 0 is always there.
    """
    scale = min(1.0, width / most) if most else 1.0
    return "".join(sign * max(round(count * scale), 1) for sign, count in counts if count)
