"""svg_drift: where in its depth a model moved, as one picture.

x is the number of the block, y the relative change on a logarithmic scale, with a line for each
role that a tensor has in a block (q_proj, k_proj, mlp.up). Where nothing changed a point
stands on the floor, marked 0; where nothing could be measured there is none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from html import escape

from git_nn.differences.groups import Row
from git_nn.differences.numbers_text import ratio

LINES = 8  # with a colour of their own; all others are drawn thin, below

_WIDTH, _HEIGHT = 900, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 14, 12, 40
_FLOOR = 16  # from the lowest decade down to the 0
_DECADES = 6  # below the largest that are shown at most
_INDEX = re.compile(r"\[[^\]]*\]")
_PARTS = re.compile(r"[./]")


def lines_of(rows: Sequence[Row]) -> list[Row]:
    """The rows that have a depth and at least one step that can be drawn, the largest first."""
    found = [row for row in rows if len(row.depths) > 1 and _steps(row)]
    return sorted(found, key=lambda row: (-max(_steps(row)), row.name))


def labels(rows: Sequence[Row]) -> list[str]:
    """The names without their numbers and without what all of them have in common."""
    names = [_INDEX.sub("*", row.name) for row in rows]
    parts = [_PARTS.split(name) for name in names]
    least = min(map(len, parts)) - 1
    head = next((i for i in range(least) if len({p[i] for p in parts}) > 1), least)
    tail = next((i for i in range(least - head) if len({p[-1 - i] for p in parts}) > 1), 0)
    if len(set(names)) == 1:
        head, tail = 0, 0
    cut = [
        "/".join(p[head : len(p) - tail]) if "/" in n else ".".join(p[head : len(p) - tail])
        for p, n in zip(parts, names, strict=True)
    ]
    return [
        text.removeprefix("*.").removeprefix("*/") or name
        for text, name in zip(cut, names, strict=True)
    ]


def drift(rows: Sequence[Row], ident: str) -> str:
    """The picture of what ``lines_of`` gave; colours are by place: class s0, s1, and so on."""
    depths = sorted({depth for row in rows for depth in row.depths}, key=int)
    steps = [size for row in rows for size in _steps(row)]
    top = math.ceil(math.log10(max(steps)) - 1e-9)
    bottom = max(math.floor(math.log10(min(steps)) + 1e-9), top - _DECADES)
    top = max(top, bottom + 1)
    scale = _Scale(depths, bottom, top)
    about = labels(rows)
    body = [*_axes(scale)]
    for i, (row, label) in reversed(list(enumerate(zip(rows, about, strict=True)))):
        body += _line(
            scale, row, label, min(i, LINES - 1) if i < LINES else LINES - 1, thin=i >= LINES
        )
    named = ", ".join(about[:LINES])
    return (
        f'<svg class="drift" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-labelledby="{ident}-t {ident}-d">'
        f'<title id="{ident}-t">Layer drift: relative change by block</title>'
        f'<desc id="{ident}-d">{len(rows)} lines over blocks {depths[0]} to {depths[-1]}, '
        f"from {ratio(min(steps))} to {ratio(max(steps))}: {escape(named)}</desc>"
        f"{''.join(body)}</svg>"
    )


class _Scale:
    """Where blocks and changes stand in the picture."""

    __slots__ = ("bottom", "depths", "places", "top")

    def __init__(self, depths: list[str], bottom: int, top: int) -> None:
        self.depths, self.bottom, self.top = depths, bottom, top
        self.places = {depth: i for i, depth in enumerate(depths)}

    def x(self, depth: str) -> float:
        room = _WIDTH - _LEFT - _RIGHT - 16
        return round(_LEFT + 8 + room * self.places[depth] / max(len(self.depths) - 1, 1), 1)

    def y(self, size: float) -> float:
        if size <= 0:
            return float(_HEIGHT - _BOTTOM)
        share = (math.log10(size) - self.bottom) / (self.top - self.bottom)
        floor = _HEIGHT - _BOTTOM - _FLOOR
        return round(floor - (floor - _TOP) * min(max(share, 0.0), 1.0), 1)


def _axes(scale: _Scale) -> list[str]:
    right = _WIDTH - _RIGHT
    found = []
    for power in range(scale.bottom, scale.top + 1):
        y = scale.y(10.0**power)
        found.append(f'<path class="grid" d="M{_LEFT} {y}H{right}"/>')
        found.append(f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">1e{power:+03d}</text>')
    y = scale.y(0)
    found.append(f'<path class="axis" d="M{_LEFT} {y}H{right}"/>')
    found.append(f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">0</text>')
    step = math.ceil(len(scale.depths) / 24)
    found += (
        f'<text x="{scale.x(depth)}" y="{y + 16}" text-anchor="middle">{escape(depth)}</text>'
        for depth in scale.depths[::step]
    )
    middle = (_LEFT + right) / 2
    found.append(f'<text x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle">block</text>')
    return found


def _line(scale: _Scale, row: Row, label: str, colour: int, *, thin: bool) -> list[str]:
    path, found = "", []
    pen = "M"
    for depth, size in zip(row.depths, row.profile, strict=True):
        if size is None or not math.isfinite(size):
            pen = "M"  # the line has a gap
            continue
        x, y = scale.x(depth), scale.y(size)
        path += f"{pen}{x} {y}"
        pen = "L"
        if not thin:
            said = f"{label}, block {depth}: {ratio(size)}"
            found.append(
                f'<circle class="dot d{colour}" cx="{x}" cy="{y}" r="3.5">'
                f"<title>{escape(said)}</title></circle>"
            )
    width = ' stroke-width="1" opacity="0.5"' if thin else ""
    return [
        f'<path class="{"thin" if thin else "line"} s{colour}" fill="none"{width} d="{path}"/>',
        *found,
    ]


def _steps(row: Row) -> list[float]:
    """The changes of a row that a logarithmic scale has a place for."""
    return [size for size in row.profile if size is not None and 0 < size < math.inf]
