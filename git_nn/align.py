"""align: another training of a network, with its units in the order of ours.

``merge.wiring`` tells which axes carry the same units, or a person does; ``merge.matching``
finds their order. The result is theirs' file with reordered tensors: the same function, to
rounding, if the wiring is right. git-nn never runs a model, so it cannot look.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from git_nn.arrays import Array, to_bytes
from git_nn.assemble import Sides, assemble
from git_nn.clean import clean
from git_nn.errors import MergeError, UsageError
from git_nn.formats.base import FileSource
from git_nn.merge.matching import Matched, match
from git_nn.merge.units_file import read
from git_nn.merge.wiring import Wiring, infer
from git_nn.model import Model, open_pointer
from git_nn.objects.names import escape
from git_nn.objects.pointer import Entry, Stored, Window
from git_nn.objects.tensor import BLOCKS, format_shape
from git_nn.store.memory import MemoryStore


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person says about the network: ``units`` is a file's text and its name."""

    heads: int | None = None
    units: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Aligned:
    """How the network was read, and what was found."""

    wiring: Wiring
    matched: Matched


def align(ours: Model, theirs: Model, asked: Asked) -> Aligned:
    """Find the order of theirs' units; both are read whole, as far as they have any.

    UsageError where the two are different networks, or it is not known how they are wired.
    """
    _compare(ours, theirs)
    shapes = {entry.name: entry.shape for entry in theirs.pointer.entries}
    if asked.units is not None:
        wiring = Wiring(read(*asked.units, shapes), ())
    else:
        wiring = infer(shapes, asked.heads)
    names = {place.tensor for one in wiring.units for some in one.places for place in some}
    matched = match(_arrays(ours, names), _arrays(theirs, names), wiring.units)
    return Aligned(wiring, matched)


def _compare(ours: Model, theirs: Model) -> None:
    old, new = ours.pointer.by_name, theirs.pointer.by_name
    hint = "align needs two trainings of one network; run 'git nn diff'"
    if not old:
        raise UsageError("there is no tensor in the file", hint=hint)
    for name in sorted(old.keys() ^ new.keys()):
        raise UsageError(f"only one side has the tensor {escape(name)}", hint=hint)
    for name, entry in old.items():
        if entry.shape != new[name].shape:
            shapes = f"{format_shape(entry.shape)} and {format_shape(new[name].shape)}"
            raise UsageError(f"the tensor {escape(name)} has two shapes, {shapes}", hint=hint)


def _arrays(model: Model, names: set[str]) -> dict[str, Array]:
    found = {}
    for name in sorted(names):
        array = None if model.pointer.by_name[name].dtype in BLOCKS else model.array(name)
        if array is None:
            dtype = model.pointer.by_name[name].dtype
            raise MergeError(f"tensor {escape(name)}: elements of {dtype} cannot be reordered")
        found[name] = array
    return found


def write(theirs: Model, tensors: Mapping[str, Array], path: Path) -> None:
    """Write theirs' file with these tensors to ``path``, which must not exist.

    MergeError where the format cannot hold them, or views of a tensor would differ.
    """
    store = MemoryStore()
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".git-nn-align-") as scratch:
        copy = Path(scratch) / path.name
        theirs.write(copy)
        with copy.open("rb") as file:
            pointer = clean(FileSource.of(file.fileno()), store).pointer
        wanted: dict[str, Entry] = dict(pointer.by_name)
        with store.batch() as batch:
            for name, array in tensors.items():
                entry = wanted[name]
                if isinstance(entry, Stored):
                    oid, length = batch.put([to_bytes(array, entry.dtype)], dtype=entry.dtype)
                    wanted[name] = replace(entry, oid=oid, length=length, form="")
        made, _ = assemble(Sides(pointer, pointer, pointer), wanted, store, Path(scratch))
        model = open_pointer(made, store)
        _compare_views(model, tensors)
        model.write(path)


def _compare_views(model: Model, tensors: Mapping[str, Array]) -> None:
    """A view shows what was meant for it: it was reordered as its payload was."""
    for entry in model.pointer.entries:
        meant = tensors.get(entry.name) if isinstance(entry, Window) else None
        if meant is not None and model.read(entry.name) != to_bytes(meant, entry.dtype):
            raise MergeError(
                f"tensor {escape(entry.name)} is a view and would need another order than its own",
                hint="leave it out with --units FILE",
            )
