"""shifts: layers that were put in or taken out, so that all layers behind have other numbers.

``layers.7`` of one version is then ``layers.8`` of the other, and to compare equal names would
compare strangers. The layers of a stack are aligned like lines in a diff: in order, with the
largest total likeness. Likeness is the share of tensors with equal content; where nothing
is equal, as after fine-tuning, and the stacks differ in length, the cosine of one tensor's
first elements. Only what beats the equal numbers is a shift.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING

from git_nn.differences.changes import Content, content
from git_nn.differences.result import Readable
from git_nn.objects.alignment import Likeness, aligned
from git_nn.objects.pointer import Entry, Pointer
from git_nn.objects.tensor import BLOCKS

if TYPE_CHECKING:
    from git_nn.arrays import Array

LAYERS = 400  # of one stack; longer ones are compared by number
SAMPLE = 1 << 15  # elements of a tensor that stand for its layer
ALIKE = 0.5  # cosine above which two layers may be one; strangers have about 0


@dataclass(frozen=True, slots=True)
class Shift:
    """Where the layers of one stack are now: {old number: new number}, in order."""

    prefix: str
    moved: Mapping[int, int]
    added: tuple[int, ...]
    removed: tuple[int, ...]


@dataclass(slots=True)
class _Stack:
    """layer number -> role -> tensor, of both versions."""

    old: dict[int, dict[str, Entry]] = field(default_factory=lambda: defaultdict(dict))
    new: dict[int, dict[str, Entry]] = field(default_factory=lambda: defaultdict(dict))


def find(old: Readable, new: Readable, *, values: bool = True) -> list[Shift]:
    """The shifted stacks; ``values`` allows to read a few thousand elements of each layer."""
    found = []
    for prefix, stack in _stacks(old.pointer, new.pointer).items():
        if not 1 < max(len(stack.old), len(stack.new)) <= LAYERS or not stack.old or not stack.new:
            continue
        if _is_steady(old.pointer, new.pointer, stack):
            continue
        likeness = _by_content(old.pointer, new.pointer, stack)
        if values and not likeness and len(stack.old) != len(stack.new):
            likeness = _by_values(old, new, stack)
        if not likeness:
            continue
        moved = aligned(sorted(stack.old), sorted(stack.new), likeness)
        if any(i != j for i, j in moved.items()):
            added = tuple(j for j in sorted(stack.new) if j not in moved.values())
            removed = tuple(i for i in sorted(stack.old) if i not in moved)
            found.append(Shift(prefix, moved, added, removed))
    return found


def names(shifts: list[Shift], old: Pointer, new: Pointer) -> dict[str, str | None]:
    """new name -> old name, for every tensor of a shifted stack; None where it is a new one."""
    found: dict[str, str | None] = {}
    for prefix, stack in _stacks(old, new).items():
        for shift in (shift for shift in shifts if shift.prefix == prefix):
            back = {j: i for i, j in shift.moved.items()}
            for number, roles in stack.new.items():
                before = stack.old.get(back[number], {}) if number in back else {}
                found |= {e.name: getattr(before.get(r), "name", None) for r, e in roles.items()}
    return found


def _stacks(old: Pointer, new: Pointer) -> dict[str, _Stack]:
    from git_nn.differences.groups import cut

    found: dict[str, _Stack] = defaultdict(_Stack)
    for pointer, is_new in ((old, False), (new, True)):
        for entry in pointer.entries:
            key, indices = cut(entry.name)
            if indices and len(indices[0]) < 10:
                rest = entry.name[len(key[0]) + len(indices[0]) :]
                stack = found[key[0]]
                (stack.new if is_new else stack.old)[int(indices[0])][rest] = entry
    return found


def _is_steady(old: Pointer, new: Pointer, stack: _Stack) -> bool:
    """Whether equal numbers hold equal content, so far as both versions have them."""
    both = stack.old.keys() & stack.new.keys()
    return bool(both) and all(
        content(old, entry) == content(new, stack.new[number][role])
        for number in both
        for role, entry in stack.old[number].items()
        if role in stack.new[number]
    )


def _by_content(old: Pointer, new: Pointer, stack: _Stack) -> Likeness:
    """The share of tensors with equal content; what many layers have alike says nothing."""
    before: dict[tuple[str, Content], list[int]] = defaultdict(list)
    for i, roles in stack.old.items():
        for role, entry in roles.items():
            before[role, content(old, entry)].append(i)
    shared: Counter[tuple[int, int]] = Counter()
    for j, roles in stack.new.items():
        for role, entry in roles.items():
            held = before.get((role, content(new, entry)), [])
            shared.update({(i, j): 1 for i in held if len(held) == 1})
    return {(i, j): n / max(len(stack.old[i]), len(stack.new[j])) for (i, j), n in shared.items()}


def _by_values(old: Readable, new: Readable, stack: _Stack) -> Likeness:
    role = _telling_role(stack)
    if role is None:
        return {}
    import numpy as np

    before = {i: _start(old, roles[role]) for i, roles in stack.old.items()}
    after = {j: _start(new, roles[role]) for j, roles in stack.new.items()}
    cosines = {
        (i, j): float(np.dot(a, b))
        for i, a in before.items()
        for j, b in after.items()
        if a is not None and b is not None and a.shape == b.shape
    }
    return {pair: cosine for pair, cosine in cosines.items() if cosine > ALIKE}


def _telling_role(stack: _Stack) -> str | None:
    """The smallest matrix that every layer has: it costs least to read."""
    layers = [*stack.old.values(), *stack.new.values()]
    common = set.intersection(*(set(roles) for roles in layers))
    sizes = {}
    for role in common:
        entries = [roles[role] for roles in layers]
        if all(len(entry.shape) > 1 and entry.dtype not in BLOCKS for entry in entries):
            sizes[role] = sum(prod(entry.shape) for entry in entries)
    return min(sorted(sizes), key=sizes.__getitem__, default=None)


def _start(model: Readable, entry: Entry) -> Array | None:
    """The first elements of a tensor, as a vector of length 1; None where there are none."""
    import numpy as np

    from git_nn.arrays import as_float64

    blocks = model.blocks(entry.name)
    first = None if blocks is None else next(iter(blocks(SAMPLE)), None)
    if first is None or not len(first):
        return None
    values = np.nan_to_num(np.abs(v) if (v := as_float64(first)).dtype.kind == "c" else v)
    length = float(np.linalg.norm(values))
    vector: Array = values / length if length else values
    return vector
