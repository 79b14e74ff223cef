"""heatmap: layers x commits as coloured cells on a terminal, or as shades of plain characters.

Colour tells the drift on a logarithmic scale, the same for all cells of a map. Where there are
more commits than columns, a column stands for several, and shows the largest drift of theirs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from git_nn.differences.palette import colour_at, xterm

LABEL = 32  # columns for the names of layers, at most
ROWS = 60  # layers in a terminal
_SHADES = ".:-=ox%#@"
_DECADES = 4.0  # how far below the largest drift the scale begins, at most


class Mark(StrEnum):
    """What a commit did to a layer. The values are part of the JSON form."""

    SAME = "same"
    MOVED = "moved"
    NEW = "new"
    ABSENT = "absent"
    UNKNOWN = "unknown"  # it changed; by how much is not known
    NOT_FINITE = "not finite"  # NaN or infinite values are there or went


_SIGNS = {
    Mark.SAME: " ", Mark.NEW: "+", Mark.ABSENT: " ", Mark.UNKNOWN: "?", Mark.NOT_FINITE: "!",
}  # fmt: skip
_LOUD = (Mark.NOT_FINITE, Mark.MOVED, Mark.UNKNOWN, Mark.NEW, Mark.SAME, Mark.ABSENT)


@dataclass(frozen=True, slots=True)
class Cell:
    """``drift`` is a ratio, infinite where all values were 0; it counts only for MOVED."""

    mark: Mark
    drift: float = 0.0


@dataclass(frozen=True, slots=True)
class Column:
    """A commit: its abbreviated name, date (YYYY-MM-DD) and subject."""

    name: str
    date: str
    subject: str


@dataclass(frozen=True, slots=True)
class Map:
    """``cells`` has a row of one cell per column for each of ``rows``; the oldest column first."""

    title: str
    rows: tuple[str, ...]
    columns: tuple[Column, ...]
    cells: tuple[tuple[Cell, ...], ...]

    def span(self) -> tuple[float, float]:
        """The smallest and the largest drift of the scale: at most four decades."""
        found = [cell.drift for row in self.cells for cell in row if _has_size(cell)]
        if not found:
            return 1e-4, 1.0
        high = max(found)
        return max(min(found), high / 10**_DECADES), high


@dataclass(frozen=True, slots=True)
class Canvas:
    """``width`` in columns; ``rows`` is how many layers to show, None for all."""

    width: int = 80
    colour: bool = False
    rows: int | None = ROWS


def _has_size(cell: Cell) -> bool:
    return cell.mark is Mark.MOVED and 0 < cell.drift < math.inf


def strength(cell: Cell, span: tuple[float, float]) -> float:
    """Where a drift stands on the scale, 0 to 1."""
    low, high = (math.log(end) for end in span)
    if cell.drift <= 0:
        return 0.0
    if math.isinf(cell.drift) or high <= low:
        return 1.0
    return min(max((math.log(cell.drift) - low) / (high - low), 0.0), 1.0)


def loudest(cells: Iterable[Cell]) -> Cell:
    """The cell that stands for several commits."""

    def order(cell: Cell) -> tuple[int, float]:
        return _LOUD.index(cell.mark), -cell.drift

    return min(cells, key=order, default=Cell(Mark.ABSENT))


def text(found: Map, canvas: Canvas) -> str:
    """The map in lines of at most ``canvas.width`` columns."""
    rows = _shown(found, canvas.rows)
    names = [found.rows[i] for i in rows]
    label = min(max(map(len, names), default=0), LABEL, max(canvas.width // 3, 8))
    bins, wide = bins_of(len(found.columns), canvas.width - label - 2, most=4)
    span = found.span()
    lines = [_clip(found.title, canvas.width)]
    for i, name in zip(rows, names, strict=True):
        cells = [loudest(found.cells[i][start:stop]) for start, stop in bins]
        painted = "".join(_cell(cell, wide, span, canvas) for cell in cells)
        lines.append(f"{shorten(name, label).ljust(label)}  {painted}".rstrip(" "))
    lines += _axis(found, label, len(bins) * wide, canvas.width)
    if hidden := len(found.rows) - len(rows):
        lines.append(f"... and {hidden} layers that moved less (--all)")
    lines.append(_legend(found, span, canvas))
    return "".join(f"{line}\n" for line in lines)


def _shown(found: Map, most: int | None) -> list[int]:
    """The rows that moved most, in the map's own order."""
    ranked = sorted(
        range(len(found.rows)),
        key=lambda i: (_LOUD.index((top := loudest(found.cells[i])).mark), -top.drift),
    )
    return sorted(ranked[:most])


def bins_of(count: int, room: int, *, most: int) -> tuple[list[tuple[int, int]], int]:
    """Which commits each column stands for, and how wide a column is, up to ``most``."""
    room = max(room, 8)
    each = max(-(-count // room), 1)
    bins = [(start, min(start + each, count)) for start in range(0, count, each)]
    return bins, min(max(room // max(len(bins), 1), 1), most)


def _cell(cell: Cell, wide: int, span: tuple[float, float], canvas: Canvas) -> str:
    if cell.mark is not Mark.MOVED:
        sign = _SIGNS[cell.mark] * wide
        return f"\x1b[1;31m{sign}\x1b[m" if canvas.colour and cell.mark is Mark.NOT_FINITE else sign
    at = strength(cell, span)
    if not canvas.colour:
        return _SHADES[min(int(at * len(_SHADES)), len(_SHADES) - 1)] * wide
    return f"\x1b[48;5;{xterm(colour_at(at))}m{' ' * wide}\x1b[m"


def _axis(found: Map, label: int, length: int, width: int) -> list[str]:
    """The first and the last commit under their columns."""
    if not found.columns:
        return []
    first, last = found.columns[0], found.columns[-1]
    lines = []
    for left, right in ((first.name, last.name), (first.date, last.date)):
        if len(found.columns) == 1:
            line = left
        elif length >= len(left) + len(right) + 1:
            line = left + right.rjust(length - len(left))
        else:
            line = f"{left} .. {right}"
        lines.append(" " * min(label + 2, max(width - len(line), 0)) + line)
    return lines


def _legend(found: Map, span: tuple[float, float], canvas: Canvas) -> str:
    low, high = legend_ends(span)
    steps = [at / (len(_SHADES) - 1) for at in range(len(_SHADES))]
    bar = "".join(f"\x1b[48;5;{xterm(colour_at(at))}m \x1b[m" for at in steps)
    scale = f"rel Δ {low} {bar if canvas.colour else _SHADES} {high}"
    moved = any(cell.mark is Mark.MOVED for row in found.cells for cell in row)
    return "  ".join([*([scale] if moved else []), *legend_words(found)])


def legend_ends(span: tuple[float, float]) -> tuple[str, str]:
    """``0.003`` and ``0.4``: the ends of the scale, one digit each."""
    low, high = (f"{end:.1g}" for end in span)
    return low, high


def legend_words(found: Map) -> list[str]:
    """What the signs in a map mean, as far as they are in it."""
    marks = {cell.mark for row in found.cells for cell in row}
    said = {Mark.NEW: "+ new", Mark.UNKNOWN: "? changed", Mark.NOT_FINITE: "! NaN or Inf"}
    return [word for mark, word in said.items() if mark in marks]


def shorten(name: str, room: int) -> str:
    """The end of a name tells more than its beginning."""
    return name if len(name) <= room else f"..{name[len(name) - room + 2 :]}"[:room]


def _clip(line: str, room: int) -> str:
    return line if len(line) <= room else f"{line[: room - 2]}.."


def document(found: Map) -> list[dict[str, object]]:
    """The rows as plain JSON values: a drift, or the word for what else happened."""
    return [
        {"layer": name, "cells": [_plain(cell) for cell in cells]}
        for name, cells in zip(found.rows, found.cells, strict=True)
    ]


def _plain(cell: Cell) -> object:
    if cell.mark is not Mark.MOVED:
        return str(cell.mark)
    return "inf" if math.isinf(cell.drift) else float(f"{cell.drift:.9g}")


def of_rows(
    title: str, columns: Sequence[Column], rows: Iterable[tuple[str, Sequence[Cell]]]
) -> Map:
    """A map of rows that come with their names."""
    listed = [(name, tuple(cells)) for name, cells in rows]
    names, cells = tuple(name for name, _ in listed), tuple(cells for _, cells in listed)
    return Map(title, names, tuple(columns), cells)
