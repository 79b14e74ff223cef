"""structure_nodes: which nodes of two versions of a graph are the same node.

They are where the same operator uses the same weights; between two such, where it makes the
same output, has the same name or the same place in the order; and else, of whatever operator,
by output or name. Exporters number what has no name, so a name alone proves little.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_PAIRS = 250_000  # of nodes that are compared to find those at the same place


@dataclass(frozen=True, slots=True)
class Node:
    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Matched:
    """Pairs of nodes in the old order, whether each was found by place, and the others."""

    pairs: list[tuple[Node, Node, bool]]
    removed: list[Node]
    added: list[Node]


@dataclass(slots=True)
class _Pairing:
    """Which nodes are the same node, found step by step: old place -> (new place, by place)."""

    old: list[Node]
    new: list[Node]
    partner: dict[int, tuple[int, bool]] = field(default_factory=dict)
    taken: set[int] = field(default_factory=set)

    def by_key(self, key: Callable[[Node], Any], left: Iterable[int], right: Iterable[int]) -> None:
        mine, theirs = self.free(left, right)
        found = _keyed([key(self.old[i]) for i in mine], [key(self.new[j]) for j in theirs])
        self._pair([(mine[i], theirs[j]) for i, j in found])

    def by_place(self, left: Iterable[int], right: Iterable[int]) -> None:
        mine, theirs = self.free(left, right)
        found = _placed([_kind(self.old[i]) for i in mine], [_kind(self.new[j]) for j in theirs])
        self._pair([(mine[i], theirs[j]) for i, j in found], by_place=True)

    def free(self, left: Iterable[int], right: Iterable[int]) -> tuple[list[int], list[int]]:
        return (
            [i for i in left if i not in self.partner],
            [j for j in right if j not in self.taken],
        )

    def _pair(self, pairs: Iterable[tuple[int, int]], *, by_place: bool = False) -> None:
        for i, j in pairs:
            self.partner[i] = j, by_place
            self.taken.add(j)


def match(old: list[Node], new: list[Node]) -> Matched:
    found = _Pairing(old, new)
    everywhere = range(len(old)), range(len(new))
    found.by_key(_weights(old, new), *everywhere)
    anchors = [(i, found.partner[i][0]) for i in sorted(found.partner)]
    for gap in _gaps(anchors, len(old), len(new)):
        found.by_key(lambda node: (*node.outputs[:1], node.op), *gap)
        found.by_key(lambda node: (node.name, node.op), *gap)
        found.by_place(*gap)
    found.by_key(lambda node: node.outputs[:1], *everywhere)
    found.by_key(lambda node: node.name, *everywhere)
    pairs = [(old[i], new[j], by_place) for i, (j, by_place) in sorted(found.partner.items())]
    removed, added = found.free(*everywhere)
    return Matched(pairs, [old[i] for i in removed], [new[j] for j in added])


def _weights(old: list[Node], new: list[Node]) -> Callable[[Node], Any]:
    """The inputs of a node that no node makes, with its operator."""
    made = {name for node in (*old, *new) for name in node.outputs}

    def key(node: Node) -> Any:
        held = tuple(name for name in node.inputs if name and name not in made)
        return (node.op, held) if held else ()

    return key


def _gaps(
    anchors: list[tuple[int, int]], old: int, new: int
) -> Iterator[tuple[Iterable[int], Iterable[int]]]:
    """The places between nodes that are known to be the same, in the order of both sides."""
    i = j = 0
    for left, right in [*anchors, (old, new)]:
        if right >= j:
            yield range(i, left), range(j, right)
            i, j = left + 1, right + 1


def _keyed(old: list[Any], new: list[Any]) -> Iterator[tuple[int, int]]:
    """Pairs of places with the same key, which each side has once; an empty one is none."""
    once = {key for key, number in Counter(old).items() if key and number == 1}
    where: dict[Any, list[int]] = defaultdict(list)
    for j, key in enumerate(new):
        where[key].append(j)
    for i, key in enumerate(old):
        if key in once and len(where[key]) == 1:
            yield i, where[key][0]


def _kind(node: Node) -> tuple[str, int, int]:
    return node.op, len(node.inputs), len(node.outputs)


def _placed(old: Sequence[Any], new: Sequence[Any]) -> Iterator[tuple[int, int]]:
    """Pairs of places that a longest common subsequence has; ends that are equal come first."""
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        yield start, start
        start += 1
    stop = 0
    while stop < min(len(old), len(new)) - start and old[-1 - stop] == new[-1 - stop]:
        stop += 1
        yield len(old) - stop, len(new) - stop
    middle = old[start : len(old) - stop], new[start : len(new) - stop]
    if len(middle[0]) * len(middle[1]) <= _PAIRS:
        yield from ((start + i, start + j) for i, j in _common(*middle))


def _common(old: Sequence[Any], new: Sequence[Any]) -> Iterator[tuple[int, int]]:
    """A longest common subsequence, by the table of the lengths of those that follow."""
    longest = [[0] * (len(new) + 1)]
    for mine in reversed(old):
        below, row = longest[-1], [0] * (len(new) + 1)
        for j in range(len(new) - 1, -1, -1):
            row[j] = below[j + 1] + 1 if mine == new[j] else max(below[j], row[j + 1])
        longest.append(row)
    longest.reverse()
    i = j = 0
    while i < len(old) and j < len(new):
        if old[i] == new[j]:
            yield i, j
            i, j = i + 1, j + 1
        elif longest[i + 1][j] >= longest[i][j + 1]:
            i += 1
        else:
            j += 1
