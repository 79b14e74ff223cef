"""table: rows of cells as aligned lines, as wide as there is room for.

Where a terminal is too narrow the columns of least worth are left out, then names lose
their middle and remarks their end. A line never wraps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from git_nn.differences.style import Style, columns, shorten, shown

_MARGIN = 2  # for the sign before a row
_GAP = 2
_WIDE = 64  # where lines stay whole, a longer cell moves its own row only
_REMARK = 12  # columns that are left of it at least; of a name, half a line


@dataclass(frozen=True, slots=True)
class Column:
    """``worth`` decides what goes first; ``key`` tells columns apart that have no title."""

    key: str
    title: str = ""
    right: bool = False
    worth: int = 0


Cells = Sequence[str]
NAME, REMARK = "name", "remark"  # the columns that can be shortened


def lay_out(table: Sequence[Column], rows: Sequence[Cells], style: Style) -> list[str]:
    """The header and a line per row, without the margin. Columns that no row fills are left out."""
    cells = [[shown(cell, style) for cell in row] for row in rows]
    used = [i for i, column in enumerate(table) if any(row[i] for row in cells)]
    lines = [[shown(column.title, style) for column in table], *cells]
    natural = {i: max(columns(row[i]) for row in lines) for i in used}
    widths = _fitted(table, natural, style)
    return [_line(table, row, widths, style) for row in lines]


def _fitted(table: Sequence[Column], natural: dict[int, int], style: Style) -> dict[int, int]:
    """The width of each column that is shown."""
    if style.width is None:
        return {i: min(width, _WIDE) for i, width in natural.items()}
    room = style.width - _MARGIN
    bounds = {NAME: room // 2, REMARK: _REMARK}
    least = {i: min(width, bounds.get(table[i].key, width)) for i, width in natural.items()}
    order = sorted(least, key=lambda i: table[i].worth)
    while _total(least) > room and len(least) > 1:
        least.pop(order.pop(0))
    spare = max(room - _total(least), 0)
    for i in sorted(least, key=lambda i: table[i].key != NAME):
        more = min(natural[i] - least[i], spare)
        least[i] += more
        spare -= more
    return {i: min(width, room) for i, width in least.items()}


def _total(widths: dict[int, int]) -> int:
    return sum(widths.values()) + _GAP * (len(widths) - 1)


def _line(table: Sequence[Column], row: Cells, widths: dict[int, int], style: Style) -> str:
    parts = []
    for i, width in widths.items():
        cell = row[i]
        if style.width is not None:
            cell = shorten(cell, width, style, middle=table[i].key == NAME)
        pad = " " * (width - columns(cell))
        parts.append(pad + cell if table[i].right else cell + pad)
    return (" " * _GAP).join(parts).rstrip()
