"""png: a heat map as a PNG picture, on a light ground."""

from __future__ import annotations

from git_nn.differences.heatmap import (
    Cell,
    Map,
    Mark,
    bins_of,
    legend_ends,
    legend_words,
    loudest,
    shorten,
    strength,
)
from git_nn.differences.palette import RGB, on_white
from git_nn.differences.pixels import ADVANCE, HEIGHT, Picture

_DOT = 2  # pixels of a dot
_LINE = 22  # pixels from one row to the next
_MARGIN = 24
_ROOM = 1200  # pixels for all columns together
_LABEL = 40  # characters of a layer's name
_NAMES = "0123456789 - 0123456789"  # under the columns, where these are few
_GROUND: RGB = (255, 255, 255)
_INK: RGB = (51, 51, 51)
_FAINT: RGB = (238, 238, 238)
_ALARM: RGB = (214, 39, 40)
_SIGNS = {Mark.NEW: "+", Mark.UNKNOWN: "?", Mark.NOT_FINITE: "!"}


def png(found: Map) -> bytes:
    """The picture; equal maps give equal bytes."""
    bins, wide = bins_of(len(found.columns), _ROOM, most=28)
    names = [shorten(name, _LABEL) for name in found.rows]
    left = _MARGIN + _wide(max(names, key=len, default="")) + 12
    top = _MARGIN + 2 * _LINE
    longest = _wide(f"{'  '.join(legend_ends(found.span()))}{', '.join(legend_words(found))}")
    right = left + max(len(bins) * wide, longest + 176, _wide(_NAMES)) + _MARGIN
    width = max(right, _wide(found.title) + 2 * _MARGIN)
    picture = Picture(width, top + (len(names) + 4) * _LINE + _MARGIN, _GROUND)
    picture.text(_MARGIN, _MARGIN, found.title, _INK, _DOT)
    span = found.span()
    for y, (name, cells) in enumerate(zip(names, found.cells, strict=True)):
        at = top + y * _LINE
        picture.text(left - 12 - _wide(name), at + 3, name, _INK, _DOT)
        for x, (start, stop) in enumerate(bins):
            _cell(picture, loudest(cells[start:stop]), (left + x * wide, at, wide), span)
    bottom = top + len(names) * _LINE + 8
    _axis(picture, found, left, bottom, len(bins) * wide)
    _legend(picture, found, left, bottom + 2 * _LINE + 8)
    return picture.png()


def _cell(
    picture: Picture, cell: Cell, place: tuple[int, int, int], span: tuple[float, float]
) -> None:
    left, top, wide = place
    gap = 1 if wide > 3 else 0
    if cell.mark is Mark.ABSENT:
        return
    colour = _FAINT
    if cell.mark is Mark.MOVED:
        colour = on_white(strength(cell, span))
    elif cell.mark is Mark.NOT_FINITE:
        colour = _ALARM
    picture.box(left, top, wide - gap, _LINE - 2, colour)
    sign = _SIGNS.get(cell.mark, "")
    if sign and wide >= ADVANCE * _DOT:
        ink = _GROUND if cell.mark is Mark.NOT_FINITE else _INK
        picture.text(left + (wide - 5 * _DOT) // 2, top + 3, sign, ink, _DOT)


def _axis(picture: Picture, found: Map, left: int, top: int, length: int) -> None:
    if not found.columns:
        return
    first, last = found.columns[0], found.columns[-1]
    for y, (start, end) in enumerate(((first.name, last.name), (first.date, last.date))):
        at = left + length - _wide(end)
        fits = at > left + _wide(start) + 12
        picture.text(left, top + y * _LINE, start if fits else f"{start} - {end}", _INK, _DOT)
        if fits:
            picture.text(at, top + y * _LINE, end, _INK, _DOT)


def _legend(picture: Picture, found: Map, left: int, top: int) -> None:
    low, high = legend_ends(found.span())
    picture.text(left, top, low, _INK, _DOT)
    start = left + _wide(low) + 8
    for x in range(160):
        picture.box(start + x, top - 2, 1, HEIGHT * _DOT + 4, on_white(x / 159))
    words = ", ".join(legend_words(found))
    picture.text(start + 168, top, f"{high}  {words}", _INK, _DOT)


def _wide(text: str) -> int:
    return len(text) * ADVANCE * _DOT
