"""assemble: a set of tensors from several versions of a file -> a version that holds them.

1. The container (skeleton) is one side's wherever that side's file has the same tensors in
   the same places; then nothing is read or written. Otherwise the format writes a file.
2. A file that a format wrote is parsed again and every tensor compared with the intended
   one. What cannot be shown to be right is a MergeError, never a broken file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from git_nn.clean import clean
from git_nn.errors import GitNNError, LayoutError, MergeError
from git_nn.formats import table
from git_nn.formats.base import FileSource, Plan
from git_nn.merge.decide import Side, covers
from git_nn.model import Model, open_pointer
from git_nn.objects.names import escape
from git_nn.objects.oid import Oid, oid_of
from git_nn.objects.pointer import Entry, Pointer, Stored, Window, sorted_entries
from git_nn.store.base import Store, read_bytes

Wanted = Mapping[str, Entry]

BOTH_CHANGED = "both sides changed the container; ours is kept"
THEIRS_CHANGED = "both sides changed the container; theirs is kept, as it describes another model"


@dataclass(frozen=True, slots=True)
class Sides:
    """The three versions; ``base`` is None where the file was added on both sides."""

    base: Pointer | None
    ours: Pointer
    theirs: Pointer

    def of(self, side: Side) -> Pointer | None:
        return {"base": self.base, "ours": self.ours, "theirs": self.theirs}[side]


@dataclass(frozen=True)
class Decoder:
    """The oid of a tensor's packed array; None where its stored form cannot be decoded."""

    store: Store
    _known: dict[tuple[Oid, Oid, str], Oid | None] = field(default_factory=dict)

    def __call__(self, side: Pointer, entry: Stored) -> Oid | None:
        if not entry.form:
            return entry.oid
        key = (side.skeleton, entry.oid, entry.name)
        if key not in self._known:
            data = open_pointer(side, self.store).read(entry.name)
            self._known[key] = None if data is None else oid_of(data)
        return self._known[key]


def assemble(
    sides: Sides, wanted: Wanted, store: Store, scratch: Path, current: Pointer | None = None
) -> tuple[Pointer, tuple[str, ...]]:
    """The pointer of a file that holds exactly ``wanted``, and what to tell about it.

    ``current`` is an earlier result, whose container will do as well. ``scratch`` is a
    folder with room for whole files. MergeError where there is no such file.
    """
    broken = _broken_view(wanted)
    if broken is not None:
        raise MergeError(
            f"tensor {escape(broken.name)} is a view of {escape(broken.of)}, "
            "which would be gone or too small",
            hint="take both from the same side",
        )
    settled = _natural(sides) is not None
    found = seat(sides, wanted, store, current)
    if found is None:
        return _compose(sides, wanted, store, scratch), () if settled else (BOTH_CHANGED,)
    notes = {sides.ours.skeleton: BOTH_CHANGED, sides.theirs.skeleton: THEIRS_CHANGED}
    return found, () if settled or found.skeleton not in notes else (notes[found.skeleton],)


def seat(
    sides: Sides, wanted: Wanted, store: Store, current: Pointer | None = None
) -> Pointer | None:
    """``wanted`` in a container that is there already; None where none fits."""
    if _broken_view(wanted) is not None:
        return None
    natural = _natural(sides) or _by_description(sides, store)
    owners = [side for side in (natural, current, sides.ours, sides.theirs, sides.base) if side]
    for owner in owners:
        if _fits(owner, wanted, owners, store):
            entries = sorted_entries(list(wanted.values()))
            return Pointer(*owner.layout, owner.skeleton, owner.skeleton_size, entries)
    return None


def _natural(sides: Sides) -> Pointer | None:
    """Whose container a three-way merge takes; None where both sides changed it."""
    ours, theirs, base = sides.ours, sides.theirs, sides.base
    if theirs.skeleton == ours.skeleton or (base and theirs.skeleton == base.skeleton):
        return ours
    return theirs if base and ours.skeleton == base.skeleton else None


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


def _broken_view(wanted: Wanted) -> Window | None:
    """A view whose payload would be gone or too small."""
    for entry in wanted.values():
        if isinstance(entry, Window):
            payload = wanted.get(entry.of)
            if not isinstance(payload, Stored) or not covers(payload, entry):
                return entry
    return None


def _fits(owner: Pointer, wanted: Wanted, sources: Sequence[Pointer], store: Store) -> bool:
    """Whether the container of ``owner`` holds exactly ``wanted``, whatever the values.

    A payload in a form of the container's own (compressed chunks) must also be cut in the
    same places; ``sources`` are the pointers whose skeletons say where that is.
    """
    if owner.by_name.keys() != wanted.keys():
        return False
    changed = [(owner.by_name[name], e) for name, e in wanted.items() if owner.by_name[name] != e]
    if not all(_same_slot(slot, entry) for slot, entry in changed):
        return False
    return all(
        _same_cuts(owner, entry, sources, store)
        for _, entry in changed
        if isinstance(entry, Stored) and entry.form
    )


def _same_slot(slot: Entry, entry: Entry) -> bool:
    """Whether the container says the same of both."""
    if not isinstance(slot, Stored) or not isinstance(entry, Stored):
        return False
    return (slot.dtype, slot.shape, slot.length, slot.form) == (
        entry.dtype, entry.shape, entry.length, entry.form,
    )  # fmt: skip


def _same_cuts(owner: Pointer, entry: Stored, sources: Iterable[Pointer], store: Store) -> bool:
    homes = [side for side in sources if side.stored.get(entry.name) == entry]
    if any(home.skeleton == owner.skeleton for home in homes):
        return True
    if "deflate" in entry.form.split(";"):
        return False  # the container has the CRC-32 of what the stream inflates to
    from git_nn.forms import decode_form

    parts = open_pointer(owner, store).part_lengths(entry.name)
    data = read_bytes(store, entry.oid)
    decoded = decode_form(entry.form, entry.dtype, entry.shape, parts, data)
    return decoded is not None and any(
        open_pointer(home, store).read(entry.name) == decoded for home in homes
    )


# --- files that the format writes -------------------------------------------------------


@dataclass(frozen=True)
class _Contents(Mapping[str, bytes]):
    """Packed arrays by tensor name, read from the store when they are asked for."""

    homes: Mapping[str, Model]

    def __getitem__(self, name: str) -> bytes:
        data = self.homes[name].read(name)
        if data is None:
            raise MergeError(f"the stored form of tensor {escape(name)} cannot be decoded")
        return data

    def __iter__(self) -> Iterator[str]:
        return iter(self.homes)

    def __len__(self) -> int:
        return len(self.homes)


def _compose(sides: Sides, wanted: Wanted, store: Store, scratch: Path) -> Pointer:
    """Have the format write a file with ``wanted``, and show that it did; MergeError if not."""
    module = table.by_name(sides.ours.format)
    if not hasattr(module, "compose"):
        raise MergeError(
            "the merged tensors fit neither side's file, "
            f"and git-nn cannot write new {sides.ours.format} files"
        )
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch, prefix="merge-") as name:
        ours, theirs, out = (Path(name) / side for side in ("ours", "theirs", "out"))
        open_pointer(sides.ours, store).write(ours)
        open_pointer(sides.theirs, store).write(theirs)
        try:
            module.compose(ours, theirs, _plan(sides, wanted, store), out)
        except LayoutError as error:
            raise MergeError(f"the merged file cannot be written: {error}") from error
        with out.open("rb") as file:
            made = clean(FileSource.of(file.fileno()), store, previous=sides.ours).pointer
    _verify(made, sides, wanted, store)
    return made


def _plan(sides: Sides, wanted: Wanted, store: Store) -> Plan:
    ours, theirs = sides.ours.by_name, sides.theirs.by_name
    changed = {name: entry for name, entry in wanted.items() if ours.get(name) != entry}
    taken = frozenset(name for name, entry in changed.items() if theirs.get(name) == entry)
    replaced = {
        name: open_pointer(_home(entry, sides), store)
        for name, entry in changed.items()
        if name not in taken
    }
    return Plan(taken, frozenset(ours.keys() - wanted.keys()), _Contents(replaced))


def _home(entry: Entry, sides: Sides) -> Pointer:
    """A version that has ``entry``; for a computed tensor, a pointer of nothing else."""
    for side in (sides.ours, sides.theirs, sides.base):
        if side is not None and side.by_name.get(entry.name) == entry:
            return side
    ours = sides.ours
    return Pointer(*ours.layout, ours.skeleton, ours.skeleton_size, (entry,))


def _verify(made: Pointer, sides: Sides, wanted: Wanted, store: Store) -> None:
    """Every tensor of ``made`` has the intended dtype, shape and bytes, and no other is there."""
    strays = made.by_name.keys() ^ wanted.keys()
    if strays:
        raise MergeError(f"tensor {escape(min(strays))} was not written as intended")
    decode = Decoder(store)
    for name, entry in wanted.items():
        if not _is_written(made.by_name[name], made, entry, _home(entry, sides), decode):
            raise MergeError(f"tensor {escape(name)} was not written as intended")


def _is_written(found: Entry, made: Pointer, entry: Entry, home: Pointer, decode: Decoder) -> bool:
    if not isinstance(found, Stored) or not isinstance(entry, Stored):
        return found == entry
    if (found.dtype, found.shape) != (entry.dtype, entry.shape):
        return False
    if (found.form, found.oid) == (entry.form, entry.oid) and not found.form:
        return True
    written, intended = decode(made, found), decode(home, entry)
    if written is None or intended is None:
        return (found.form, found.oid) == (entry.form, entry.oid)
    return written == intended
