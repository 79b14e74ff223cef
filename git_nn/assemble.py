"""assemble: a set of tensors from several versions of a file -> a version that holds them.

1. The container (skeleton) is one side's wherever that side's file has the same tensors in
   the same places; then nothing is read or written. Otherwise the format writes a file.
2. A file that a format wrote is parsed again and every tensor compared with the intended
   one. What cannot be shown to be right is a MergeError, never a broken file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from git_nn.clean import clean, put_skeleton
from git_nn.container import Container, Sides, choose, from_theirs
from git_nn.errors import LayoutError, MergeError
from git_nn.formats import table
from git_nn.formats.base import Arrangement, FileSource, Key, Plan
from git_nn.merge.decide import covers
from git_nn.merge.keys import Preference, shown
from git_nn.model import Model, open_pointer
from git_nn.objects.layout import Layout, View
from git_nn.objects.names import escape
from git_nn.objects.oid import Oid, oid_of
from git_nn.objects.pointer import Entry, Pointer, Stored, Window, sorted_entries
from git_nn.store.base import Store, read_bytes

__all__ = ("Decoder", "Sides", "Wanted", "assemble", "seat")

Wanted = Mapping[str, Entry]


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
    sides: Sides,
    wanted: Wanted,
    store: Store,
    scratch: Path,
    container: Pointer | Preference = "keys",
) -> tuple[Pointer, tuple[str, ...]]:
    """The pointer of a file that holds exactly ``wanted``, and what to tell about it.

    ``scratch`` is a folder with room for whole files. ``container`` is an earlier result, whose
    container stays where it will do, or what a person prefers where both sides changed it.
    MergeError where there is no such file.
    """
    current = container if isinstance(container, Pointer) else None
    prefer: Preference = "keys" if isinstance(container, Pointer) else container
    broken = _broken_view(wanted)
    if broken is not None:
        raise MergeError(
            f"tensor {escape(broken.name)} is a view of {escape(broken.of)}, "
            "which would be gone or too small",
            hint="take both from the same side",
        )
    if current is not None and _fits(current, wanted, _versions(sides, current), store):
        return _seated(current, wanted), ()
    chosen = choose(sides, store, prefer)
    if not chosen.keyed:
        found = seat(sides, wanted, store, current, chosen.owner)
        if found is not None:
            return found, chosen.notes(found)
        keys = from_theirs(chosen, sides, store)
        if not keys and chosen.owner.skeleton != sides.ours.skeleton and _is_alone(sides.ours):
            sides = replace(sides, ours=sides.theirs, theirs=sides.ours)
        return _write(sides, wanted, store, scratch, keys), chosen.notes(chosen.owner)
    return _keyed(chosen, sides, wanted, store, scratch)


def _keyed(
    chosen: Container, sides: Sides, wanted: Wanted, store: Store, scratch: Path
) -> tuple[Pointer, tuple[str, ...]]:
    """A container merged by key; a side's own where the format cannot write that."""
    versions = _versions(sides)
    for owner in chosen.ready:
        if _fits(owner, wanted, versions, store):
            return _seated(owner, wanted), chosen.notes(owner)
    try:
        made = _write(sides, wanted, store, scratch, chosen.from_theirs)
    except MergeError:
        found = seat(sides, wanted, store)
        if found is None:
            raise
        return found, replace(chosen, keyed=False).notes(found)
    return made, chosen.notes(sides.ours)


def seat(
    sides: Sides,
    wanted: Wanted,
    store: Store,
    current: Pointer | None = None,
    first: Pointer | None = None,
) -> Pointer | None:
    """``wanted`` in a container that is there already; None where none fits."""
    if _broken_view(wanted) is not None:
        return None
    owners = [side for side in (first, *_versions(sides, current)) if side]
    for owner in owners:
        if _fits(owner, wanted, owners, store):
            return _seated(owner, wanted)
    return None


def _seated(owner: Pointer, wanted: Wanted) -> Pointer:
    entries = sorted_entries(list(wanted.values()))
    return Pointer(*owner.layout, owner.skeleton, owner.skeleton_size, entries)


def _versions(sides: Sides, current: Pointer | None = None) -> list[Pointer]:
    return [side for side in (current, sides.ours, sides.theirs, sides.base) if side]


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


def _write(
    sides: Sides, wanted: Wanted, store: Store, scratch: Path, keys: frozenset[Key]
) -> Pointer:
    """Have the format write a file with ``wanted``, and show that it did; MergeError if not.

    Beside the tensors it is ours, but for ``keys``, which are theirs'.
    """
    module = table.by_name(sides.ours.format)
    if hasattr(module, "arrange"):
        return _arrange(module, sides, wanted, store, keys)
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
            module.compose(ours, theirs, _plan(sides, wanted, store, keys), out)
        except LayoutError as error:
            raise MergeError(f"the merged file cannot be written: {error}") from error
        with out.open("rb") as file:
            made = clean(FileSource.of(file.fileno()), store, previous=sides.ours).pointer
    _verify(made, sides, wanted, store)
    _verify_keys(made, sides, keys, store)
    return made


def _arrange(
    module: Any, sides: Sides, wanted: Wanted, store: Store, keys: frozenset[Key]
) -> Pointer:
    """The same where the format needs no payload for it: none is read or copied."""
    payloads = {name: (e.dtype, e.shape) for name, e in wanted.items()}
    aliases = {name: e.of for name, e in wanted.items() if isinstance(e, Window)}
    ours, theirs = (open_pointer(side, store) for side in (sides.ours, sides.theirs))
    with tempfile.TemporaryFile() as out, ours.hollow() as mine, theirs.hollow() as other:
        module.arrange(mine, other, Arrangement(payloads, aliases, keys), out)
        out.flush()
        source = FileSource.of(out.fileno())
        layout = table.detect(source)
        with store.batch() as batch:
            oid, size = put_skeleton(layout, source, batch)
    made = Pointer(layout.format, layout.version, oid, size, sorted_entries(list(wanted.values())))
    _verify_layout(layout, wanted)
    _verify_keys(made, sides, keys, store)
    return made


def _is_alone(side: Pointer) -> bool:
    """Whether the format writes all beside the tensors as the first of two files has it."""
    return bool(getattr(table.by_name(side.format), "ONE_CONTAINER", False))


def _plan(sides: Sides, wanted: Wanted, store: Store, keys: frozenset[Key]) -> Plan:
    ours, theirs = sides.ours.by_name, sides.theirs.by_name
    changed = {name: entry for name, entry in wanted.items() if ours.get(name) != entry}
    taken = frozenset(name for name, entry in changed.items() if theirs.get(name) == entry)
    replaced = {
        name: open_pointer(_home(entry, sides), store)
        for name, entry in changed.items()
        if name not in taken
    }
    removed = frozenset(ours.keys() - wanted.keys())
    tensors = {n: (e.dtype, e.shape) for n, e in wanted.items() if isinstance(e, Stored)}
    views = {
        n: View(n, e.dtype, e.shape, e.of, e.offset, e.strides)
        for n, e in wanted.items()
        if isinstance(e, Window)
    }
    return Plan(taken, removed, _Contents(replaced), keys, tensors, views)


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


def _verify_layout(layout: Layout, wanted: Wanted) -> None:
    """A file without payloads has the places of ``wanted``, and no others."""
    found: dict[str, Any] = {p.name: (p.dtype, p.shape, p.form, p.length) for p in layout.payloads}
    found |= {v.name: (v.dtype, v.shape, v.payload, v.offset, v.strides) for v in layout.views}
    intended: dict[str, Any] = {
        name: (e.dtype, e.shape, e.form, e.length)
        if isinstance(e, Stored)
        else (e.dtype, e.shape, e.of, e.offset, e.strides)
        for name, e in wanted.items()
    }
    wrong = [name for name in found.keys() | wanted.keys() if found.get(name) != intended.get(name)]
    if wrong:
        raise MergeError(f"tensor {escape(min(wrong))} was not written as intended")


def _verify_keys(made: Pointer, sides: Sides, keys: frozenset[Key], store: Store) -> None:
    """What was to be theirs' is; what belonged to a tensor that is gone may be gone too."""
    if not keys:
        return
    found, theirs = (open_pointer(side, store).keys() or {} for side in (made, sides.theirs))
    wrong = [key for key in keys if found.get(key) not in (theirs.get(key), None)]
    if wrong:
        raise MergeError(f"{shown(sorted(wrong))} was not written as intended")


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
