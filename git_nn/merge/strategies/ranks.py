"""ranks: the k largest magnitudes of a tensor, exactly, whatever the blocks.

Magnitudes are compared as doubles, and where they are equal the element that comes first
counts as the larger. The k-th largest is found by histograms of the doubles' bits, 16 at a
time, until few enough are left to be sorted: one pass for a tensor of up to HELD elements,
mostly two for a larger one, and at most five; memory is bounded by HELD.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from git_nn.merge.strategies.blocks import Doubles, Tensor, changes, finite

HELD = 1 << 22  # elements that are sorted at once
_DIGIT = 16  # bits that a histogram tells apart

Bits = NDArray[np.uint64]
Columns = tuple[int, Sequence[Doubles]]  # index of the first element, columns of values


@dataclass(frozen=True, slots=True)
class Cut:
    """Where the k largest end: at the element ``last``, whose magnitude is ``value``."""

    value: float
    last: int


NOTHING, EVERYTHING = Cut(inf, -1), Cut(-1.0, -1)


def among(cut: Cut, values: Doubles, start: int) -> NDArray[np.bool_]:
    """Which elements are among the k largest; ``start`` is the index of the first one."""
    inside: NDArray[np.bool_] = values > cut.value
    equal = np.flatnonzero(values == cut.value)
    inside[equal[equal + start <= cut.last]] = True
    return inside


def share(density: float, size: int) -> int:
    """How many elements a density keeps: rounded down, but one at least unless it is 0."""
    return max(int(density * size), min(1, size)) if density > 0 else 0


def magnitudes(tensor: Tensor) -> Iterator[Columns]:
    """The sizes of each change, as columns."""
    for block in tensor.read():
        yield block.start, [np.abs(finite(change)) for change in changes(block)]


@dataclass(frozen=True, slots=True)
class _Search:
    """Looks for the ``rank``-th largest of the ``count`` values that begin with ``prefix``."""

    column: int
    rank: int
    count: int
    depth: int = 0  # bits of the prefix
    prefix: int = 0


def cuts(
    read: Callable[[], Iterable[Columns]],
    size: int,
    wanted: Sequence[tuple[int, int]],
    held: int = HELD,
) -> list[Cut]:
    """A cut for each wanted (column, k), k up to ``size``; of k = 0 it is NOTHING.

    The columns have finite values that are not negative, -0.0 neither.
    """
    searches = {i: _Search(c, k, size) for i, (c, k) in enumerate(wanted) if 0 < k <= size}
    while wide := {i: s for i, s in searches.items() if s.count > held and s.depth < 64}:
        searches |= _narrow(read(), wide)
    found = _finish(read(), searches) if searches else {}
    return [found.get(i, NOTHING) for i in range(len(wanted))]


def _narrow(blocks: Iterable[Columns], searches: dict[int, _Search]) -> dict[int, _Search]:
    """One pass: each search knows 16 bits more."""
    counts = {i: np.zeros(1 << _DIGIT, dtype=np.int64) for i in searches}
    for _, columns in blocks:
        for i, search in searches.items():
            bits = _bits(columns[search.column])
            inside = bits[_matches(bits, search)]
            digits = (inside >> np.uint64(64 - _DIGIT - search.depth)) & np.uint64(0xFFFF)
            counts[i] += np.bincount(digits.astype(np.int64), minlength=1 << _DIGIT)
    return {i: _into_bin(search, counts[i]) for i, search in searches.items()}


def _into_bin(search: _Search, counts: NDArray[np.int64]) -> _Search:
    reached = np.cumsum(counts[::-1])
    place = int(np.searchsorted(reached, search.rank))
    digit = len(counts) - 1 - place
    rank = search.rank - int(reached[place] - counts[digit])
    prefix = search.prefix << _DIGIT | digit
    return _Search(search.column, rank, int(counts[digit]), search.depth + _DIGIT, prefix)


def _finish(blocks: Iterable[Columns], searches: dict[int, _Search]) -> dict[int, Cut]:
    """One pass: collect what each search has left, and sort it by size, then by place."""
    taken: dict[int, list[tuple[Bits, NDArray[np.int64]]]] = {i: [] for i in searches}
    seen = dict.fromkeys(searches, 0)
    for start, columns in blocks:
        for i, search in searches.items():
            if search.depth == 64 and seen[i] >= search.rank:
                continue
            bits = _bits(columns[search.column])
            where = np.flatnonzero(_matches(bits, search))
            if search.depth == 64:  # all are equal: only the place counts, so keep the last block
                where = where[: search.rank - seen[i]]
                taken[i] = [] if len(where) else taken[i]
            seen[i] += len(where)
            taken[i].append((bits[where], where + start))
    return {i: _cut(search, taken[i]) for i, search in searches.items()}


def _cut(search: _Search, taken: list[tuple[Bits, NDArray[np.int64]]]) -> Cut:
    bits = np.concatenate([bits for bits, _ in taken])
    index = np.concatenate([index for _, index in taken])
    if search.depth == 64:
        return Cut(float(bits[-1:].view(np.float64)[0]), int(index.max()))
    value = np.partition(bits, len(bits) - search.rank)[len(bits) - search.rank]
    above = int(np.count_nonzero(bits > value))
    last = index[bits == value][search.rank - above - 1]
    return Cut(float(np.array([value]).view(np.float64)[0]), int(last))


def _bits(values: Doubles) -> Bits:
    return np.ascontiguousarray(values).view(np.uint64)


def _matches(bits: Bits, search: _Search) -> NDArray[np.bool_]:
    if not search.depth:
        return np.ones(len(bits), dtype=np.bool_)
    inside: NDArray[np.bool_] = (bits >> np.uint64(64 - search.depth)) == np.uint64(search.prefix)
    return inside
