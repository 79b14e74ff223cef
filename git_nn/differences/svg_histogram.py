"""svg_histogram: small pictures of numbers: histograms, bars in a table's cells, shares."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from git_nn.differences.histogram import Histogram
from git_nn.differences.spark import CELLS

_WIDTH, _HEIGHT, _FOOT = 200, 84, 16
_PLOT = _HEIGHT - _FOOT - 2
_DECADES = 5.0  # below the largest that a bar of a table shows


def values(found: Histogram, name: str) -> str:
    """How the values lie: before as an area, after as a line over it."""
    most = max(*found.before, *found.after, 1)
    shapes = (
        f'<path class="f-before" d="{_outline(found.before, most)}V{_PLOT + 2}Z"/>'
        f'<path class="line l-accent" d="{_outline(found.after, most)}"/>'
    )
    said = f"Values of {name} before and after, from {found.low:.3g} to {found.high:.3g}"
    return _picture(shapes, said, f"{found.low:.3g}", "value", f"{found.high:.3g}")


def steps(found: Histogram, name: str) -> str:
    """How large the steps are: a bar for each octave."""
    if not found.steps:
        return _picture("", f"No element of {name} moved by a finite step", "", "no step", "")
    most = max(found.steps)
    wide = _WIDTH / len(found.steps)
    shapes = "".join(
        f'<rect class="f-accent" x="{i * wide:.1f}" y="{_PLOT + 2 - _PLOT * n / most:.1f}" '
        f'width="{max(wide - 1, 0.5):.1f}" height="{_PLOT * n / most:.1f}"/>'
        for i, n in enumerate(found.steps)
        if n
    )
    ends = [_power(found.top - len(found.steps) + 1), _power(found.top + 1)]
    still = f"; {found.still} elements did not move" if found.still else ""
    said = f"Steps |Δ| of {name} by octave, from {ends[0]} to {ends[1]}{still}"
    return _picture(shapes, said, ends[0], "|Δ|", ends[1])


def _power(exponent: int) -> str:
    try:
        return f"{math.ldexp(1.0, exponent):.1e}"
    except OverflowError:
        return f"2^{exponent}"


def _outline(counts: Sequence[int], most: int) -> str:
    """A path along the tops of the bins, from left to right."""
    wide = _WIDTH / len(counts)
    path = f"M0 {_PLOT + 2}"
    for i, n in enumerate(counts):
        path += f"V{_PLOT + 2 - _PLOT * n / most:.1f}H{(i + 1) * wide:.1f}"
    return path


def _picture(shapes: str, said: str, left: str, middle: str, right: str) -> str:
    floor, foot = _PLOT + 2, _HEIGHT - 3
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(said)}">'
        f"<title>{escape(said)}</title>{shapes}"
        f'<path class="axis" d="M0 {floor}H{_WIDTH}"/>'
        f'<text x="0" y="{foot}">{escape(left)}</text>'
        f'<text x="{_WIDTH / 2:.0f}" y="{foot}" text-anchor="middle">{escape(middle)}</text>'
        f'<text x="{_WIDTH}" y="{foot}" text-anchor="end">{escape(right)}</text></svg>'
    )


def bar(size: float | None, top: float) -> str:
    """A bar as long as ``size`` on a logarithmic scale that ends at ``top``."""
    share = 0.0
    if size is not None and size > 0 and top > 0:
        share = 1 + math.log10(min(size / top, 1.0)) / _DECADES if math.isfinite(size) else 1.0
    width = max(round(48 * share, 1), 1 if share else 0)
    return (
        '<svg class="bar" width="48" height="8" aria-hidden="true">'
        f'<rect class="f-accent" width="{width if size else 0}" height="8" rx="2"/></svg>'
    )


def profile(sizes: Sequence[float | None], cells: int = CELLS) -> str:
    """The depth of a group as a row of bars, of the largest of the group."""
    count = min(len(sizes), cells)
    if not count:
        return ""
    found = [size or 0.0 for size in sizes]
    runs = [
        max(found[len(found) * i // count : len(found) * (i + 1) // count]) for i in range(count)
    ]
    top = max((run for run in runs if math.isfinite(run)), default=0.0)
    bars = "".join(
        f'<rect class="f-accent" x="{4 * i}" y="{18 - high}" width="3" height="{high}"/>'
        for i, run in enumerate(runs)
        if (high := round(18 * min(run / top, 1.0), 1) if top else 0)
    )
    width = 4 * count
    return (
        f'<svg width="{width}" height="19" aria-hidden="true">{bars}'
        f'<path class="grid" d="M0 18.5H{width}"/></svg>'
    )


def shares(counts: Sequence[tuple[str, int]]) -> str:
    """One bar, cut by counts; each has the class of its kind."""
    total = sum(count for _, count in counts) or 1
    x, parts = 0.0, []
    for kind, count in counts:
        width = 1000 * count / total
        parts.append(f'<rect class="{kind}" x="{x:.1f}" width="{width:.1f}" height="10"/>')
        x += width
    return (
        '<svg class="stack" viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true">'
        f"{''.join(parts)}</svg>"
    )
