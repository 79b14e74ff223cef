"""svg: a heat map as one SVG picture, light or dark as the reader's screen is."""

from __future__ import annotations

from html import escape
from math import isinf

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
from git_nn.differences.palette import colour_at, css, on_white

_LINE = 16  # units from one row to the next
_CHAR = 6.7  # units of a character, about
_MARGIN = 16
_ROOM = 800  # units for all columns together
_LABEL = 48  # characters of a layer's name
_STEPS = 32  # shades of the scale
_LIGHT = """
svg { background: #fff; color: #222; font: 11px ui-monospace, Menlo, Consolas, monospace; }
text { fill: currentColor; white-space: pre; } .n { text-anchor: end; } .h { font-size: 13px; }
.same { fill: #eee; } .new, .unknown { fill: #ddd; } .bad { fill: #d62728; }
.s { text-anchor: middle; pointer-events: none; }"""
_DARK = """
svg { background: #161b22; color: #d5dae0; }
.same { fill: #21262d; } .new, .unknown { fill: #333b45; }"""
_CLASSES = {
    Mark.SAME: "same", Mark.NEW: "new", Mark.UNKNOWN: "unknown", Mark.NOT_FINITE: "bad",
}  # fmt: skip
_SIGNS = {Mark.NEW: "+", Mark.UNKNOWN: "?", Mark.NOT_FINITE: "!"}


def svg(found: Map) -> str:
    """The picture; equal maps give equal text. Cells say what they are when pointed at."""
    bins, wide = bins_of(len(found.columns), _ROOM, most=24)
    names = [shorten(name, _LABEL) for name in found.rows]
    left = round(_MARGIN + max(map(len, names), default=0) * _CHAR + 8)
    top = _MARGIN + 2 * _LINE
    height = top + (len(names) + 4) * _LINE + _MARGIN
    width = max(left + max(len(bins) * wide, 360) + _MARGIN, round(len(found.title) * 8))
    span = found.span()
    body = [f'<text class="h" x="{_MARGIN}" y="{_MARGIN + 12}">{escape(found.title)}</text>']
    for y, (name, cells) in enumerate(zip(names, found.cells, strict=True)):
        at = top + y * _LINE
        body.append(f'<text class="n" x="{left - 8}" y="{at + 11}">{escape(name)}</text>')
        for x, (start, stop) in enumerate(bins):
            cell = loudest(cells[start:stop])
            body += _cell(cell, (left + x * wide, at, wide), span, _about(found, y, start, stop))
    bottom = top + len(names) * _LINE + 14
    body += _axis(found, left, bottom, len(bins) * wide)
    body += _legend(found, left, bottom + 2 * _LINE + 8)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}">\n<style>{_style()}</style>\n{chr(10).join(body)}\n</svg>\n'
    )


def _style() -> str:
    light, dark = (
        "".join(f"\n.c{i} {{ fill: {css(colour(i / (_STEPS - 1)))}; }}" for i in range(_STEPS))
        for colour in (on_white, colour_at)
    )
    return f"{_LIGHT}{light}\n@media (prefers-color-scheme: dark) {{{_DARK}{dark}\n}}\n"


def _cell(
    cell: Cell, place: tuple[int, int, int], span: tuple[float, float], about: str
) -> list[str]:
    if cell.mark is Mark.ABSENT:
        return []
    left, top, wide = place
    shape = f'x="{left}" y="{top}" width="{wide - (wide > 3)}" height="{_LINE - 1}"'
    if cell.mark is Mark.MOVED:
        size = "all were 0" if isinf(cell.drift) else f"{cell.drift:.2e}"
        shade = round(strength(cell, span) * (_STEPS - 1))
        return [f'<rect class="c{shade}" {shape}><title>{about}rel Δ {size}</title></rect>']
    box = f'<rect class="{_CLASSES[cell.mark]}" {shape}><title>{about}{cell.mark}</title></rect>'
    sign = _SIGNS.get(cell.mark, "")
    if not sign or wide < 8:
        return [box]
    return [box, f'<text class="s" x="{left + wide // 2}" y="{top + 12}">{sign}</text>']


def _about(found: Map, row: int, start: int, stop: int) -> str:
    """What a cell is: its layer, and its commit or commits."""
    first, last = found.columns[start], found.columns[stop - 1]
    when = f"{first.name} {first.date} {first.subject}"
    if start + 1 < stop:
        when = f"{first.name} .. {last.name}, {first.date} .. {last.date}"
    return f"{escape(found.rows[row])}\n{escape(when)}\n"


def _axis(found: Map, left: int, top: int, length: int) -> list[str]:
    if not found.columns:
        return []
    first, last = found.columns[0], found.columns[-1]
    lines = []
    for y, (start, end) in enumerate(((first.name, last.name), (first.date, last.date))):
        fits = length > (len(start) + len(end) + 2) * _CHAR
        at = f'y="{top + y * _LINE}"'
        lines.append(f'<text x="{left}" {at}>{start if fits else f"{start} – {end}"}</text>')
        if fits:
            lines.append(f'<text class="n" x="{left + length}" {at}>{end}</text>')
    return lines


def _legend(found: Map, left: int, top: int) -> list[str]:
    low, high = legend_ends(found.span())
    start = left + round((len(low) + 7) * _CHAR)
    lines = [f'<text x="{left}" y="{top}">rel Δ {low}</text>']
    lines += (
        f'<rect class="c{i}" x="{start + i * 4}" y="{top - 10}" width="4" height="12"/>'
        for i in range(_STEPS)
    )
    words = escape(", ".join([high, *legend_words(found)]))
    return [*lines, f'<text x="{start + 4 * _STEPS + 6}" y="{top}">{words}</text>']
