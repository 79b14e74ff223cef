"""html_table: tables of a page, and what their columns mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from git_nn.differences import remarks
from git_nn.differences.cells import GROUPS, TENSORS, of_group, of_tensor
from git_nn.differences.changes import Kind
from git_nn.differences.groups import Row, relative
from git_nn.differences.svg_histogram import bar, profile
from git_nn.differences.table import NAME, REMARK, Column

# The definitions of docs/diff.md in a sentence: a is the old value, b the new one, Δ = b − a.
MEANINGS = {
    "rel Δ": "relative L2 change: the norm of Δ by the norm of the old values; new: all were 0",
    "max rel Δ": "the largest relative L2 change of a tensor in the group",
    "median": "the median of the relative L2 changes in the group",
    "cosine": "cosine of the angle between the old and the new values",
    "max |Δ|": "the largest absolute difference of an element",
    "at": "where the largest is: the element's index, or the numbers in the tensor's name",
    "changed": "the share of elements whose bits differ",
    "depth": "the relative change by block, by the largest of the row; nothing where none changed",
    "tensors": "how many changed, of how many that are called so",
}

KINDS = {
    Kind.ADDED: "k-added", Kind.REMOVED: "k-removed", Kind.RENAMED: "k-moved",
    Kind.RECODED: "k-same",
}  # fmt: skip


def kind_class(kind: Kind) -> str:
    return KINDS.get(kind, "k-changed")


def table(rows: Sequence[Row], caption: str, *, grouped: bool) -> str:
    """A table of groups or of tensors that a page's script can sort."""
    columns = GROUPS if grouped else TENSORS
    cells = [of_group(row) if grouped else of_tensor(row) for row in rows]
    used = [i for i in range(len(columns)) if any(row[i] for row in cells)]
    sizes = [size for row in rows if (size := relative(row.largest)) and math.isfinite(size)]
    top = max(sizes, default=0.0)
    heads = "".join(_head(columns[i]) for i in used)
    body = "".join(
        f"<tr>{_sign(row)}{''.join(_cell(columns[i], found[i], row, top) for i in used)}</tr>\n"
        for row, found in zip(rows, cells, strict=True)
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}">'
        f'<table class="nn-sorts"><thead><tr><th scope="col"><span class="soft"></span></th>'
        f"{heads}</tr></thead>\n<tbody>\n{body}</tbody></table></div>\n"
    )


def _head(column: Column) -> str:
    meaning = MEANINGS.get(column.title, "")
    about = f' title="{escape(meaning)}"' if meaning else ""
    right = ' class="r"' if column.right else ""
    return f'<th scope="col"{right}{about}>{escape(column.title or "remarks")}</th>'


def _sign(row: Row) -> str:
    sign = escape(remarks.sign(row.kind))
    return f'<td class="sign {kind_class(row.kind)}" title="{row.kind}">{sign}</td>'


def _cell(column: Column, text: str, row: Row, top: float) -> str:
    if column.key == NAME:
        long = ' class="long"' if len(text) > _LONG else ""
        return f'<th scope="row"{long}>{escape(text)}</th>'
    if column.key == REMARK:
        return f'<td class="words">{escape(text)}</td>'
    if column.key == "depth":
        return f"<td>{profile(row.profile) if text else ''}</td>"
    value = _value(column.key, row)
    mark = bar(value, top) if column.key == "relative" and text else ""
    key = "" if column.key not in _KEYS else f' data-v="{"" if value is None else f"{value:.9g}"}"'
    right = ' class="r"' if column.right else ""
    return f"<td{right}{key}>{mark}{escape(text)}</td>"


_LONG = 48  # characters of a name that stay in one line
_KEYS = frozenset({"relative", "median", "cosine", "max_abs", "changed", "tensors"})


def _value(key: str, row: Row) -> float | None:
    """What a column is sorted by."""
    numbers = row.largest.numbers
    match key:
        case "relative":
            return relative(row.largest)
        case "median":
            return row.median if row.is_group else None
        case "cosine":
            return numbers.cosine if numbers else None
        case "max_abs":
            return numbers.max_abs if numbers else None
        case "tensors":
            return len(row.members)
        case "changed":
            found = [delta.numbers for delta in row.members if delta.numbers]
            total = sum(one.elements for one in found)
            return sum(one.changed for one in found) / total if total else None
    return None
