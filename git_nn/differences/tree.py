"""tree: rows under the modules that hold them, with what all below a module adds up to.

A module that holds one thing only stands in one line with it: ``self_attn.q_proj.weight``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from git_nn.differences import cells, remarks
from git_nn.differences.groups import Row
from git_nn.differences.numbers_text import ratio
from git_nn.differences.result import TensorDelta
from git_nn.differences.spark import sparkline
from git_nn.differences.table import NAME, REMARK, Column
from git_nn.objects.names import natural_key

COLUMNS = (
    Column(NAME, "module", worth=99),
    Column("tensors", "tensors", right=True, worth=5),
    Column("shape", "shape", worth=3),
    Column("dtype", "dtype", worth=2),
    Column("relative", "rel Δ", right=True, worth=9),
    Column("largest", "max rel Δ", right=True, worth=8),
    Column("depth", "depth", worth=7),
    Column("changed", "changed", right=True, worth=4),
    Column(REMARK, worth=6),
)

_PART = re.compile(r"[^./]*[./]+|[^./]+")


@dataclass(slots=True)
class Node:
    """What is called ``label`` in the module above it; a row where it is no module."""

    label: str
    row: Row | None = None
    children: dict[str, Node] = field(default_factory=dict)
    members: list[TensorDelta] = field(default_factory=list)


def build(rows: Sequence[Row]) -> Node:
    """The rows as a tree, in natural order of their names."""
    root = Node("")
    for row in sorted(rows, key=lambda row: natural_key(row.name)):
        parts = _PART.findall(row.name)
        node = root
        for part in parts[:-1]:
            node.members += row.members
            node = node.children.setdefault(part, Node(part))
        node.members += row.members
        # two rows may have one name, as something removed and something added
        node.children[f"{parts[-1]}\0{row.kind}{row.was}"] = Node(
            parts[-1], row, members=list(row.members)
        )
    return root


def walk(root: Node, depth: int = 0) -> Iterator[tuple[int, Node]]:
    """(depth, node) of all nodes below ``root``, those with one child joined to it."""
    waiting = [(depth, node) for node in reversed(root.children.values())]
    while waiting:
        level, node = waiting.pop()
        while node.row is None and len(node.children) == 1:
            (child,) = node.children.values()
            node = Node(node.label + child.label, child.row, child.children, child.members)
        yield level, node
        waiting += [(level + 1, child) for child in reversed(node.children.values())]


def of_node(depth: int, node: Node, width: int, *, signs: bool) -> tuple[str, ...]:
    """Cells under COLUMNS."""
    name = "  " * depth + (node.label.rstrip("./") or node.label)
    row = node.row or Row(node.label, node.members[0].kind, tuple(node.members))
    most = row.largest.numbers
    relative, largest = ratio(total(row.members)), ratio(most.relative if most else None)
    measured = most is not None and most.relative is not None
    if not measured:
        relative = largest = ""
    share = cells.changed(row)
    if node.row is None:
        return (name, str(len(node.members)), "", "", relative, largest, "", share, "")
    return (
        name, cells.count(row), remarks.shape(row.members), remarks.dtype(row.members), relative,
        largest if row.is_group else "",
        sparkline(row.profile, width, signs=signs) if measured else "",
        share, remarks.remark(row),
    )  # fmt: skip


def total(members: Sequence[TensorDelta]) -> float | None:
    """The relative change of all members as if they were one tensor; None where none was measured.

    Norms come from what is kept of each tensor: that of the old values from their mean and spread,
    that of the difference from the relative change.
    """
    moved, before = [0.0], [0.0]
    for delta in members:
        numbers = delta.numbers
        if numbers is None or numbers.relative is None:
            continue
        old, new = numbers.before, numbers.after
        one = old if math.isfinite(numbers.relative) else new  # old values that are all 0
        count = one.elements - one.nan - one.inf
        norm = math.sqrt(count) * math.hypot(one.mean or 0.0, one.std or 0.0)
        before.append(norm if one is old else 0.0)
        moved.append(norm * numbers.relative if one is old else norm)
    if len(moved) == 1:
        return None
    distance, length = math.hypot(*moved), math.hypot(*before)
    return distance / length if length else math.inf if distance else 0.0
