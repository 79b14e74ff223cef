"""recast: a dtype that one side changed, and values that the other side changed.

Where one side's tensor is exactly the base's rounded to another dtype, that side has not trained
it: the result is the other side's tensor, rounded to the same dtype (once, to nearest even, as
frameworks do). Else it stays what was decided. Tensors are read a block at a time, and no
further than to the first element that differs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from git_nn.container import Sides
from git_nn.merge.decide import Decision, Take
from git_nn.merge.rows import VALUES
from git_nn.objects.pointer import Entry, Pointer, Stored
from git_nn.objects.tensor import dtype_bits
from git_nn.store.base import Batch, Store

BLOCK = 1 << 18  # elements

Progress = Callable[[int], object]


def recast(
    decisions: Sequence[Decision], sides: Sides, store: Store, progress: Progress
) -> tuple[Decision, ...]:
    """The decisions, with tensors taken (and rounded, and stored) where one side only cast them.

    ``progress`` is told of bytes that were read. Raises MissingObjectError and DamagedObjectError.
    """
    found = {decision.name: trio for decision in decisions if (trio := _trio(decision, sides))}
    if not found:
        return tuple(decisions)
    with store.batch() as batch:
        casts = _Casts(store, batch, progress)
        return tuple(
            (d.name in found and casts.settled(d.name, *found[d.name])) or d for d in decisions
        )


def _trio(decision: Decision, sides: Sides) -> tuple[Stored, Stored, Stored] | None:
    """Base, ours and theirs of a tensor that both changed, and of which one has another dtype."""
    if isinstance(decision, Take) and decision.by is None:
        return None
    base, ours, theirs = (
        _plain(side, decision.name) for side in (sides.base, sides.ours, sides.theirs)
    )
    if base is None or ours is None or theirs is None:
        return None
    if not base.shape == ours.shape == theirs.shape or base.dtype == ours.dtype == theirs.dtype:
        return None
    return base, ours, theirs


def _plain(side: Pointer | None, name: str) -> Stored | None:
    entry: Entry | None = side.by_name.get(name) if side else None
    if not isinstance(entry, Stored) or entry.form:
        return None
    return entry if entry.dtype.removesuffix("be") in VALUES else None


@dataclass(frozen=True, slots=True)
class _Casts:
    """Tensors read from a store, rounded and put back."""

    store: Store
    batch: Batch
    progress: Progress

    def settled(self, name: str, base: Stored, ours: Stored, theirs: Stored) -> Decision | None:
        """The other side's tensor in the dtype of the side that only cast it; None without one."""
        if self._is_cast(base, ours) and theirs.dtype in (base.dtype, ours.dtype):
            entry = self._cast(theirs, ours)
            return Take(name, "theirs", entry, why=f"cast to {ours.dtype} by ours, nothing else")
        if self._is_cast(base, theirs) and ours.dtype in (base.dtype, theirs.dtype):
            entry = self._cast(ours, theirs)
            return Take(name, "ours", entry, why=f"cast to {theirs.dtype} by theirs, nothing else")
        return None

    def _is_cast(self, base: Stored, other: Stored) -> bool:
        if base.dtype == other.dtype:
            return False
        pairs = zip(self._rounded(base, other.dtype), self._blocks(other), strict=True)
        return all(rounded == block for rounded, block in pairs)

    def _cast(self, entry: Stored, like: Stored) -> Stored:
        if entry.dtype == like.dtype:
            return entry
        oid, length = self.batch.put(
            self._rounded(entry, like.dtype), dtype=like.dtype, base=like.oid
        )
        return Stored(entry.name, like.dtype, entry.shape, oid, length)

    def _rounded(self, entry: Stored, dtype: str) -> Iterator[bytes]:
        from git_nn.arrays import as_array, to_bytes

        size = dtype_bits(entry.dtype) // 8
        for block in self._blocks(entry):
            yield to_bytes(as_array(block, entry.dtype, (len(block) // size,)), dtype)

    def _blocks(self, entry: Stored) -> Iterator[bytes]:
        step = BLOCK * dtype_bits(entry.dtype) // 8
        for start in range(0, entry.length, step):
            data = bytes(self.store.read_range(entry.oid, start, min(start + step, entry.length)))
            self.progress(len(data))
            yield data
