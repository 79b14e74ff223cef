"""Writes a torch zip file that is one side of a merge, with other tensors in it.

Only for checkpoints of plain values: dicts, OrderedDicts and lists, nested at will, of tensors,
parameters, numbers and texts, as ``state_dict`` and most training scripts give. What else
is in it - a pickled module, a quantised tensor, a tensor subclass, TorchScript - is a LayoutError.

1. The pickle is written anew from the nodes of ours, and nothing of it is ever run.
2. A storage of ours in which nothing changes stays as it is. Every other tensor gets a storage of
   its own, of just its elements, and views go to the storage of their payload.
3. A tensor of theirs that ours lacks goes into the dict of the same path, behind those that stand
   before it in theirs. Without such a dict there is no place for it.
4. ``_metadata`` of a state_dict is that of ours with the modules of theirs that are new.
5. The serialization id is left out: readers do without, and what it hashes is torch's own affair.
"""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from git_nn.errors import LayoutError, MergeError
from git_nn.formats.base import FileSource, Plan, Source, pieces
from git_nn.formats.pickle_emit import emit
from git_nn.formats.pickle_machine import Call, Global, PersistentId
from git_nn.formats.torch_tree import Keys, Leaf, at, change, insert, leaves, merge_metadata, plain
from git_nn.formats.torch_walk import STORAGES, read, references, storage_of
from git_nn.formats.torch_zip import archive_root, is_plain, value_of
from git_nn.formats.zip_directory import Entry, Member, read_members
from git_nn.formats.zip_writer import Content, write_zip
from git_nn.objects.layout import View
from git_nn.objects.tensor import contiguous_strides, dtype_bits, nbytes

ALIGNMENT = 64

_PARAMETERS = frozenset({"_rebuild_parameter", "_rebuild_parameter_with_state"})
_TENSORS = frozenset({"_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3"})
_KINDS = {
    dtype: kind
    for kind, dtype in STORAGES.items()
    if not kind.startswith("Q") and kind != "UntypedStorage"
}
_KEPT = frozenset({"data.pkl", "version", "byteorder", ".format_version", ".storage_alignment"})
_ID = ".data/serialization_id"


def compose(ours: Path, theirs: Path, plan: Plan, out: Path) -> None:
    """See formats.base. MergeError where a side is more than plain values and tensors."""
    try:
        with ours.open("rb") as a, theirs.open("rb") as b, out.open("wb") as file:
            sides = [_Side.of(FileSource.of(side.fileno())) for side in (a, b)]
            write_zip(file, _Merge(sides[0], sides[1], plan).members(), ALIGNMENT)
    except (LayoutError, LookupError, ValueError, TypeError, RecursionError) as error:
        raise MergeError(f"the merged torch file cannot be written: {error}") from error


# --- a side -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Side:
    """A file: its members, its value with texts in place of spans, its tensors by name."""

    source: Source
    members: dict[str, Member]
    root: str
    value: Any
    leaves: dict[str, Leaf]

    @classmethod
    def of(cls, source: Source) -> _Side:
        members = read_members(source)
        root = archive_root(members)
        strays = [name for name in members if not _is_known(name.removeprefix(root))]
        order = members.get(f"{root}byteorder")
        if strays:
            raise LayoutError(f"{strays[0]!r} belongs to no state_dict")
        if order is not None and source.read(order.start, order.size) != b"little":
            raise LayoutError("it is big-endian")
        made = value_of(source, members[f"{root}data.pkl"])
        value = plain(made, source)
        found = list(leaves(value))
        names = Counter(".".join(str(key) for key in leaf.path if key != "") for leaf in found)
        if len(names) < len(found) or names.keys() != {
            r.name for r in references(made, storage_of)
        }:
            raise LayoutError("a tensor has two names, or none")
        return cls(source, members, root, value, dict(zip(names, found, strict=True)))

    def member(self, key: str) -> Member:
        found = self.members[f"{self.root}data/{key}"]
        if not is_plain(found):
            raise LayoutError(f"{found.name!r} is compressed")
        return found

    def content(self, leaf: Leaf, size: int) -> tuple[int, int]:
        """Where the elements of a tensor in C order stand in the file."""
        window = leaf.window
        member = self.member(window.storage.key)
        start = window.offset * dtype_bits(window.dtype) // 8
        if window.strides != contiguous_strides(window.shape) or start + size > member.size:
            raise LayoutError("a tensor is not in C order")
        return member.start + start, size


def _is_known(name: str) -> bool:
    return name in _KEPT or name == _ID or name.startswith("data/")


# --- the merge --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Piece:
    """What a new storage holds: bytes of a file, or of a replaced tensor."""

    length: int
    side: _Side | None = None
    start: int = 0
    name: str = ""


@dataclass
class _Merge:
    """Ours, theirs and the plan; ``storages`` are the new ones by key."""

    ours: _Side
    theirs: _Side
    plan: Plan
    storages: dict[str, _Piece] = field(default_factory=dict)
    homes: dict[str, tuple[str, int]] = field(default_factory=dict)  # name -> key, element

    @cached_property
    def first(self) -> int:
        """The first number that is no key of ours."""
        taken = (leaf.window.storage.key for leaf in self.ours.leaves.values())
        return 1 + max((int(key) for key in taken if key.isdecimal()), default=-1)

    def members(self) -> Iterator[tuple[Entry, Content]]:
        """The members of the file, in the order of torch."""
        kept = self._kept()
        value = self._value(kept)
        ours, root = self.ours, self.ours.root
        used = {leaf.window.storage.key for name, leaf in ours.leaves.items() if name in kept}
        for name, member in ours.members.items():
            short = name.removeprefix(root)
            if short == "data.pkl":
                yield _of_bytes(member.entry, emit(value))
            elif short in _KEPT - {"version"} or short.removeprefix("data/") in used:
                yield member.entry, pieces(ours.source, member.start, member.stored_size)
        like = ours.members[f"{root}data.pkl"].entry
        for key, piece in self.storages.items():
            yield self._storage(like, f"{root}data/{key}", piece)
        if f"{root}version" in ours.members:
            member = ours.members[f"{root}version"]
            yield member.entry, pieces(ours.source, member.start, member.stored_size)

    def _kept(self) -> set[str]:
        """Tensors of ours whose storage stays as it is."""
        plan, by_key = self.plan, defaultdict(set)
        for name, leaf in self.ours.leaves.items():
            by_key[leaf.window.storage.key].add(name)
        changed = plan.from_theirs | plan.replaced.keys()
        gone = {name for name in self.ours.leaves if name in plan.removed}
        kept = set()
        for names in by_key.values():
            payloads = names & plan.tensors.keys()
            if payloads and not names & changed and not gone & names:
                kept |= names
        strays = {name for name in plan.tensors if name not in self._known}
        for name in strays:  # storages that no tensor fills are called by their keys
            there = by_key.get(name.removeprefix("storage:"), set())
            if not there or there & (changed | gone):
                raise LayoutError(f"there is no tensor {name!r}")
            kept |= there
        return kept

    @cached_property
    def _known(self) -> set[str]:
        return self.ours.leaves.keys() | self.theirs.leaves.keys()

    def _value(self, kept: set[str]) -> Any:
        """The root of ours, changed to be that of the result."""
        plan = self.plan
        order = [*self.ours.leaves, *(n for n in self.theirs.leaves if n not in self.ours.leaves)]
        self._number(kept)
        for name in order:
            if name in plan.tensors and name not in kept:
                self._add_storage(name)
        nodes = {n: self._node(n) for n in order if n not in kept and self._is_wanted(n)}
        lost = (plan.tensors.keys() | plan.views.keys()) - self._known
        if any(not name.startswith("storage:") for name in lost):
            raise LayoutError(f"no side has a place for {min(lost)!r}")
        value, theirs = self.ours.value, self.theirs
        places = {n: leaf.path for n, leaf in self.ours.leaves.items() if n not in kept}
        change(value, {path: nodes.pop(name, None) for name, path in places.items()})
        added: dict[Keys, dict[Any, Any]] = defaultdict(dict)
        for name, node in nodes.items():
            *holder, key = theirs.leaves[name].path
            added[tuple(holder)][key] = node
        for path, more in added.items():
            insert(at(value, path), at(theirs.value, path), more)
        merge_metadata(value, theirs.value)
        return value

    def _is_wanted(self, name: str) -> bool:
        return name in self.plan.tensors or name in self.plan.views

    def _number(self, kept: set[str]) -> None:
        for name in kept:
            window = self.ours.leaves[name].window
            self.homes[name] = window.storage.key, window.offset
            self.homes.setdefault(f"storage:{window.storage.key}", (window.storage.key, 0))

    def _add_storage(self, name: str) -> None:
        plan = self.plan
        dtype, shape = plan.tensors[name]
        size = nbytes(dtype, shape)
        if name in plan.replaced:
            piece = _Piece(size, name=name)
        else:
            side = self.theirs if name in plan.from_theirs else self.ours
            piece = _Piece(size, side, side.content(side.leaves[name], size)[0])
        key = str(self.first + len(self.storages))
        self.storages[key] = piece
        self.homes[name] = key, 0

    def _node(self, name: str) -> Any:
        """The node of a tensor that has another storage than before."""
        plan = self.plan
        side = (
            self.theirs if name in plan.from_theirs or name not in self.ours.leaves else self.ours
        )
        node = side.leaves[name].node
        view = plan.views.get(name)
        if view is None:
            dtype, shape = plan.tensors[name]
            view = View(name, dtype, shape, name, 0, contiguous_strides(shape))
        key, start = self.homes[view.payload]
        view = replace(view, offset=start + view.offset)
        new = self.storages.get(key)
        length = new.length if new else self.ours.member(key).size
        return _rebuilt(node, view, key, length)

    def _storage(self, like: Entry, name: str, piece: _Piece) -> tuple[Entry, Content]:
        if piece.side is None:
            data = self.plan.replaced[piece.name]
            if len(data) != piece.length:
                raise LayoutError(f"{piece.name!r} has another length than it should have")
            return _of_bytes(replace(like, raw_name=name.encode(), name=name), data)
        crc = 0
        for part in pieces(piece.side.source, piece.start, piece.length):
            crc = zlib.crc32(part, crc)
        size = piece.length
        entry = replace(
            like, raw_name=name.encode(), name=name, crc=crc, size=size, stored_size=size
        )
        return entry, pieces(piece.side.source, piece.start, size)


def _of_bytes(like: Entry, data: bytes) -> tuple[Entry, Content]:
    size = len(data)
    return replace(like, crc=zlib.crc32(data), size=size, stored_size=size), [data]


def _rebuilt(node: Any, view: View, key: str, length: int) -> Any:
    """The call that makes a tensor, with another window on another storage, of ``length`` bytes."""
    match node:
        case Call(Global("torch._utils", name), (tensor, *rest)) if name in _PARAMETERS:
            return replace_args(node, (_rebuilt(tensor, view, key, length), *rest))
        case Call(Global("torch._utils", name), (PersistentId(id=found), _, _, _, *rest)) if (
            name in _TENSORS
        ):
            _, kind, _, device, _, *more = found
            before = read(node, storage_of)[0]
            if before is None or before.dtype != view.dtype:
                if name == "_rebuild_tensor_v3" or view.dtype not in _KINDS:
                    raise LayoutError(f"torch has no storage of {view.dtype}")
                kind = Global("torch", _KINDS[view.dtype])
            width = 1 if kind.name == "UntypedStorage" else dtype_bits(view.dtype) // 8
            storage = PersistentId(("storage", kind, key, device, length // width, *more))
            return replace_args(node, (storage, view.offset, view.shape, view.strides, *rest))
    raise LayoutError("a tensor is more than its elements")


def replace_args(call: Call, args: tuple[Any, ...]) -> Call:
    return Call(call.function, args, call.state, call.items, call.elements)
