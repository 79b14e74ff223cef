"""render: a ModelDiff as text for a person, plain or with colour.

Totals come first, then headlines, then a row per tensor or per group of tensors under the
columns that docs/diff.md defines, then warnings. A line starts with what happened: ~ changed,
+ added, - removed, → renamed, = same values stored otherwise, ! not finite.
"""

from __future__ import annotations

from collections.abc import Sequence

from git_nn.differences import arrange, bars, remarks, tree
from git_nn.differences.arrange import View
from git_nn.differences.cells import GROUPS, TENSORS, of_group, of_tensor
from git_nn.differences.changes import Kind
from git_nn.differences.groups import Row
from git_nn.differences.remarks import moved_most, tensors, totals
from git_nn.differences.result import ModelDiff
from git_nn.differences.spark import CELLS
from git_nn.differences.style import PLAIN, Style, columns, fold, paint, shorten, shown
from git_nn.differences.table import lay_out

__all__ = ["stat", "text", "totals"]

_AUTO = View()
_COLOURS = {"+": "32", "-": "31", "~": "33", "→": "36", ">": "36", "=": "2", "!": "1;31"}


def text(diff: ModelDiff, label: str, style: Style = PLAIN, view: View = _AUTO) -> str:
    """The whole report, ending in a newline; ``label`` is already one visible line."""
    head = fold(f"{label}   {totals(diff)}", "", style)
    lines = [paint(line, "1", style) for line in head]
    for line in (*diff.headlines, *diff.notes):
        lines += fold(line, "  ", style)
    lines += _table(diff, style, view)
    if diff.structure:
        lines.append("  structure:")
        for line in diff.structure:
            lines += fold(line, "    ", style)
    if any(delta.unread.startswith("values are not here") for delta in diff.tensors):
        lines.append("  some values are not here; to get them: git nn fetch REV")
    return "".join(f"{line}\n" for line in lines)


def _table(diff: ModelDiff, style: Style, view: View) -> list[str]:
    rows = arrange.rows(diff, view)
    lines = []
    if view.patterns:
        found = sum(len(row.members) for row in rows)
        lines += fold(f"{found} of {tensors(len(diff.tensors))} match the pattern", "  ", style)
    most = arrange.limit(view)
    kept, hidden = (rows, []) if most is None else (rows[:most], rows[most:])
    if kept:
        lines += _lines(kept, style, view)
    if hidden:
        count = sum(len(row.members) for row in hidden)
        lines += fold(f"... and {tensors(count)} more (git nn diff --all)", "  ", style)
        lines += [line for row in hidden for line in _warnings(row, style)]
    return lines


def _lines(rows: Sequence[Row], style: Style, view: View) -> list[str]:
    """The header, and each row with its warnings."""
    owners: list[Row | None] = list(rows)
    if view.tree:
        nodes = list(tree.walk(tree.build(rows)))
        owners = [node.row for _, node in nodes]
        cells = [tree.of_node(*pair, _cells(style), signs=style.signs) for pair in nodes]
        header, *body = lay_out(tree.COLUMNS, cells, style)
    elif any(row.is_group for row in rows):
        cells = [of_group(row, _cells(style), signs=style.signs) for row in rows]
        header, *body = lay_out(GROUPS, cells, style)
    else:
        header, *body = lay_out(TENSORS, [of_tensor(row) for row in rows], style)
    lines = [f"  {header}"]
    for row, line in zip(owners, body, strict=True):
        if row is None:
            lines.append(f"  {line}")
            continue
        sign = ">" if row.kind is Kind.RENAMED and not style.signs else remarks.sign(row.kind)
        lines.append(paint(f"{sign} {line}", _COLOURS[sign], style))
        lines += _warnings(row, style)
    return lines


def _cells(style: Style) -> int:
    """How many signs a picture of the depth may take."""
    if style.width is None:
        return CELLS
    return max(min(CELLS, style.width // 7), 8)


def _warnings(row: Row, style: Style) -> list[str]:
    lines = []
    for name, said in remarks.warnings(row):
        line = f"! {shown(name, style)}: {shown(said, style)}"
        if style.width is not None and (over := columns(line) - style.width) > 0:
            kept = max(columns(shown(name, style)) - over, 12)
            line = f"! {shorten(shown(name, style), kept, style)}: {shown(said, style)}"
            line = shorten(line, style.width, style, middle=False)
        lines.append(paint(line, _COLOURS["!"], style))
    return lines


def stat(diff: ModelDiff, label: str, style: Style = PLAIN) -> str:
    """The totals, the tensor that moved most, and a bar for each layer."""
    most = moved_most(diff)
    head = f"{label} | {totals(diff)}{'; ' if most else ''}{most}"
    lines = fold(head, " ", style) + bars.by_layer(diff.tensors, style)
    return "".join(f"{line}\n" for line in lines)
