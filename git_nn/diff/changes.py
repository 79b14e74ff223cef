"""changes: what happened to each tensor, told from two pointers alone; no byte is read.

Two tensors are the same when they name the same content in the same dtype and shape;
a view counts as what it views. So a tied tensor that becomes a copy of its own, or the
other way round, is the same tensor.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from enum import StrEnum

from git_nn.objects.names import natural_key
from git_nn.objects.pointer import Entry, Pointer, Window
from git_nn.objects.tensor import Shape, contiguous_strides, nbytes


class Kind(StrEnum):
    """What happened to a tensor. The values are part of the JSON form."""

    CHANGED = "changed"  # same name, dtype and shape; other content
    CAST = "cast"  # same name and shape; other dtype
    RESHAPED = "reshaped"  # same name, dtype and count of elements; other shape
    RESIZED = "resized"  # same name and dtype; other count of elements
    REPLACED = "replaced"  # same name; other dtype and other shape
    RECODED = "recoded"  # the container stores it differently; every bit is the same
    RENAMED = "renamed"  # same content, dtype and shape; other name
    ADDED = "added"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Content:
    """What a tensor holds, whatever it is called."""

    oid: bytes
    dtype: str
    shape: Shape
    form: str = ""
    window: tuple[int, Shape] | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """A tensor that is not the same; ``old`` or ``new`` is None where it is not there."""

    kind: Kind
    old: Entry | None
    new: Entry | None
    bytes_differ: bool = True

    @property
    def name(self) -> str:
        """The name in the new version, or the old one of a removed tensor."""
        entry = self.new or self.old
        return entry.name if entry else ""

    @property
    def measurable(self) -> bool:
        """Whether numbers need the tensor's bytes and can be had from them."""
        if self.old is None or self.new is None or not self.bytes_differ:
            return False
        if self.kind is Kind.RESIZED:
            return len(self.old.shape) == len(self.new.shape)
        return self.kind in {Kind.CHANGED, Kind.CAST, Kind.RESHAPED}


@dataclass(frozen=True, slots=True)
class Changes:
    """All changes, in natural order of their names, and the count of tensors without one."""

    changes: tuple[Change, ...]
    same: int


def classify(old: Pointer | None, new: Pointer | None) -> Changes:
    """What happened to each tensor between two versions; None is a version without a file."""
    found = []
    same = 0
    if old is not None and new is not None:
        for name, entry in new.by_name.items():
            if name in old.by_name:
                change = _same_name(old, old.by_name[name], new, entry)
                found += [change] if change else []
                same += change is None
    found += _moved(old, new)
    return Changes(tuple(sorted(found, key=lambda change: natural_key(change.name))), same)


def content(pointer: Pointer, entry: Entry) -> Content:
    """What ``entry`` of ``pointer`` holds."""
    if not isinstance(entry, Window):
        return Content(bytes(entry.oid), entry.dtype, entry.shape, entry.form)
    base = pointer.stored[entry.of]
    whole = (
        entry.offset == 0
        and entry.strides == contiguous_strides(entry.shape)
        and nbytes(entry.dtype, entry.shape) == base.length
    )
    window = None if whole else (entry.offset, entry.strides)
    return Content(bytes(base.oid), entry.dtype, entry.shape, base.form, window)


def _same_name(old_pointer: Pointer, old: Entry, new_pointer: Pointer, new: Entry) -> Change | None:
    """How a tensor that is in both versions changed; None where it did not."""
    before, after = content(old_pointer, old), content(new_pointer, new)
    if before == after:
        return None
    same_dtype, same_shape = old.dtype == new.dtype, old.shape == new.shape
    if same_dtype and same_shape:
        return Change(Kind.CHANGED, old, new)
    if same_shape:
        return Change(Kind.CAST, old, new)
    if not same_dtype:
        return Change(Kind.REPLACED, old, new)
    if nbytes(old.dtype, old.shape) != nbytes(new.dtype, new.shape):
        return Change(Kind.RESIZED, old, new)
    plain = not (before.form or after.form or before.window or after.window)
    return Change(Kind.RESHAPED, old, new, bytes_differ=not plain or before.oid != after.oid)


def _moved(old: Pointer | None, new: Pointer | None) -> list[Change]:
    """Tensors whose name is in one version only: renamed where the content is in both.

    Several of one content (zeros, say) are paired in natural order of their names.
    """
    gone = _only(old, new)
    waiting: dict[Content, list[Entry]] = defaultdict(list)
    for entry, held in reversed(gone):
        waiting[held].append(entry)
    found = []
    for entry, held in _only(new, old):
        if waiting[held] and 0 not in entry.shape:
            found.append(Change(Kind.RENAMED, waiting[held].pop(), entry, bytes_differ=False))
        else:
            found.append(Change(Kind.ADDED, None, entry))
    taken = {change.old.name for change in found if change.old}
    found += (Change(Kind.REMOVED, entry, None) for entry, _ in gone if entry.name not in taken)
    return found


def _only(pointer: Pointer | None, other: Pointer | None) -> list[tuple[Entry, Content]]:
    """The tensors of ``pointer`` whose names ``other`` does not have."""
    if pointer is None:
        return []
    names = other.by_name if other else {}
    return [
        (entry, content(pointer, entry)) for entry in pointer.entries if entry.name not in names
    ]
