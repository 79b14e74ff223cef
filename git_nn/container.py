"""container: whose container the result of a merge has, and what of theirs goes into ours.

The container is all of a file that is no tensor. One that one side changed is taken whole.
What both changed is merged key by key where the format has keys, else it is one side's,
and that is told: it never stands in the way of the weights unless a person asked for that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from git_nn.errors import GitNNError, MergeError
from git_nn.formats import table
from git_nn.formats.base import Key
from git_nn.merge import keys
from git_nn.merge.decide import Side
from git_nn.merge.keys import SETTING, Preference
from git_nn.model import open_pointer
from git_nn.objects.pointer import Pointer
from git_nn.store.base import Store


@dataclass(frozen=True, slots=True)
class Sides:
    """The three versions; ``base`` is None where the file was added on both sides."""

    base: Pointer | None
    ours: Pointer
    theirs: Pointer

    def of(self, side: Side) -> Pointer | None:
        return {"base": self.base, "ours": self.ours, "theirs": self.theirs}[side]


@dataclass(frozen=True, slots=True)
class Container:
    """``owner``'s container; where it is ``keyed``, ours with the keys ``from_theirs``.

    The containers of ``ready`` have the merged keys already. ``told`` is what there is to tell
    of each side's container.
    """

    owner: Pointer
    keyed: bool = False
    ready: tuple[Pointer, ...] = ()
    from_theirs: frozenset[Key] = frozenset()
    both: tuple[Key, ...] = ()
    told: tuple[tuple[Pointer, str], ...] = ()

    def notes(self, taken: Pointer) -> tuple[str, ...]:
        """What to tell where the result's container is that of ``taken``."""
        if self.keyed:
            what = f"both sides changed {keys.shown(self.both)}" if self.both else ""
            return (f"{what} beside the tensors; ours is kept",) if what else ()
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
    if prefer != "keys":
        return Container(sides.ours if prefer == "ours" else sides.theirs, told=told)
    found = _merged_keys(sides, store)
    if found is not None:
        merged, ready = found
        return Container(sides.ours, True, ready, merged.from_theirs, merged.both, told)
    return Container(_by_description(sides, store), told=told)


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


def _merged_keys(sides: Sides, store: Store) -> tuple[keys.Merged, tuple[Pointer, ...]] | None:
    """The containers merged by key, and the sides that have the result; None without keys."""
    if not hasattr(table.by_name(sides.ours.format), "keys"):
        return None
    base = sides.base if sides.base and sides.base.format == sides.ours.format else None
    ours, theirs = (open_pointer(side, store).keys() for side in (sides.ours, sides.theirs))
    before = open_pointer(base, store).keys() if base else {}
    if before is None or ours is None or theirs is None:
        return None
    merged = keys.merge(before, ours, theirs)
    ready = [sides.ours] if not merged.from_theirs else []
    ready += [sides.theirs] if merged.from_theirs == keys.different(ours, theirs) else []
    return merged, tuple(ready)


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
