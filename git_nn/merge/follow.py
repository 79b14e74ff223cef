"""follow: tensors that one side renamed or renumbered meet the other side's changes of them.

The three versions get one set of names before they are merged name by name; only content ids
and names are looked at (renames, shifts). Where names would bring strangers together nothing
is followed, and the tensors in question are a conflict unless one side is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from git_nn.merge import renames
from git_nn.merge.decide import Conflict, Decision, Take, settle
from git_nn.merge.renames import content, renamed, start_rules
from git_nn.merge.rules import Choice
from git_nn.merge.shifts import Shift, shifts, split, stacks
from git_nn.merge.strategies import table
from git_nn.objects.names import escape
from git_nn.objects.pointer import Entry, Pointer, Stored, Window, sorted_entries

Names = Mapping[str, str | None]  # old name -> new name, or None where the tensor is left out


@dataclass(frozen=True, slots=True)
class Followed:
    """The three versions with the names of the result.

    ``refused`` says of tensors why they are a conflict unless one side is taken. ``notes`` tell
    what was followed. ``renamed`` are the new names of tensors in ours and in theirs.
    """

    base: Pointer | None
    ours: Pointer
    theirs: Pointer
    refused: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    renamed: tuple[Names, Names] = ({}, {})


@dataclass(slots=True)
class _Work:
    """What is found so far: new names in each version, tensors refused, lines to tell."""

    base: dict[str, str | None] = field(default_factory=dict)
    ours: dict[str, str | None] = field(default_factory=dict)
    theirs: dict[str, str | None] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@lru_cache(maxsize=2)
def follow(base: Pointer | None, ours: Pointer, theirs: Pointer) -> Followed:
    """Give the three versions one set of names."""
    if base is None:
        return Followed(base, ours, theirs)
    found = {"ours": shifts(base, ours), "theirs": shifts(base, theirs)}
    work = _Work()
    prefixes = sorted({*found["ours"], *found["theirs"]})
    for prefix in prefixes:
        _shift(prefix, (found["ours"].get(prefix), found["theirs"].get(prefix)),
               (base, ours, theirs), work)  # fmt: skip
    versions = _all_renamed((base, ours, theirs), work)
    held = {name for side in versions for name in side.by_name if _stack(name) in prefixes}
    again = _Work(refused=work.refused, notes=work.notes)
    _rename(versions, held, again)
    names = _chained(ours, work.ours, again.ours), _chained(theirs, work.theirs, again.theirs)
    base, ours, theirs = _all_renamed(versions, again)
    return Followed(base, ours, theirs, again.refused, tuple(again.notes), names)


def refuse(
    decisions: Sequence[Decision], followed: Followed, choose: Callable[[str], Choice | None]
) -> tuple[Decision, ...]:
    """The decisions, those in ``refused`` conflicts unless one side is taken by choice."""
    return tuple(_refused(decision, followed, choose) for decision in decisions)


def _refused(
    decision: Decision, followed: Followed, choose: Callable[[str], Choice | None]
) -> Decision:
    why = followed.refused.get(decision.name)
    if why is None or (isinstance(decision, Take) and decision.source in ("unchanged", "both")):
        return decision
    sides = (followed.base, followed.ours, followed.theirs)
    base, ours, theirs = (side.by_name.get(decision.name) if side else None for side in sides)
    conflict = Conflict(decision.name, base, ours, theirs, why)
    choice = choose(decision.name)
    if choice is None or table.by_name(choice.strategy).side is None:
        return conflict
    return settle(conflict, choice)


def _all_renamed(
    versions: tuple[Pointer, Pointer, Pointer], work: _Work
) -> tuple[Pointer, Pointer, Pointer]:
    base, ours, theirs = versions
    return with_names(base, work.base), with_names(ours, work.ours), with_names(theirs, work.theirs)


def _chained(side: Pointer, first: Names, then: Names) -> Names:
    """The names of ``side`` after both, where they are others."""
    found: dict[str, str | None] = {}
    for old in side.by_name:
        new = first.get(old, old)
        new = None if new is None else then.get(new, new)
        if new != old:
            found[old] = new
    return found


def with_names(side: Pointer, names: Names) -> Pointer:
    """``side`` with other names; for comparing, since its container still has the old ones."""
    if not names:
        return side
    entries = [
        _entry(entry, names.get(entry.name, entry.name) or "", names)
        for entry in side.entries
        if names.get(entry.name, entry.name) is not None
    ]
    return replace(side, entries=sorted_entries(entries))


def _entry(entry: Entry, name: str, names: Names) -> Entry:
    if isinstance(entry, Stored):
        return replace(entry, name=name)
    return replace(entry, name=name, of=names.get(entry.of) or entry.of)


def _stack(name: str) -> str | None:
    cut = split(name)
    return cut[0] if cut else None


# --- layers -------------------------------------------------------------------------------


def _shift(
    prefix: str,
    found: tuple[Shift | None, Shift | None],
    versions: tuple[Pointer, Pointer, Pointer],
    work: _Work,
) -> None:
    """Give the layers of one stack the numbers that one side, or both alike, gave them."""
    base, ours, theirs = versions
    mine, other = found
    shift = mine or other
    assert shift is not None
    if mine and other:
        why = "" if mine == other else "both sides renumbered these layers"
    else:
        why = _hindrance(shift, base, theirs if mine else ours, "ours" if mine else "theirs")
    if why:
        names = {name for side in versions for name in side.by_name if _stack(name) == prefix}
        work.refused |= dict.fromkeys(names, why)
        return
    work.base |= _numbers(shift, base)
    if mine and not other:
        work.theirs |= _numbers(shift, theirs)
    if other and not mine:
        work.ours |= _numbers(shift, ours)
    if not (mine and other):
        side, follower = ("ours", "theirs") if mine else ("theirs", "ours")
        work.notes.append(f"{side} {_shown(shift)}; {follower}' changes follow")


def _numbers(shift: Shift, side: Pointer) -> dict[str, str | None]:
    """New names of the stack's tensors in ``side``; removed layers are left out."""
    found: dict[str, str | None] = {}
    for name in side.by_name:
        cut = split(name)
        if cut and cut[0] == shift.prefix:
            number = shift.moved.get(cut[1])
            found[name] = None if number is None else f"{cut[0]}{number}{cut[2]}"
    return found


def _hindrance(shift: Shift, base: Pointer, rest: Pointer, who: str) -> str:
    """Why the version that did not renumber the stack cannot follow; empty where it can."""
    before, after = stacks(base)[shift.prefix], stacks(rest)[shift.prefix]
    start = f"{who} renumbered these layers"
    if not after or after.keys() - before.keys():
        return f"{start}, and the other side {'added some' if after else 'renamed them'}"
    for number in shift.removed:
        held = {role: content(rest, entry) for role, entry in after.get(number, {}).items()}
        was = {role: content(base, entry) for role, entry in before[number].items()}
        if held.items() - was.items():
            return f"{start}, and removed {number}, which the other side changed"
    gone = {f"{shift.prefix}{number}" for number in shift.removed}
    for side in (base, rest):
        for entry in side.entries:
            if isinstance(entry, Stored) and entry.form and _stack(entry.name) == shift.prefix:
                return f"{start}, which are in a form of the container's own"
            if (
                isinstance(entry, Window)
                and _layer(entry.of) in gone
                and _layer(entry.name) not in gone
            ):
                return f"{start}, and removed what others are views of"
    return ""


def _layer(name: str) -> str:
    cut = split(name)
    return f"{cut[0]}{cut[1]}" if cut else name


def _shown(shift: Shift) -> str:
    """``inserted layers.3; layers.3-7 are now layers.4-8``"""
    prefix = escape(shift.prefix)
    parts = [
        f"{word} {prefix}{_run(numbers)}"
        for word, numbers in (("inserted", shift.added), ("removed", shift.removed))
        if numbers
    ]
    moved = sorted((i, j) for i, j in shift.moved.items() if i != j)
    old, new = _run([i for i, _ in moved]), _run(sorted(j for _, j in moved))
    return f"{' and '.join(parts) or 'moved layers'}: {prefix}{old} are {prefix}{new}"


def _run(numbers: Sequence[int]) -> str:
    first, last = numbers[0], numbers[-1]
    return str(first) if first == last else f"{first}-{last}"


# --- names --------------------------------------------------------------------------------


def _rename(versions: tuple[Pointer, Pointer, Pointer], held: set[str], work: _Work) -> None:
    """Give tensors that one side renamed that name everywhere."""
    base, ours, theirs = versions
    mine, other = renamed(base, ours, held), renamed(base, theirs, held)
    for old in {**mine, **other}:
        a, b = mine.get(old), other.get(old)
        if a and b:
            work.base[old] = a
            if a != b:
                work.theirs[b] = a
                work.refused[a] = f"renamed from {escape(old)} by ours, to {escape(b)} by theirs"
        elif a:
            _one(old, a, theirs, work, work.theirs)
        elif b:
            _one(old, b, ours, work, work.ours)
    alike = {old: new for old, new in mine.items() if other.get(old) == new}
    sides = (("ours", mine, theirs, work.theirs), ("theirs", other, ours, work.ours))
    for who, names, rest, target in sides:
        own = {old: new for old, new in names.items() if old not in alike}
        if own:
            _additions(own, base, rest, target)
            follower = "theirs" if who == "ours" else "ours"
            count = f"{len(own)} tensor{'s' if len(own) > 1 else ''}"
            work.notes.append(
                f"{who} renamed {count}: {renames.shown(own)}; {follower}' changes follow"
            )


def _one(
    old: str,
    new: str,
    rest: Pointer,
    work: _Work,
    names: dict[str, str | None],
) -> None:
    """Rename in the base and in the version that still has the old name."""
    if new in rest.by_name:
        why = f"{escape(old)} was renamed to {escape(new)}, which the other side added"
        work.refused |= {old: why, new: why}
        return
    work.base[old] = new
    if old in rest.by_name:
        names[old] = new


def _additions(
    own: dict[str, str], base: Pointer, rest: Pointer, names: dict[str, str | None]
) -> None:
    """What the other side added under a start that was renamed for all gets the new one too."""
    rules = start_rules(own, base.by_name.keys())
    taken = {names.get(name, name) for name in rest.by_name}
    for name in rest.by_name.keys() - base.by_name.keys() - names.keys():
        for old, new in rules:
            if name.startswith(old) and new + name[len(old) :] not in taken:
                names[name] = new + name[len(old) :]
                taken.add(new + name[len(old) :])
                break
