"""render: a ModelDiff as text for a person, plain or with colour.

Totals come first, then a row per tensor under the columns that docs/diff.md defines,
then warnings. A line starts with what happened: ~ changed, + added, - removed,
→ renamed, = same values stored otherwise, ! not finite.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from git_nn.diff.changes import Kind
from git_nn.diff.numbers_text import cosine, largest, percent, relative
from git_nn.diff.result import ModelDiff, TensorDelta
from git_nn.objects.names import escape
from git_nn.objects.pointer import Entry
from git_nn.objects.tensor import format_shape

ROWS = 60
_WIDE = 64  # a longer name moves its own row only
_HEADER = ("tensor", "shape", "dtype", "rel Δ", "cosine", "max |Δ|", "at", "changed", "")
_RIGHT = (False, False, False, True, True, True, False, True, False)
_SIGNS = {Kind.ADDED: "+", Kind.REMOVED: "-", Kind.RENAMED: "→", Kind.RECODED: "="}
_COLOURS = {"+": "32", "-": "31", "~": "33", "→": "36", "=": "2", "!": "1;31"}


@dataclass(frozen=True, slots=True)
class Style:
    """How much to show, and whether in colour."""

    colour: bool = False
    rows: int | None = ROWS


PLAIN = Style()


def text(diff: ModelDiff, label: str, style: Style = PLAIN) -> str:
    """The whole report, ending in a newline; ``label`` is already one visible line."""
    lines = [_paint(f"{label}   {totals(diff)}", "1", style)]
    lines += (f"  {note}" for note in diff.notes)
    lines += _table(diff.tensors, style)
    if diff.structure:
        lines.append("  structure:")
        lines += (f"    {line}" for line in diff.structure)
    if any(delta.unread.startswith("values are not here") for delta in diff.tensors):
        lines.append("  some values are not here; to get them: git nn pull")
    return "".join(f"{line}\n" for line in lines)


def totals(diff: ModelDiff) -> str:
    """What happened to the model as a whole, in one line."""
    if diff.old is None:
        return f"new file, {_tensors(diff.total)}"
    if diff.new is None:
        return f"deleted, {_tensors(diff.total)}"
    if diff.tensors:
        counts = [f"{count} {kind}" for kind, count in diff.counts.items()]
        return (
            f"{', '.join((*counts, f'{diff.same} same'))} of {_tensors(diff.total)}{_format(diff)}"
        )
    if not diff.container_changed:
        return f"no change, {_tensors(diff.same)}"
    if not diff.same:
        return f"content changed{_format(diff)}"
    return f"no tensor changed, container only, {diff.same} same{_format(diff)}"


def stat(diff: ModelDiff, label: str) -> str:
    """One line: the totals and the tensor that moved most."""
    moved = [delta for delta in diff.tensors if delta.numbers and delta.numbers.relative]
    top = ""
    if moved and moved[0].numbers:
        size = relative(moved[0].numbers)
        top = f"; most: {escape(moved[0].name)}, rel Δ {size}"
    return f" {label} | {totals(diff)}{top}\n"


def _format(diff: ModelDiff) -> str:
    assert diff.old is not None
    assert diff.new is not None
    if diff.old.format == diff.new.format:
        return ""
    return f", format {diff.old.format} → {diff.new.format}"


def _tensors(count: int) -> str:
    return f"{count} tensor" if count == 1 else f"{count} tensors"


def _table(deltas: Sequence[TensorDelta], style: Style) -> list[str]:
    shown = deltas if style.rows is None else deltas[: style.rows]
    if not shown:
        return []
    cells = [_cells(delta) for delta in shown]
    columns = _used_columns(cells)
    rows = [tuple(row[i] for i in columns) for row in (_HEADER, *cells)]
    right = [_RIGHT[i] for i in columns]
    widths = [min(max(len(row[i]) for row in rows), _WIDE) for i in range(len(columns))]
    lines = [f"  {_line(rows[0], widths, right)}"]
    for delta, row in zip(shown, rows[1:], strict=True):
        sign = _SIGNS.get(delta.kind, "~")
        lines.append(_paint(f"{sign} {_line(row, widths, right)}", _COLOURS[sign], style))
        lines += (_paint(line, _COLOURS["!"], style) for line in _warnings(delta))
    if hidden := deltas[len(shown) :]:
        lines.append(f"  ... and {_tensors(len(hidden))} more (git nn diff --all)")
        lines += (_paint(line, _COLOURS["!"], style) for d in hidden for line in _warnings(d))
    return lines


def _used_columns(cells: Sequence[tuple[str, ...]]) -> list[int]:
    """Names, shapes, dtypes, and what at least one row fills."""
    return [i for i in range(len(_HEADER)) if i < 3 or any(row[i] for row in cells)]


def _line(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    parts = [
        cell.rjust(width) if is_right else cell.ljust(width)
        for cell, width, is_right in zip(row, widths, right, strict=True)
    ]
    return "  ".join(parts).rstrip()


def _cells(delta: TensorDelta) -> tuple[str, ...]:
    old, new = delta.change.old, delta.change.new
    entries = [entry for entry in (old, new) if entry is not None]
    shape = "→".join(dict.fromkeys(format_shape(entry.shape) for entry in entries))
    dtype = "→".join(dict.fromkeys(entry.dtype for entry in entries))
    numbers = delta.numbers
    if numbers is None:
        return (escape(delta.name), shape, dtype, "", "", "", "", "", _remark(delta))
    at = "" if numbers.max_at is None else f"[{','.join(map(str, numbers.max_at))}]"
    return (
        escape(delta.name), shape, dtype, relative(numbers), cosine(numbers), largest(numbers),
        at, percent(numbers.changed, numbers.elements), _remark(delta),
    )  # fmt: skip


def _remark(delta: TensorDelta) -> str:
    """What the numbers do not say."""
    return ", ".join(word for word in (_verb(delta), delta.unread) if word)


def _verb(delta: TensorDelta) -> str:
    old, new, numbers = delta.change.old, delta.change.new, delta.numbers
    if old is None or new is None:
        return ""
    match delta.kind:
        case Kind.RENAMED:
            return f"was {escape(old.name)}"
        case Kind.CAST:
            exact = numbers is not None and not numbers.changed
            values = ": the old values, rounded once" if exact else ""
            return f"cast {old.dtype}→{new.dtype}{values}"
        case Kind.RESIZED:
            return _growth(old, new)
        case Kind.RESHAPED:
            same = not delta.change.bytes_differ or (numbers is not None and not numbers.changed)
            return "reshaped, same values" if same else "reshaped"
        case Kind.REPLACED:
            return "other dtype and shape"
        case Kind.RECODED:
            return "same values, stored otherwise"
    return ""


def _growth(old: Entry, new: Entry) -> str:
    """``rows +64`` where one dimension grew or shrank; the common part is what is compared."""
    if len(old.shape) != len(new.shape):
        return "other rank"
    steps = [
        (i, b - a) for i, (a, b) in enumerate(zip(old.shape, new.shape, strict=True)) if a != b
    ]
    if len(steps) > 1:
        return "resized"
    axis, step = steps[0]
    what = {0: "rows", 1: "columns"}.get(axis, f"axis {axis}") if len(new.shape) > 1 else "elements"
    return f"{what} {step:+d}"


def _warnings(delta: TensorDelta) -> list[str]:
    """A line where a changed tensor holds values that are not finite."""
    numbers = delta.numbers
    if numbers is None or not any((*numbers.nan, *numbers.inf)):
        return []
    counts = [
        f"{word} {before} → {after}"
        for word, (before, after) in (("NaN", numbers.nan), ("Inf", numbers.inf))
        if before or after
    ]
    return [f"! {escape(delta.name)}: {', '.join(counts)} of {numbers.elements} values"]


def _paint(line: str, code: str, style: Style) -> str:
    return f"\x1b[{code}m{line}\x1b[m" if style.colour else line
