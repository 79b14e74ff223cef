"""compare: two versions of a weight file -> what differs, reading only tensors that do.

The pointers say which tensors differ; only those are read, one pair at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from git_nn.diff import structure
from git_nn.diff.changes import Change, Kind, classify
from git_nn.diff.result import ModelDiff, Readable, TensorDelta, shown_order
from git_nn.errors import DamagedObjectError, GitNNError, MissingObjectError
from git_nn.model import FileModel, StoredModel, open_pointer
from git_nn.objects.pointer import Pointer
from git_nn.objects.tensor import BLOCKS
from git_nn.store.base import Store

if TYPE_CHECKING:
    from git_nn.diff.numbers import Numbers

NOT_HERE = "values are not here"


def compare(old: Readable | None, new: Readable | None, *, numbers: bool = True) -> ModelDiff:
    """What differs between two versions; None is a version without the file.

    ``numbers=False`` reads no tensor at all. An object that is missing or damaged never
    fails the comparison: the tensor's ``unread`` says what is wrong.
    """
    before, after = old.pointer if old else None, new.pointer if new else None
    found = classify(before, after)
    deltas = [
        _delta(change, old, new) if numbers else TensorDelta(change.kind, change)
        for change in found.changes
    ]
    notes = [note for note in (_opaque("old", old), _opaque("new", new)) if note]
    lines = _structure(old, new, notes)
    return ModelDiff(before, after, shown_order(deltas), found.same, lines, tuple(notes))


def compare_pointers(
    old: Pointer | None, new: Pointer | None, store: Store, *, numbers: bool = True
) -> ModelDiff:
    """What differs between two pointers whose contents are in ``store``."""
    opened = [None if pointer is None else open_pointer(pointer, store) for pointer in (old, new)]
    return compare(*opened, numbers=numbers)


def _delta(change: Change, old: Readable | None, new: Readable | None) -> TensorDelta:
    if not change.measurable or old is None or new is None:
        return TensorDelta(change.kind, change)
    try:
        measured = _measure(change, old, new)
    except (MissingObjectError, DamagedObjectError) as error:
        missing = isinstance(error, MissingObjectError)
        return TensorDelta(change.kind, change, unread=NOT_HERE if missing else error.message)
    except MemoryError:
        return TensorDelta(change.kind, change, unread="too large to read here")
    if measured is None:
        return TensorDelta(change.kind, change, unread=_form(change))
    same_bits = change.kind is Kind.CHANGED and not measured.changed and not _in_blocks(change)
    return TensorDelta(Kind.RECODED if same_bits else change.kind, change, measured)


def _measure(change: Change, old: Readable, new: Readable) -> Numbers | None:
    from git_nn.diff import numbers

    assert change.old is not None
    assert change.new is not None
    before, after = old.array(change.old.name), new.array(change.new.name)
    if before is None or after is None:
        return None
    # values cannot be rounded to a block type, so there they are compared as they are decoded
    dtype = "f32" if change.new.dtype in BLOCKS else change.new.dtype
    by_kind = {Kind.RESHAPED: numbers.measure_flat, Kind.RESIZED: numbers.measure_common}
    return by_kind.get(change.kind, numbers.measure)(before, after, dtype)


def _in_blocks(change: Change) -> bool:
    """Whether several codings of a tensor have the same values, so that values are not all."""
    return change.new is not None and change.new.dtype in BLOCKS


def _form(change: Change) -> str:
    """Why a tensor could not be decoded."""
    forms = {getattr(entry, "form", "") for entry in (change.old, change.new)} - {""}
    if not forms:
        forms = {entry.dtype for entry in (change.old, change.new) if entry} & BLOCKS.keys()
    return f"stored as {', '.join(sorted(forms))}, which git-nn does not decode"


def _opaque(side: str, opened: Readable | None) -> str:
    """What is to be said of a version that no format could read."""
    if opened is None or opened.pointer.format != "opaque":
        return ""
    size = ""
    if isinstance(opened, FileModel):
        size = f", {opened.source.size} bytes"
    elif isinstance(opened, StoredModel):
        try:
            size = f", {opened.skeleton.size} bytes"
        except GitNNError:
            size = f", {NOT_HERE}"
    return f"the {side} version is of no known format{size}"


def _structure(old: Readable | None, new: Readable | None, notes: list[str]) -> tuple[str, ...]:
    if old is None or new is None or old.pointer.skeleton == new.pointer.skeleton:
        return ()
    try:
        return structure.compare(old.structure(), new.structure())
    except GitNNError as error:
        notes.append(f"the structure cannot be compared: {error.message}")
        return ()
