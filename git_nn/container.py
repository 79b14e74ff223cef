"""container: whose container the result of a merge has, and what of theirs goes into ours.

The container is all of a file that is no tensor. One that one side changed is taken whole.
What both changed is merged key by key where the format has keys, else it is one side's,
and that is told: it never stands in the way of the weights unless a person asked for that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from git_nn.errors import GitNNError, MergeError
from git_nn.formats import table
from git_nn.formats.base import Key
from git_nn.merge import keys
from git_nn.merge.decide import Side
from git_nn.merge.keys import SETTING, Preference
from git_nn.merge.tokens import Placement
from git_nn.model import open_pointer
from git_nn.objects.pointer import Pointer
from git_nn.store.base import Store

Known = Callable[[str], Sequence[Pointer]]  # a kind of statistics: those of each side's model


def nothing_known(kind: str) -> Sequence[Pointer]:
    """For sides that are not looked up in commits."""
    raise MergeError(f"where the {kind} of each side is, is not known here")


@dataclass(frozen=True, slots=True)
class Rows:
    """The three versions, not as files but to look at tensors: those called ``names`` have one row
    for each token of the result, in its order."""

    base: Pointer
    ours: Pointer
    theirs: Pointer
    names: frozenset[str]
    placement: Placement


@dataclass(frozen=True, slots=True)
class Sides:
    """The three versions; ``base`` is None where the file was added on both sides.

    ``known`` gives what was measured of ours and theirs; MergeError where a side has none.
    ``rows`` are the same tensors with rows matched by token, where both sides added tokens.
    """

    base: Pointer | None
    ours: Pointer
    theirs: Pointer
    known: Known = nothing_known
    rows: Rows | None = None

    def of(self, side: Side) -> Pointer | None:
        return {"base": self.base, "ours": self.ours, "theirs": self.theirs}[side]


@dataclass(frozen=True, slots=True)
class Container:
    """``owner``'s container; where it is ``keyed``, ours with the keys ``from_theirs``.

    The containers of ``ready`` have these keys already, and ``note`` is what to tell of them.
    ``told`` is what there is to tell where a side's container is taken as it is.
    """

    owner: Pointer
    keyed: bool = False
    ready: tuple[Pointer, ...] = ()
    from_theirs: frozenset[Key] = frozenset()
    note: str = ""
    told: tuple[tuple[Pointer, str], ...] = ()

    def notes(self, taken: Pointer) -> tuple[str, ...]:
        """What to tell where the result's container is that of ``taken``."""
        if self.keyed:
            return (self.note,) if self.note else ()
        return tuple(note for side, note in self.told if side.skeleton == taken.skeleton)


def choose(sides: Sides, store: Store, prefer: Preference) -> Container:
    """Whose container to take; MergeError where the setting asks for a conflict."""
    natural = _natural(sides)
    if natural is not None:
        return Container(natural)
    if prefer == "conflict":
        raise MergeError(f"both sides changed the container, and {SETTING} is conflict")
    told = tuple(
        (side, f"both sides changed the container; {name} is kept")
        for side, name in ((sides.ours, "ours"), (sides.theirs, "theirs"))
    )
    held = _keys(sides, store)
    if held is None:
        owners = {"keys": _by_description, "ours": _ours, "theirs": _theirs}
        return Container(owners[prefer](sides, store), told=told)
    base, ours, theirs = held
    differing = keys.different(ours, theirs)
    match prefer:
        case "ours":
            return Container(sides.ours, True, (sides.ours,), frozenset(), told[0][1], told)
        case "theirs":
            return Container(sides.ours, True, (sides.theirs,), differing, told[1][1], told)
    merged = keys.merge(base, ours, theirs)
    ready = (sides.ours,) * (not merged.from_theirs)
    ready += (sides.theirs,) * (merged.from_theirs == differing)
    note = ""
    if merged.both:
        note = f"both sides changed {keys.shown(merged.both)} beside the tensors; ours is kept"
    return Container(sides.ours, True, ready, merged.from_theirs, note, told)


def from_theirs(chosen: Container, sides: Sides, store: Store) -> frozenset[Key]:
    """The keys to put into ours' container where a whole one was chosen that does not fit."""
    if chosen.owner.skeleton != sides.theirs.skeleton:
        return frozenset()
    ours, theirs = (open_pointer(side, store).keys() for side in (sides.ours, sides.theirs))
    return keys.different(ours, theirs) if ours is not None and theirs is not None else frozenset()


def _natural(sides: Sides) -> Pointer | None:
    """Whose container a three-way merge takes; None where both sides changed it."""
    ours, theirs, base = sides.ours, sides.theirs, sides.base
    if theirs.skeleton == ours.skeleton or (base and theirs.skeleton == base.skeleton):
        return ours
    return theirs if base and ours.skeleton == base.skeleton else None


def _keys(sides: Sides, store: Store) -> tuple[Mapping[Key, str], ...] | None:
    """The keys of base, ours and theirs; None where the format has none."""
    if not hasattr(table.by_name(sides.ours.format), "keys"):
        return None
    base = sides.base if sides.base and sides.base.format == sides.ours.format else None
    found = [open_pointer(side, store).keys() for side in (base, sides.ours, sides.theirs) if side]
    held = tuple(of_side for of_side in found if of_side is not None)
    if len(held) < len(found):
        return None
    return held if base else ({}, *held)


def _ours(sides: Sides, _: Store) -> Pointer:
    return sides.ours


def _theirs(sides: Sides, _: Store) -> Pointer:
    return sides.theirs


def _by_description(sides: Sides, store: Store) -> Pointer:
    """Whose container to take where both sides changed it: ours, unless theirs alone describes
    another model. Formats like .keras write times and addresses, so that their containers
    change with every save."""
    versions = (sides.base, sides.ours, sides.theirs)
    if any(side is None or side.format != sides.ours.format for side in versions):
        return sides.ours
    try:
        base, ours, theirs = (_described(side, store) for side in versions if side)
    except GitNNError:
        return sides.ours
    return sides.theirs if ours == base != theirs else sides.ours


def _described(side: Pointer, store: Store) -> Any:
    """What the file says about the model, without what every save changes."""
    fleeting: frozenset[str] = getattr(table.by_name(side.format), "FLEETING", frozenset())
    found = open_pointer(side, store).structure()
    return {
        key: {k: v for k, v in value.items() if k not in fleeting}
        if isinstance(value, dict)
        else value
        for key, value in found.items()
        if key not in fleeting
    }
