"""bars: what happened in each layer of a model, a sign per tensor, as git's --stat does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from git_nn.differences.arrange import ROWS
from git_nn.differences.layers import layer_of
from git_nn.differences.remarks import sign, tensors
from git_nn.differences.result import TensorDelta
from git_nn.differences.spark import bar
from git_nn.differences.style import Style, columns, fold, paint, shorten, shown
from git_nn.objects.names import escape, natural_key

_BAR = 40
_NAME = 48
_ORDER = "+-~→="
_COLOURS = {"+": "32", "-": "31", "~": "33", "→": "36", "=": "2"}


def counts(deltas: Iterable[TensorDelta]) -> dict[str, Counter[str]]:
    """How many tensors of each sign, by layer, in natural order."""
    found: dict[str, Counter[str]] = {}
    for delta in deltas:
        found.setdefault(layer_of(escape(delta.name)), Counter())[sign(delta.kind)] += 1
    return {name: found[name] for name in sorted(found, key=natural_key)}


def by_layer(deltas: Iterable[TensorDelta], style: Style) -> list[str]:
    """A line for each layer: its name, how many of its tensors are not the same, and a bar."""
    found = counts(deltas)
    kept = list(found)[:ROWS]
    if not kept:
        return []
    room = _NAME if style.width is None else max(min(_NAME, style.width // 2), 12)
    names = [shorten(shown(name, style), room, style) for name in kept]
    wide = max(map(columns, names))
    most = max(count.total() for count in found.values())
    digits = len(str(most))
    space = _BAR if style.width is None else max(min(_BAR, style.width - wide - digits - 8), 5)
    lines = []
    for name, key in zip(names, kept, strict=True):
        pad = " " * (wide - columns(name))
        lines.append(
            f"   {name}{pad} | {found[key].total():{digits}} {_bar(found[key], most, space, style)}"
        )
    if rest := list(found)[ROWS:]:
        count = sum(found[name].total() for name in rest)
        lines += fold(f"... and {tensors(count)} in {len(rest)} layers more", "   ", style)
    return lines


def _bar(count: Counter[str], most: int, width: int, style: Style) -> str:
    parts = []
    for mark in _ORDER:
        shape = bar([(mark, count[mark])], most, width)
        if shape:
            plain = shape.replace("→", ">") if not style.signs else shape
            parts.append(paint(plain, _COLOURS[mark], style))
    return "".join(parts)
