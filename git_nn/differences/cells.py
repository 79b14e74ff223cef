"""cells: a row of a comparison under the columns that docs/diff.md defines, for every view."""

from __future__ import annotations

from git_nn.differences import remarks
from git_nn.differences.groups import Row
from git_nn.differences.groups import relative as relative_of
from git_nn.differences.numbers_text import cosine, largest, percent, ratio, relative, where
from git_nn.differences.spark import CELLS, sparkline
from git_nn.differences.table import NAME, REMARK, Column

TENSORS = (
    Column(NAME, "tensor", worth=99),
    Column("shape", "shape", worth=7),
    Column("dtype", "dtype", worth=5),
    Column("relative", "rel Δ", right=True, worth=9),
    Column("cosine", "cosine", right=True, worth=3),
    Column("max_abs", "max |Δ|", right=True, worth=4),
    Column("max_at", "at", worth=1),
    Column("changed", "changed", right=True, worth=6),
    Column(REMARK, worth=8),
)

GROUPS = (
    Column(NAME, "tensor", worth=99),
    Column("tensors", "tensors", right=True, worth=5),
    Column("shape", "shape", worth=4),
    Column("dtype", "dtype", worth=2),
    Column("relative", "max rel Δ", right=True, worth=9),
    Column("where", "at", worth=3),
    Column("median", "median", right=True, worth=6),
    Column("depth", "depth", worth=8),
    Column("changed", "changed", right=True, worth=1),
    Column(REMARK, worth=7),
)


def of_tensor(row: Row) -> tuple[str, ...]:
    """Under TENSORS."""
    (delta,) = row.members
    head = (row.name, remarks.shape(row.members), remarks.dtype(row.members))
    if (numbers := delta.numbers) is None:
        return (*head, "", "", "", "", "", remarks.remark(row))
    return (
        *head, relative(numbers), cosine(numbers), largest(numbers), where(numbers),
        percent(numbers.changed, numbers.elements), remarks.remark(row),
    )  # fmt: skip


def of_group(row: Row, cells: int = CELLS, *, signs: bool = True) -> tuple[str, ...]:
    """Under GROUPS; a row may be of one tensor."""
    head = (row.name, count(row), remarks.shape(row.members), remarks.dtype(row.members))
    if (most := row.largest.numbers) is None:
        return (*head, "", "", "", "", "", remarks.remark(row))
    measured = most.relative is not None
    return (
        *head, relative(most), member(row), ratio(row.median) if row.is_group and measured else "",
        sparkline(row.profile, cells, signs=signs) if measured else "", changed(row),
        remarks.remark(row),
    )  # fmt: skip


def count(row: Row) -> str:
    """``32``, or ``8 of 32`` where the others did not change."""
    changed = len(row.members)
    return str(changed) if row.total <= changed else f"{changed} of {row.total}"


def member(row: Row) -> str:
    """The numbers in the name of the member that moved most: ``17``, ``17,3``."""
    return ",".join(row.at) if relative_of(row.largest) else ""


def changed(row: Row) -> str:
    """The share of elements whose bits changed, in all members that were read."""
    found = [delta.numbers for delta in row.members if delta.numbers]
    if not found:
        return ""
    return percent(sum(n.changed for n in found), sum(n.elements for n in found))
