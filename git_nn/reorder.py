"""reorder: bring the rows of the sides of a merge into one order, by token.

Where both sides added tokens, the tensors with a row for each token get one row for each token of
the result, on every side (merge.placed). From there on they are merged, computed and settled as
any tensor. The reordered versions are put into the store, coded against those that they are of.

A tensor of floats has rows of tokens where it has just as many rows as the tokenizer has ids on
every side, and both sides resized it; or as many or more (padding), and its name says so; or on
every side as many rows as such a tensor that was resized. Tied weights go with their payload.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial
from math import prod
from typing import TYPE_CHECKING

from git_nn.container import Rows, Sides
from git_nn.formats import table
from git_nn.merge.decide import Conflict, Decision
from git_nn.merge.rows import TOKEN, VALUES, Rung, is_of_tokens
from git_nn.merge.tokens import Placement, Tokens, length
from git_nn.model import open_pointer
from git_nn.objects.pointer import Entry, Pointer, Stored, Window, sorted_entries
from git_nn.objects.tensor import contiguous_strides, nbytes
from git_nn.store.base import Batch, Store

if TYPE_CHECKING:
    from git_nn.merge.placed import Order, Read

Versions = tuple[Pointer, Pointer, Pointer]


def reorder(
    sides: Sides, tokens: Tokens, rung: Callable[[str], Rung], store: Store, into: Store
) -> Rows | None:
    """The versions with matched rows, put ``into`` a store; None where there is nothing to match.

    ``sides`` have the names of the result. ``tokens`` is asked only where a tensor that both
    changed might have rows of tokens; ``rung`` says how finely a tensor may be taken apart.
    Raises MissingObjectError and DamagedObjectError.
    """
    if sides.base is None or not getattr(table.by_name(sides.ours.format), "RESIZES", False):
        return None
    versions = (sides.base, sides.ours, sides.theirs)
    shared = versions[0].stored.keys() & versions[1].stored.keys() & versions[2].stored.keys()
    contested = (name for name in shared if len({v.stored[name].oid for v in versions}) == 3)
    able = [
        name for name in contested if _can_match(name, versions) and rung(name).unit != "tensor"
    ]
    if not any(_is_resized(name, versions) or is_of_tokens(name) for name in able):
        return None
    found = tokens()
    if found is None:
        return None
    cut = {view.of for version in versions for view in _partial_views(version)}
    able = [
        name
        for name in shared - cut
        if _can_match(name, versions)
        and rung(name).unit != "tensor"
        and _has_tokens(name, versions, found)
    ]
    sure = {name for name in able if is_of_tokens(name) or _is_exact(name, versions, found)}
    counts = {_rows(name, versions) for name in sure if len(set(_rows(name, versions))) > 1}
    names = {name for name in able if name in sure or _rows(name, versions) in counts}
    names = {name for name in names if all(_reader(v, name, store) for v in versions)}
    if not names:
        return None
    with into.batch() as batch:
        work = _Work(versions, found, store, batch)
        base, ours, theirs = (work.reordered(side, names) for side in range(3))
    return Rows(base, ours, theirs, frozenset(names), found)


def rungs(ladder: Callable[[str], Rung], rows: Rows | None) -> Callable[[str], Rung]:
    """How finely each tensor may be taken apart; rows of tokens are things of their own."""
    return lambda name: TOKEN if rows and name in rows.names else ladder(name)


def held(decisions: Sequence[Decision], rows: Rows | None) -> tuple[Decision, ...]:
    """The decisions about tensors with rows of tokens kept open, where it is not known that the
    result's tokenizer will say so."""
    return tuple(_held(decision, rows) if rows else decision for decision in decisions)


def has_tokens(name: str, rows: Rows) -> bool:
    """Whether a tensor, or what it is a view on, has rows of tokens."""
    entry = rows.ours.by_name.get(name)
    return (entry.of if isinstance(entry, Window) else name) in rows.names


def waits(name: str, rows: Rows | None) -> bool:
    """Whether a tensor cannot be settled before the tokenizer is."""
    return rows is not None and bool(rows.placement.open) and has_tokens(name, rows)


def _held(decision: Decision, rows: Rows) -> Decision:
    name = decision.name
    if isinstance(decision, Conflict) or not waits(name, rows):
        return decision
    base, ours, theirs = (v.by_name.get(name) for v in (rows.base, rows.ours, rows.theirs))
    why = f"it has the rows of both by token, if {rows.placement.file} will have these ids"
    return Conflict(name, base, ours, theirs, why, placed=True)


def _can_match(name: str, versions: Versions) -> bool:
    """Whether it is a tensor of floats that differs in the number of rows at most."""
    entries = [version.stored[name] for version in versions]
    if len({(e.dtype, e.shape[1:], bool(e.shape)) for e in entries}) > 1:
        return False
    dtype, shape = entries[0].dtype, entries[0].shape
    return dtype.removesuffix("be") in VALUES and bool(shape) and prod(shape) > 0


def _is_resized(name: str, versions: Versions) -> bool:
    """Whether both sides gave it another number of rows."""
    base, ours, theirs = _rows(name, versions)
    return base not in (ours, theirs)


def _is_exact(name: str, versions: Versions, placement: Placement) -> bool:
    pairs = zip(_rows(name, versions), placement.sides, strict=True)
    return _is_resized(name, versions) and all(rows == length(ids) for rows, ids in pairs)


def _rows(name: str, versions: Versions) -> tuple[int, ...]:
    return tuple(version.stored[name].shape[0] for version in versions)


def _has_tokens(name: str, versions: Versions, placement: Placement) -> bool:
    rows = _rows(name, versions)
    if length(placement.result) > rows[1] + rows[2]:
        return False
    return all(count >= length(ids) for count, ids in zip(rows, placement.sides, strict=True))


def _partial_views(version: Pointer) -> Iterator[Window]:
    """Views on another part of a payload than the whole of it."""
    for view in version.entries:
        if isinstance(view, Window):
            payload = version.stored[view.of]
            place = (view.dtype, view.shape, view.offset, view.strides)
            if place != (payload.dtype, payload.shape, 0, contiguous_strides(payload.shape)):
                yield view


class _Work:
    """Three versions being put into a store with other rows."""

    def __init__(
        self, versions: Versions, placement: Placement, store: Store, batch: Batch
    ) -> None:
        self._versions = versions
        self._placement = placement
        self._store = store
        self._batch = batch
        self._orders: dict[tuple[int, ...], Order] = {}

    def reordered(self, side: int, names: Collection[str]) -> Pointer:
        version = self._versions[side]
        entries = list(self._entries(side, names))
        return replace(version, entries=sorted_entries(entries))

    def _entries(self, side: int, names: Collection[str]) -> Iterator[Entry]:
        for entry in self._versions[side].entries:
            if entry.name in names and isinstance(entry, Stored):
                yield self._stored(side, entry)
            elif isinstance(entry, Window) and entry.of in names:
                shape = (len(self._order(entry.of)), *entry.shape[1:])
                yield replace(entry, shape=shape)
            else:
                yield entry

    def _order(self, name: str) -> Order:
        from git_nn.merge.placed import order

        rows = _rows(name, self._versions)
        if rows not in self._orders:
            self._orders[rows] = order(self._placement, rows)
        return self._orders[rows]

    def _stored(self, side: int, entry: Stored) -> Stored:
        from git_nn.merge.placed import placed

        name, found = entry.name, self._order(entry.name)
        if not entry.form and found.is_kept(side, entry.shape[0]):
            return entry
        reads = [_reader(version, name, self._store) for version in self._versions]
        shape = (len(found), *entry.shape[1:])
        rows = placed(side, list(filter(None, reads)), nbytes(entry.dtype, entry.shape[1:]), found)
        oid, size = self._batch.put(rows, dtype=entry.dtype, base=entry.oid)
        return Stored(name, entry.dtype, shape, oid, size)


def _reader(version: Pointer, name: str, store: Store) -> Read | None:
    """Reads parts of a packed tensor; None where its form cannot be decoded."""
    entry = version.stored[name]
    if not entry.form:
        return partial(store.read_range, entry.oid)
    data = open_pointer(version, store).read(name)
    return None if data is None else lambda start, stop: data[start:stop]
