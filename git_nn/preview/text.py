"""text: a preview for a person; the columns are defined in docs/merge.md, Preview.

A line starts with ! where something is left to settle, with * where both sides changed a tensor
and a strategy is chosen for it.
"""

from __future__ import annotations

from collections.abc import Sequence

from git_nn.differences.arrange import ROWS
from git_nn.differences.numbers_text import percent, ratio
from git_nn.differences.style import PLAIN, Style, fold, paint
from git_nn.differences.table import NAME, REMARK, Column, lay_out
from git_nn.merge.overlap import Apart, Overlap
from git_nn.merge.report import outcome, plural
from git_nn.objects.names import escape
from git_nn.objects.tensor import format_shape
from git_nn.preview.blocks import Block, blocks, outcomes_of
from git_nn.preview.result import File, Outcome, Preview, Tensor

TENSORS = (
    Column(NAME, "tensor", worth=99),
    Column("tensors", "tensors", right=True, worth=5),
    Column("shape", "shape", worth=3),
    Column("dtype", "dtype", worth=1),
    Column("becomes", "becomes", worth=12),
    Column("ours", "ours Δ", right=True, worth=11),
    Column("theirs", "theirs Δ", right=True, worth=10),
    Column("cosine", "cosine", right=True, worth=9),
    Column("signs", "signs", right=True, worth=7),
    Column("shared", "shared", right=True, worth=6),
    Column(REMARK, worth=8),
)
STRATEGIES = (
    Column(NAME, "strategy", worth=99),
    Column("tensors", "tensors", right=True, worth=1),
    Column("base", "from base", right=True, worth=5),
    Column("ours", "from ours", right=True, worth=4),
    Column("theirs", "from theirs", right=True, worth=3),
    Column(REMARK, worth=2),
)

_COLOURS = {"!": "1;31", "*": "33"}
_SHORT = 7  # digits of a commit
_EVIDENT = "changed on both sides"  # of a conflict without another reason


def text(preview: Preview, style: Style = PLAIN) -> str:
    """The whole report, ending in a newline."""
    lines = _head(preview, style)
    for file in preview.files:
        lines += ["", *_file(file, style)]
    if preview.files:
        lines += ["", *fold(_verdict(preview), "", style)]
    return "".join(f"{line}\n" for line in lines)


def _head(preview: Preview, style: Style) -> list[str]:
    name, ours, theirs = escape(preview.name), preview.ours[:_SHORT], preview.theirs[:_SHORT]
    match preview.kind:
        case "up-to-date":
            return fold(f"already up to date: {name} ({theirs}) is in HEAD ({ours})", "", style)
        case "fast-forward":
            how = f"HEAD ({ours}) would be fast-forwarded to {name} ({theirs})"
        case "unrelated":
            how = f"merging {name} ({theirs}) into HEAD ({ours}), which have no common commit; Git"
            how += " refuses that without --allow-unrelated-histories"
        case "merge":
            base, *more = (base[:_SHORT] for base in preview.bases)
            how = f"merging {name} ({theirs}) into HEAD ({ours}) from their merge base {base}"
            if more:
                how += f"; there are {len(more)} more ({', '.join(more)}), which Git merges first"
                how += ", and this compares with that one alone"
    return fold(how if preview.files else f"{how}; no model changes", "", style)


def _verdict(preview: Preview) -> str:
    files = sum(not file.is_clean for file in preview.files)
    if not files:
        return "no conflicts are predicted"
    tensors = sum(len(file.conflicts) for file in preview.files)
    found = f"conflicts are predicted in {files} file{'s' if files > 1 else ''}"
    return f"{found}, {tensors} {plural(tensors)}" if tensors else found


# --- a file -----------------------------------------------------------------------------


def _file(file: File, style: Style) -> list[str]:
    lines = [paint(line, "1", style) for line in fold(f"{_name(file)}   {_said(file)}", "", style)]
    if file.why:
        lines += [paint(line, _COLOURS["!"], style) for line in fold(file.why, "! ", style)]
    for note in file.notes:
        lines += fold(note, "  ", style)
    return lines + _tensors(file, style) + _strategies(file.tensors, style)


def _name(file: File) -> str:
    """The path of the result; where a side has it elsewhere, that too."""
    shown = escape(file.path.decode("utf-8", "surrogateescape"))
    others = {path for path in file.paths if path and path != file.path}
    names = (escape(path.decode("utf-8", "surrogateescape")) for path in sorted(others))
    return f"{shown} ({', '.join(names)})" if others else shown


def _said(file: File) -> str:
    if file.why:
        return "conflict of the whole file"
    if file.becomes != "merged":
        count = len(file.tensors)
        changed = f", {count} {plural(count)} changed, {file.same} same" if count else ""
        return f"{_whole(file)}{changed}"
    return f"{outcome([tensor.decision for tensor in file.tensors])}; {file.same} same"


def _whole(file: File) -> str:
    """What Git does with a file that it need not merge."""
    base, ours, _ = file.paths
    if file.becomes == "removed":
        return "removed by theirs" if ours else "removed by ours"
    if file.becomes == "both":
        return "the same on both sides"
    return f"{file.becomes} is taken" if base else f"added by {file.becomes}"


def _tensors(file: File, style: Style) -> list[str]:
    """A row for each block."""
    rows = blocks(sorted(file.tensors, key=_rank))
    if not rows:
        return []
    header, *body = lay_out(TENSORS, [_cells(row) for row in rows[:ROWS]], style)
    lines = [f"  {header}"]
    for row, line in zip(rows, body, strict=False):
        sign = "!" if row.first.is_conflict else "*" if row.first.changed_by_both else " "
        lines.append(paint(f"{sign} {line}", _COLOURS.get(sign, ""), style))
    if hidden := rows[ROWS:]:
        count = sum(len(row.tensors) for row in hidden)
        lines += fold(f"... and {count} {plural(count)} more (--json lists them)", "  ", style)
    return lines


def _rank(tensor: Tensor) -> int:
    """Conflicts first, then what else both sides changed."""
    return 0 if tensor.is_conflict else 1 if tensor.changed_by_both else 2


def _cells(row: Block) -> tuple[str, ...]:
    """Under TENSORS."""
    first, count = row.first, len(row.tensors)
    entry, found = first.entry, row.overlap
    why = "" if first.why == _EVIDENT else first.why
    remark = why or next((tensor.unread for tensor in row.tensors if tensor.unread), "")
    head = (
        row.name, str(count) if count > 1 else "", format_shape(entry.shape), entry.dtype,
        first.becomes,
    )  # fmt: skip
    return (*head, *(_numbers(found, first.changed) if found else ("",) * 5), remark)


def _numbers(found: Overlap, changed: tuple[bool, bool]) -> tuple[str, ...]:
    ours = ratio(found.ours_relative) if changed[0] else ""
    theirs = ratio(found.theirs_relative) if changed[1] else ""
    if not all(changed):
        return ours, theirs, "", "", ""
    cosine = "-" if found.cosine is None else f"{found.cosine:.3f}"
    signs = percent(found.agreeing, found.both) if found.both else "-"
    return ours, theirs, cosine, signs, percent(found.both, found.elements)


# --- strategies -------------------------------------------------------------------------


def _strategies(tensors: Sequence[Tensor], style: Style) -> list[str]:
    """How far each strategy's result would be from each version, over all tensors."""
    rows = outcomes_of(tensors)
    if not rows:
        return []
    count = sum(bool(tensor.outcomes) for tensor in tensors)
    title = f"{count} {plural(count)} that both sides changed, by strategy: how far the result is"
    if any(outcome.is_estimated for outcome, _ in rows):
        title += "; ~ is estimated from a sample (--exact computes all)"
    header, *body = lay_out(STRATEGIES, [_strategy(*row, count) for row in rows], style)
    return [*fold(title, "  ", style), *(f"  {line}" for line in (header, *body))]


def _strategy(outcome: Outcome, done: int, count: int) -> tuple[str, ...]:
    """Under STRATEGIES."""
    remark = outcome.skipped
    sign = "~" if outcome.is_estimated else ""
    if outcome.strange:
        remark = f"{sign}{outcome.strange} values become NaN or infinite"
    versions = (outcome.base, outcome.ours, outcome.theirs)
    tensors = "" if done == count else f"{done} of {count}"
    return (outcome.strategy, tensors, *(_apart(apart, sign) for apart in versions), remark)


def _apart(apart: Apart | None, sign: str) -> str:
    return "" if apart is None else sign + ratio(apart.relative)
