"""woven: look which rows of a tensor each side changed, and weave the result from them.

Words as in merge/rows.py. Rules:
1. Segments that are the same on every side are not read to compare.
2. Memory does not grow with the tensor: one segment of each side is held, and what is known
   of a row that ends in a later segment is carried there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from git_nn.arrays import Array
from git_nn.merge.rows import Ground
from git_nn.objects.oid import Oid

Buffer = bytes | bytearray | memoryview

SHOWN = 5  # rows that both changed, of those that a conflict names


@dataclass(frozen=True, slots=True)
class Version:
    """One side's tensor: its packed C-order bytes, cut into segments of ``step`` bytes.

    ``ids`` are the content ids of the segments; empty where they are not known.
    """

    length: int
    step: int
    ids: tuple[Oid, ...]
    read: Callable[[int], Buffer]

    def is_as(self, other: Version, index: int) -> bool:
        """Whether the segments are known to be the same."""
        known = index < min(len(self.ids), len(other.ids))
        return known and self.ids[index] == other.ids[index]

    def segment(self, index: int, stop: int) -> Array:
        """The bytes of a segment that stand before the byte ``stop`` of the tensor."""
        found = np.frombuffer(self.read(index), dtype=np.uint8)
        return found[: max(stop - index * self.step, 0)]


@dataclass(frozen=True, slots=True)
class Versions:
    """The tensor on every side. ``unit`` is the size of a row (an element) in bytes."""

    base: Version
    ours: Version
    theirs: Version
    unit: int

    @property
    def shared(self) -> int:
        """How many bytes, from the start, every side has."""
        return min(self.base.length, self.ours.length, self.theirs.length)

    @property
    def owner(self) -> Version:
        """The side that has as many rows as the result: the one that changed their number."""
        return self.theirs if self.ours.length == self.base.length else self.ours


@dataclass(frozen=True, slots=True)
class Survey:
    """Counts of rows (elements): all that every side has, and what was changed by whom.

    ``both`` were changed by both sides, and not to the same bytes; ``first`` are the first
    few of them; ``alike`` were changed to the same by both. ``added`` is how many more rows
    (fewer, below 0) the result has than the base; ``ends`` tells that the sides disagree about
    the rows at the end, which not every side has. Where both changed most of what was seen,
    the rest is not looked at (``cut``).
    """

    total: int
    ours: int = 0
    theirs: int = 0
    both: int = 0
    first: tuple[int, ...] = ()
    alike: int = 0
    added: int = 0
    ends: bool = False
    cut: bool = False

    def allows(self, ground: Ground) -> bool:
        """Whether the tensor may be woven on this ground."""
        if self.both or self.ends or self.cut:
            return False
        if ground == "named" or (self.added and not (self.ours and self.theirs)):
            return True
        changed = self.ours + self.theirs + self.alike
        return ground == "sparse" and 2 * changed <= self.total


def survey(versions: Versions) -> Survey:
    """Which rows each side changed; reads the segments that differ, one of each at a time."""
    base, ours, theirs = versions.base, versions.ours, versions.theirs
    unit, stop, step = versions.unit, versions.shared, base.step
    tally, cut = _Tally(unit), False
    for i in range(-(-stop // step)):
        same = ours.is_as(base, i), theirs.is_as(base, i)
        if cut := tally.is_dense:
            break
        if same == (True, True):
            continue
        o = base.segment(i, stop)
        a = o if same[0] else ours.segment(i, stop)
        b = o if same[1] else a if theirs.is_as(ours, i) else theirs.segment(i, stop)
        tally.add(i * step, o, a, b)
    tally.close()
    return Survey(
        stop // unit, tally.ours, tally.theirs, tally.both, tuple(tally.first), tally.alike,
        (versions.owner.length - base.length) // unit, _ends_differ(versions),
        cut or tally.is_dense,
    )  # fmt: skip


def _ends_differ(versions: Versions) -> bool:
    """Whether the sides disagree about rows beyond those that all have."""
    base, ours, theirs = versions.base, versions.ours, versions.theirs
    if ours.length == theirs.length:
        left, right = ours, theirs
    else:  # one side has as many as the base; those of them that the other removed must be equal
        left, right = base, ours if ours.length == base.length else theirs
    start, stop, step = versions.shared, min(left.length, right.length), base.step
    for i in range(start // step, -(-stop // step) if start < stop else 0):
        after = max(start - i * step, 0)
        if not left.is_as(right, i) and np.any(
            left.segment(i, stop)[after:] != right.segment(i, stop)[after:]
        ):
            return True
    return False


class _Tally:
    """Counts rows segment by segment; a row that goes on in the next one is held back."""

    def __init__(self, unit: int) -> None:
        self.ours = self.theirs = self.both = self.alike = self._seen = 0
        self.first: list[int] = []
        self._unit = unit
        self._held: tuple[int, Array] | None = None  # a row, and the flags of what was seen of it

    @property
    def is_dense(self) -> bool:
        """Whether both sides changed more than half of all rows that were looked at."""
        return 2 * self.both > self._seen

    def add(self, start: int, base: Array, ours: Array, theirs: Array) -> None:
        """The bytes from ``start`` on, of every side."""
        row = start // self._unit
        pairs = ((ours, base), (theirs, base), (ours, theirs))
        flags = np.stack([_differing(x, y, start, self._unit) for x, y in pairs])
        if self._held is not None and self._held[0] == row:
            flags[:, 0] |= self._held[1]
            self._held = None
        self.close()
        if (start + len(base)) % self._unit:
            self._held = row + flags.shape[1] - 1, flags[:, -1].copy()
            flags = flags[:, :-1]
        self._count(row, flags)

    def close(self) -> None:
        """No more is to come of the row that is held back."""
        if self._held is not None:
            row, flags = self._held
            self._held = None
            self._count(row, flags[:, None])

    def _count(self, row: int, flags: Array) -> None:
        by_ours, by_theirs, apart = flags
        both = by_ours & by_theirs & apart
        self._seen += flags.shape[1]
        self.ours += int(np.count_nonzero(by_ours & apart & ~both))
        self.theirs += int(np.count_nonzero(by_theirs & apart & ~both))
        self.both += int(np.count_nonzero(both))
        self.alike += int(np.count_nonzero(by_ours & by_theirs & ~apart))
        if len(self.first) < SHOWN:
            self.first += (row + np.flatnonzero(both)[: SHOWN - len(self.first)]).tolist()


def _differing(left: Array, right: Array, start: int, unit: int) -> Array:
    """For each row that has bytes here: whether any of them differ."""
    if left is right:
        first, last = start // unit, (start + len(left) - 1) // unit
        return np.zeros(last - first + 1, dtype=bool)
    width = next(width for width in (8, 4, 2, 1) if not unit % width)
    differs = left.view(f"u{width}") != right.view(f"u{width}")
    step, head = unit // width, -start % unit // width
    rest = differs[head:]
    whole = len(rest) // step
    parts = [
        differs[:head].any(keepdims=True) if head else differs[:0],
        rest[: whole * step].reshape(whole, step).any(axis=1),
        rest[whole * step :].any(keepdims=True) if len(rest) % step else differs[:0],
    ]
    return np.concatenate(parts)


# --- weaving ----------------------------------------------------------------------------


def woven(versions: Versions) -> Iterator[Buffer]:
    """The bytes of the result, a segment at a time, where ``survey`` found no conflict.

    Then a byte that ours left alone is theirs' and any other is ours', since no row was
    changed by both.
    """
    base, ours, theirs, owner = versions.base, versions.ours, versions.theirs, versions.owner
    shared, step = versions.shared, base.step
    other = ours if owner is theirs else theirs
    even = base.length == ours.length == theirs.length
    for i in range(-(-owner.length // step)):
        stop = min(shared - i * step, step)
        if stop <= 0 or owner.is_as(other, i):
            yield owner.read(i)
        elif (even or stop == step) and ours.is_as(base, i):
            yield theirs.read(i)
        elif (even or stop == step) and theirs.is_as(base, i):
            yield ours.read(i)
        else:
            o, a, b = (side.segment(i, shared) for side in (base, ours, theirs))
            yield np.where(a == o, b, a).tobytes()
            if owner.length > shared:
                yield memoryview(owner.read(i))[stop:]
