"""compare: two versions of a weight file -> what differs, reading only tensors that do.

The pointers say which tensors differ; only those are read, one pair at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from git_nn.differences import duplicates, shifts, structure
from git_nn.differences.changes import Change, Kind, classify, content
from git_nn.differences.headlines import headlines
from git_nn.differences.result import Finding, ModelDiff, Readable, TensorDelta, shown_order
from git_nn.differences.shifts import Shift
from git_nn.errors import DamagedObjectError, GitNNError, MissingObjectError
from git_nn.measured import Key, Measured, key_id
from git_nn.model import FileModel, StoredModel, open_pointer
from git_nn.objects.pointer import Pointer
from git_nn.objects.tensor import BLOCKS, nbytes
from git_nn.store.base import Store

if TYPE_CHECKING:
    from git_nn.differences.numbers import Numbers

NOT_HERE = "values are not here"

_THREADS = 2  # pairs of tensors measured at once; each takes a few megabytes


@dataclass(frozen=True, slots=True)
class Reading:
    """How tensors are read for their numbers.

    ``cache`` keeps what was measured; ``advance`` is told of each pair of tensors how many bytes
    it has, when it is done. ``ranks``: the rank of each changed matrix, too, which is slow.
    """

    cache: Measured | None = None
    advance: Callable[[int], None] | None = None
    ranks: bool = False


def compare(
    old: Readable | None,
    new: Readable | None,
    *,
    numbers: bool = True,
    reading: Reading | None = None,
) -> ModelDiff:
    """What differs between two versions; None is a version without the file.

    ``numbers=False`` reads no tensor at all. An object that is missing or damaged never
    fails the comparison: the tensor's ``unread`` says what is wrong.
    """
    before, after = old.pointer if old else None, new.pointer if new else None
    moved = _shifts(old, new, values=numbers)
    known = shifts.names(moved, before, after) if before and after else {}
    found = classify(before, after, known)
    if numbers and old is not None and new is not None:
        deltas = _deltas(found.changes, old, new, reading or Reading())
    else:
        deltas = [TensorDelta(change.kind, change) for change in found.changes]
    deltas = duplicates.named(deltas, after)
    told = headlines(before, after, deltas, moved)
    notes = [note for note in (_opaque("old", old), _opaque("new", new)) if note]
    lines = _structure(old, new, notes)
    ordered = shown_order(deltas)
    return ModelDiff(before, after, ordered, found.same, lines, tuple(notes), told)


def _shifts(old: Readable | None, new: Readable | None, *, values: bool) -> list[Shift]:
    """Layers with other numbers; none where finding them needs values that are not here."""
    if old is None or new is None:
        return []
    try:
        return shifts.find(old, new, values=values)
    except (MissingObjectError, DamagedObjectError):
        return shifts.find(old, new, values=False)


def compare_pointers(
    old: Pointer | None, new: Pointer | None, store: Store, *, numbers: bool = True
) -> ModelDiff:
    """What differs between two pointers whose contents are in ``store``."""
    opened = [None if pointer is None else open_pointer(pointer, store) for pointer in (old, new)]
    return compare(*opened, numbers=numbers)


def _deltas(
    changes: Sequence[Change], old: Readable, new: Readable, reading: Reading
) -> list[TensorDelta]:
    """Each change with its numbers: those in the cache, and the others measured side by side."""
    keys = [_key(change, old, new, reading) if change.measurable else None for change in changes]
    known = _recalled(keys, reading.cache)

    def delta(i: int) -> TensorDelta:
        change, key = changes[i], keys[i]
        if not change.measurable:
            return TensorDelta(change.kind, change)
        found = None if key is None else known.get(key_id(key))
        return _named(change, found) if found else _measured(change, old, new, reading)

    deltas = []
    with ThreadPoolExecutor(_THREADS, "git-nn-measure") as pool:
        for change, made in zip(changes, pool.map(delta, range(len(changes))), strict=True):
            deltas.append(made)
            if reading.advance is not None and change.measurable and change.new is not None:
                reading.advance(nbytes(change.new.dtype, change.new.shape))
    if reading.cache is not None:
        reading.cache.remember(
            {
                key_id(key): Finding(one.numbers, one.relations, one.summary)
                for key, one in zip(keys, deltas, strict=True)
                if key is not None and not one.unread and key_id(key) not in known
            }
        )
    return deltas


def _recalled(keys: Sequence[Key | None], cache: Measured | None) -> dict[bytes, Finding]:
    wanted = [key for key in keys if key is not None]
    if cache is None or not wanted:
        return {}
    found = zip(wanted, cache.recall(wanted), strict=True)
    return {key_id(key): finding for key, finding in found if finding is not None}


def _key(change: Change, old: Readable, new: Readable, reading: Reading) -> Key | None:
    """What the findings of a change depend on; None for forms, which need more than the bytes."""
    entries = ((old.pointer, change.old), (new.pointer, change.new))
    sides = [content(pointer, entry) for pointer, entry in entries if entry is not None]
    if any(side.form for side in sides):
        return None
    windows = ([*(side.window or ())] for side in sides)
    return [
        str(change.kind),
        int(reading.ranks),
        *([side.oid, side.dtype, list(side.shape)] for side in sides),
        *([w[0], list(w[1])] if w else [] for w in windows),
    ]


def _measured(change: Change, old: Readable, new: Readable, reading: Reading) -> TensorDelta:
    try:
        found = _finding(change, old, new, reading)
    except (MissingObjectError, DamagedObjectError) as error:
        missing = isinstance(error, MissingObjectError)
        return TensorDelta(change.kind, change, unread=NOT_HERE if missing else error.message)
    except MemoryError:
        return TensorDelta(change.kind, change, unread="too large to read here")
    if found is None:
        return TensorDelta(change.kind, change, unread=_form(change))
    return _named(change, found)


def _named(change: Change, found: Finding) -> TensorDelta:
    numbers = found.numbers
    same_bits = numbers is not None and not numbers.changed and not _in_blocks(change)
    kind = Kind.RECODED if change.kind is Kind.CHANGED and same_bits else change.kind
    return TensorDelta(kind, change, numbers, "", found.relations, found.summary)


def _finding(change: Change, old: Readable, new: Readable, reading: Reading) -> Finding | None:
    if change.kind is Kind.ADDED:
        return _alone(change, new)
    from git_nn.differences import relations

    numbers = _measure(change, old, new)
    if numbers is None:
        return None
    found = relations.from_numbers(numbers, change.kind)
    found += relations.from_values(change, numbers, old, new)
    if reading.ranks:
        found += relations.ranks(change, old, new)
    return Finding(numbers, tuple(found))


def _alone(change: Change, new: Readable) -> Finding | None:
    """What an added tensor holds."""
    from git_nn.differences.numbers import BLOCK
    from git_nn.differences.summary import summarise

    blocks = new.blocks(change.name)
    return None if blocks is None else Finding(None, (), summarise(lambda: blocks(BLOCK)))


def _measure(change: Change, old: Readable, new: Readable) -> Numbers | None:
    from git_nn.differences import numbers

    assert change.old is not None
    assert change.new is not None
    # values cannot be rounded to a block type, so there they are compared as they are decoded
    dtype = "f32" if change.new.dtype in BLOCKS else change.new.dtype
    if change.kind is Kind.RESIZED:
        whole = old.array(change.old.name), new.array(change.new.name)
        if whole[0] is None or whole[1] is None:
            return None
        return numbers.measure_common(whole[0], whole[1], dtype)
    before, after = old.blocks(change.old.name), new.blocks(change.new.name)
    if before is None or after is None:
        return None
    return numbers.measure_blocks(before, after, change.new.shape, dtype)


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
