"""shifts: layers that one version put into a stack or took out of it, seen by equal tensors.

A stack is what has a number of its own in the names: ``layers.3.mlp.weight``, by the first such
number. Only content ids are compared: where nearly every layer was trained as well, there is
nothing to go by, and no shift is claimed.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from git_nn.merge.renames import content
from git_nn.objects.alignment import Likeness, aligned
from git_nn.objects.pointer import Entry, Pointer

LAYERS = 400  # of one stack; longer ones are compared by number
SUPPORT = 0.5  # share of equal tensors that makes two layers one

_INDEX = re.compile(r"(?:\A|(?<=[./]))(0|[1-9][0-9]{0,8})(?=[./])")

Layers = dict[int, dict[str, Entry]]  # number -> rest of the name -> tensor


@dataclass(frozen=True, slots=True)
class Shift:
    """Where a version has the layers of a stack: {old number: new number}, but for removed ones."""

    prefix: str
    moved: Mapping[int, int]
    added: tuple[int, ...]
    removed: tuple[int, ...]


def shifts(old: Pointer, new: Pointer) -> dict[str, Shift]:
    """The stacks whose layers have other numbers in ``new``, by prefix."""
    before, after = stacks(old), stacks(new)
    found = {}
    for prefix in before.keys() & after.keys():
        one, other = before[prefix], after[prefix]
        if not 1 < max(len(one), len(other)) <= LAYERS or _is_steady(old, one, new, other):
            continue
        likeness = _likeness(old, one, new, other)
        if not likeness:
            continue
        moved = aligned(sorted(one), sorted(other), likeness)
        away = {(i, j) for i, j in moved.items() if i != j}
        if away and _share(away, likeness) >= SUPPORT:
            added = tuple(sorted(other.keys() - set(moved.values())))
            found[prefix] = Shift(prefix, moved, added, tuple(sorted(one.keys() - moved.keys())))
    return found


def stacks(pointer: Pointer) -> dict[str, Layers]:
    """The stacks of a version, by the start of their names."""
    found: dict[str, Layers] = defaultdict(lambda: defaultdict(dict))
    for entry in pointer.entries:
        if (cut := split(entry.name)) is not None:
            prefix, number, rest = cut
            found[prefix][number][rest] = entry
    return found


def split(name: str) -> tuple[str, int, str] | None:
    """(start, number, rest) of a name in a stack."""
    match = _INDEX.search(name)
    return (name[: match.start()], int(match[1]), name[match.end() :]) if match else None


def _is_steady(old: Pointer, before: Layers, new: Pointer, after: Layers) -> bool:
    """Whether no tensor was changed in the layers that both have by number."""
    both = before.keys() & after.keys()
    return bool(both) and all(
        content(old, entry) == content(new, after[number][role])
        for number in both
        for role, entry in before[number].items()
        if role in after[number]
    )


def _likeness(old: Pointer, before: Layers, new: Pointer, after: Layers) -> Likeness:
    """The share of equal tensors; what several layers have alike says nothing."""
    homes: dict[object, list[int]] = defaultdict(list)
    for number, roles in before.items():
        for role, entry in roles.items():
            homes[role, content(old, entry)].append(number)
    shared: Counter[tuple[int, int]] = Counter()
    telling = Counter(i for found in homes.values() if len(found) == 1 for i in found)
    for number, roles in after.items():
        for role, entry in roles.items():
            found = homes.get((role, content(new, entry)), [])
            shared.update({(i, number): 1 for i in found if len(found) == 1})
    return {pair: count / telling[pair[0]] for pair, count in shared.items()}


def _share(pairs: Iterable[tuple[int, int]], likeness: Likeness) -> float:
    """How many of the pairs are most likely one layer."""
    sure = [likeness.get(pair, 0.0) >= SUPPORT for pair in pairs]
    return sum(sure) / len(sure)
