"""many: what becomes of each tensor of a model in a merge of several branches at once.

1. A tensor that one side changed, or several in the same way, is taken as it is.
2. Where several changed it differently, it is woven if they may have changed different rows.
   Else the strategy gets it from every side, also from those that left it alone: a mean is
   then the mean of all the models.
3. State of training (``merge.state``) that several changed is that of the first side.
4. What cannot be computed is a clash. Nothing is guessed, and nothing is settled later.
5. What one side renamed, or several alike, has the new name on all; what they renamed
   otherwise is a clash.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from git_nn.merge.decide import Choose, Decode, no_decoder
from git_nn.merge.follow import Names, follow
from git_nn.merge.rows import VALUES
from git_nn.merge.rules import Choice
from git_nn.merge.state import kind
from git_nn.merge.strategies import table
from git_nn.objects.names import natural_key
from git_nn.objects.pointer import Entry, Pointer, Stored
from git_nn.objects.tensor import nbytes

_SIDE = re.compile(r"(?:^|(?<=by ))(?:ours|theirs)\b")


@dataclass(frozen=True, slots=True)
class Taken:
    """The tensor as some side has it; None where it is removed."""

    name: str
    entry: Entry | None


@dataclass(frozen=True, slots=True)
class Mixed:
    """A tensor to be computed of all sides; ``base`` is None where the strategy does not use it."""

    name: str
    base: Stored | None
    sides: tuple[Stored, ...]
    choice: Choice


@dataclass(frozen=True, slots=True)
class Clash:
    """A tensor that keeps the branches from being merged, and why."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Rows:
    """A tensor to be woven of those of the ``changed`` sides; ``otherwise`` if that cannot be."""

    name: str
    base: Stored
    changed: tuple[int, ...]
    otherwise: Taken | Mixed | Clash


Outcome = Taken | Mixed | Clash | Rows


@dataclass(frozen=True, slots=True)
class Followed:
    """The versions with the names of the result.

    ``refused`` says of tensors why they cannot be merged; ``notes`` tell what was followed, and
    ``renamed`` are the new names of each side's tensors.
    """

    base: Pointer | None
    sides: tuple[Pointer, ...]
    renamed: tuple[Names, ...]
    refused: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def follow_all(base: Pointer | None, sides: Sequence[Pointer], names: Sequence[str]) -> Followed:
    """Give all versions one set of names, as ``follow`` does for two sides.

    The first side that renamed tensors says how; ``names`` are what the sides are called.
    """
    as_they_are = Followed(base, tuple(sides), tuple({} for _ in sides))
    if base is None:
        return as_they_are
    alone = [follow(base, side, base) for side in sides]
    movers = [i for i, found in enumerate(alone) if found.base != base or found.refused]
    if not movers:
        return as_they_are
    first = movers[0]
    pairs = [follow(base, sides[first], side) for side in sides]
    refused: dict[str, str] = {}
    for found, other in zip(pairs, names, strict=True):
        refused |= {name: _told(why, names[first], other) for name, why in found.refused.items()}
        new = {name: "renamed by another branch" for name in found.renamed[0].values() if name}
        refused |= new if found.ours != sides[first] else {}
    notes = tuple(
        f"{names[first]}{note.removeprefix('ours').partition(';')[0]}"
        for note in alone[first].notes
    )
    followed = tuple(found.theirs for found in pairs)
    renamed = tuple(found.renamed[1] for found in pairs)
    return Followed(alone[first].base, followed, renamed, refused, notes)


def _told(why: str, first: str, other: str) -> str:
    """What is said of ours and theirs, with the names of these sides."""
    called = {"ours": first, "theirs": other}
    return _SIDE.sub(lambda word: called[word[0]], why)


def decide(found: Followed, choose: Choose, decode: Decode = no_decoder) -> tuple[Outcome, ...]:
    """What becomes of every tensor of the versions, in natural order.

    ``choose`` is asked only where several sides changed a tensor, and not alike; ``decode`` is as
    for ``merge.decide.decide``.
    """
    base, sides = found.base, found.sides
    versions = [*sides, *([base] if base else [])]
    names = sorted({name for side in versions for name in side.by_name}, key=natural_key)
    return tuple(_decide(name, found, choose, decode) for name in names)


def _decide(name: str, found: Followed, choose: Choose, decode: Decode) -> Outcome:
    base, sides = found.base, found.sides
    origin = base.by_name.get(name) if base else None
    entries = [side.by_name.get(name) for side in sides]
    changed = [i for i, entry in enumerate(entries) if entry != origin]
    if changed and name in found.refused:
        return Clash(name, found.refused[name])
    if len({entries[i] for i in changed}) > 1:  # what a container compresses is looked into
        old = _value(base, origin, decode)
        values = [_value(side, entry, decode) for side, entry in zip(sides, entries, strict=True)]
        changed = [i for i in changed if values[i] != old]
        if len({values[i] for i in changed}) > 1:
            otherwise = _settle(name, origin, entries, choose)
            return _by_rows(origin, entries, changed, otherwise)
    return Taken(name, entries[changed[0]] if changed else origin)


def _by_rows(
    origin: Entry | None,
    entries: Sequence[Entry | None],
    changed: Sequence[int],
    otherwise: Taken | Mixed | Clash,
) -> Outcome:
    """To be woven, where each that changed it has rows of one kind; weights tell whether it can."""
    name = otherwise.name
    sides = [entry for i in changed if isinstance(entry := entries[i], Stored)]
    if not isinstance(origin, Stored) or len(sides) < len(changed) or kind(name, origin):
        return otherwise
    if any(side.dtype != origin.dtype for side in sides):
        return otherwise
    return Rows(name, origin, tuple(changed), otherwise)


def _value(side: Pointer | None, entry: Entry | None, decode: Decode) -> Entry | None:
    """What tells two tensors apart, in whatever form a container keeps them."""
    if side is None or not isinstance(entry, Stored) or not entry.form:
        return entry
    oid = decode(side, entry)
    length = nbytes(entry.dtype, entry.shape)
    return entry if oid is None else Stored(entry.name, entry.dtype, entry.shape, oid, length)


def _settle(
    name: str, origin: Entry | None, entries: Sequence[Entry | None], choose: Choose
) -> Taken | Mixed | Clash:
    first = entries[0]
    if first is not None and None not in entries and kind(name, first):
        return Taken(name, first)
    choice = choose(name)
    if choice is None:
        return Clash(name, "changed by several branches, and no strategy is chosen for it")
    strategy = table.by_name(choice.strategy)
    if strategy.side == "ours":
        return Taken(name, first)
    stored = [entry for entry in entries if isinstance(entry, Stored)]
    if len(stored) < len(entries):
        return Clash(name, "changed by several branches, and not a tensor of its own on all")
    why = _refusal(strategy, origin, stored)
    if why:
        return Clash(name, f"changed by several branches; {why}")
    base = origin if strategy.needs_base and isinstance(origin, Stored) else None
    return Taken(name, base) if strategy.copies_base else Mixed(name, base, tuple(stored), choice)


def _refusal(strategy: table.Strategy, origin: Entry | None, sides: Sequence[Stored]) -> str:
    """Why ``strategy`` cannot give this tensor; empty where it can."""
    specs = {(side.dtype, side.shape) for side in sides}
    if strategy.side is not None or (strategy.two_sided and len(sides) != 2):
        return f"{strategy.name} is for two sides"
    if len(specs) > 1:
        return f"{strategy.name} needs one dtype and shape"
    if sides[0].dtype.removesuffix("be") not in VALUES:
        return f"{sides[0].dtype} values are never computed with"
    if strategy.needs_base and not (
        isinstance(origin, Stored) and (origin.dtype, origin.shape) in specs
    ):
        return f"{strategy.name} needs a base of the same dtype and shape"
    return ""
