"""changes: what happened to each tensor, told from two pointers alone; no byte is read.

Two tensors are the same when they name the same content in the same dtype and shape;
a view counts as what it views. So a tied tensor that becomes a copy of its own, or the
other way round, is the same tensor.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from git_nn.objects.names import natural_key
from git_nn.objects.pointer import Entry, Pointer, Window
from git_nn.objects.tensor import Shape, contiguous_strides, nbytes

_SEPARATOR = re.compile(r"[./]")
_BEFORE = frozenset({
    "module", "model", "base_model", "transformer", "state_dict", "model_state_dict", "net",
    "params",
})  # fmt: skip
_INSIDE = frozenset({
    "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "base_layer",
})  # fmt: skip


class Kind(StrEnum):
    """What happened to a tensor. The values are part of the JSON form.

    The first five are of tensors that belong together: by equal names, or else as docs/diff.md
    tells; then ``old`` and ``new`` have their own names.
    """

    CHANGED = "changed"  # same dtype and shape; other content
    CAST = "cast"  # same shape; other dtype
    RESHAPED = "reshaped"  # same dtype and count of elements; other shape
    RESIZED = "resized"  # same dtype; other count of elements
    REPLACED = "replaced"  # other dtype and other shape
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
        """Whether there is something to say that needs the tensor's bytes."""
        if self.kind is Kind.ADDED and self.new is not None:
            return 0 not in self.new.shape
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


def classify(
    old: Pointer | None, new: Pointer | None, known: Mapping[str, str | None] | None = None
) -> Changes:
    """What happened to each tensor between two versions; None is a version without a file.

    Equal names are compared, but for the new names in ``known``: those are the old tensors
    that it tells, or new ones (None).
    """
    if old is None or new is None:
        only = [Change(Kind.ADDED, None, entry) for entry in (new.entries if new else ())]
        only += (Change(Kind.REMOVED, entry, None) for entry in (old.entries if old else ()))
        return Changes(tuple(only), 0)
    pairs = _by_name(old, new, known or {})
    left = [entry for entry in new.entries if entry.name not in pairs]
    taken = set(pairs.values())
    gone = [entry for entry in old.entries if entry.name not in taken]
    pairs |= _by_content(old, gone, new, left)
    taken = set(pairs.values())
    pairs |= _by_normal_name(
        [entry for entry in gone if entry.name not in taken],
        [entry for entry in left if entry.name not in pairs],
    )
    taken = set(pairs.values())
    found = [Change(Kind.REMOVED, entry, None) for entry in gone if entry.name not in taken]
    for entry in new.entries:
        before = old.by_name[pairs[entry.name]] if entry.name in pairs else None
        change = _pair(old, before, new, entry) if before else Change(Kind.ADDED, None, entry)
        found += [change] if change else []
    same = len(new.entries) - sum(change.new is not None for change in found)
    return Changes(tuple(sorted(found, key=lambda change: natural_key(change.name))), same)


def content(pointer: Pointer, entry: Entry) -> Content:
    """What ``entry`` of ``pointer`` holds."""
    if not isinstance(entry, Window):
        return Content(bytes(entry.oid), entry.dtype, entry.shape, entry.form)
    base = pointer.stored[entry.of]
    whole = (
        entry.offset == 0
        and entry.strides == contiguous_strides(entry.shape)
        and _size(entry) == base.length
    )
    window = None if whole else (entry.offset, entry.strides)
    return Content(bytes(base.oid), entry.dtype, entry.shape, base.form, window)


def _size(entry: Window) -> int | None:
    """Bytes of the tensor; None where a pointer, written by hand, says what cannot be."""
    try:
        return nbytes(entry.dtype, entry.shape)
    except ValueError:
        return None


def _by_name(old: Pointer, new: Pointer, known: Mapping[str, str | None]) -> dict[str, str]:
    """new name -> old name."""
    told = {name: before for name, before in known.items() if before is not None}
    used = set(told.values())
    return {
        **{
            name: name
            for name in new.by_name
            if name in old.by_name and name not in known and name not in used
        },
        **told,
    }


def _by_content(old: Pointer, gone: list[Entry], new: Pointer, came: list[Entry]) -> dict[str, str]:
    """Tensors that are there under another name: new name -> old name.

    Several of one content (zeros, say) are paired in natural order of their names.
    """
    waiting: dict[Content, list[Entry]] = defaultdict(list)
    for entry in reversed(gone):
        waiting[content(old, entry)].append(entry)
    found = {}
    for entry in came:
        held = waiting.get(content(new, entry))
        if held and 0 not in entry.shape:
            found[entry.name] = held.pop().name
    return found


def _by_normal_name(gone: list[Entry], came: list[Entry]) -> dict[str, str]:
    """Tensors whose names differ in what a wrapper adds, where dtype or shape did not change."""
    before: dict[str, list[Entry]] = defaultdict(list)
    for entry in gone:
        before[normal(entry.name)].append(entry)
    after: dict[str, list[Entry]] = defaultdict(list)
    for entry in came:
        after[normal(entry.name)].append(entry)
    return {
        new[0].name: old[0].name
        for name, new in after.items()
        if len(new) == 1 and len(old := before.get(name, [])) == 1 and new[0].shape == old[0].shape
    }


def normal(name: str) -> str:
    """A tensor's name without what wrappers put before and into it (DDP, torch.compile, PEFT,
    FSDP, ``state_dict`` in a checkpoint) and without Keras' ``:0``."""
    parts = [part for part in _SEPARATOR.split(name.removesuffix(":0")) if part not in _INSIDE]
    start = next((i for i, part in enumerate(parts) if part not in _BEFORE), len(parts))
    return ".".join(parts[start:])


def _pair(old_pointer: Pointer, old: Entry, new_pointer: Pointer, new: Entry) -> Change | None:
    """How a tensor that is in both versions changed; None where it did not."""
    before, after = content(old_pointer, old), content(new_pointer, new)
    if before == after:
        if old.name == new.name:
            return None
        return Change(Kind.RENAMED, old, new, bytes_differ=False)
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
