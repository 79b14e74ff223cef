"""ranks: the k largest magnitudes of a tensor, exactly, whatever the blocks.

Magnitudes are compared as doubles, by their bits, and where they are equal the element that
comes first counts as the larger. A sample tells between which two values the k-th largest is
likely to be; one pass counts what is above and holds what is between. Where that was a bad
guess, or too much is between, histograms of 16 bits narrow the range, in four passes at most.
Memory is bounded by HELD.

Of changes, singles tell what is between: the difference of two singles as a single is that as a
double, rounded (53 bits are two more than twice 24, so rounding twice is rounding once:
Figueroa, When is double rounding innocuous?, 1995). So what is larger is larger as a double.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from math import sqrt
from sys import float_info
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from git_nn.merge.strategies.blocks import (
    Block,
    Doubles,
    Each,
    Places,
    Tensor,
    base_of,
    changes,
    finite,
    only,
)

HELD = 1 << 22  # elements that are sorted at once
FEW = 1 << 16  # a tensor of no more is not sampled first
_DIGIT = 16  # bits that a histogram tells apart
_LARGEST = (1 << 63) - 1
_SURE, _SEVERAL, _UNSURE = 5, 16, 0.004  # standard errors, pieces that tell them, if they do not
_WIDTH = 8  # bytes of a double
_MOST = float(np.finfo(np.float32).max)

Bits = NDArray[Any]  # of floats that are not negative, as integers: in the order of their values
Exact = Callable[[int, Places], Doubles]  # the values of a column at these places
Work = Callable[..., Any]


class Read(Protocol):
    """One pass: what ``work`` makes of each block, in order.

    ``work`` gets the index of the first element and columns of finite values that are not
    negative, -0.0 neither; of columns of singles also how to get Exact ones. It may run in
    several threads. With ``every`` about one element in so many counts.
    """

    def __call__(self, work: Work, every: int = 1) -> Iterable[Any]: ...


@dataclass(frozen=True, slots=True)
class Cut:
    """Where the k largest end: at the element ``last``, whose magnitude is ``value``.

    That is finite, so an infinity is beyond every cut.
    """

    value: float
    last: int


NOTHING, EVERYTHING = Cut(float_info.max, -1), Cut(-1.0, -1)


def among(cut: Cut, values: Doubles, start: int, places: Places | None = None) -> NDArray[np.bool_]:
    """Which elements are among the k largest; ``start`` is the index of the first one.

    With ``places`` the elements are those at these places after ``start``.
    """
    inside: NDArray[np.bool_] = values > cut.value
    if cut.last < start:
        return inside
    equal = np.flatnonzero(values == cut.value)
    after = equal if places is None else places[equal]
    inside[equal[after + start <= cut.last]] = True
    return inside


def largest(change: Doubles, cut: Cut, block: Block) -> Doubles:
    """``change`` of ``block`` with zero for what is not among its k largest; NaN and infinity
    stay."""
    size = np.abs(change)
    return only(change, among(cut, size, block.start, block.places) | np.isnan(size))


def may_be_among(cut: Cut, change: Doubles) -> NDArray[np.bool_]:
    """Of a change as singles: all but zeros that ``largest`` may keep, and a few others."""
    few: NDArray[np.bool_] = ~(np.abs(change) < np.float32(cut.value))
    return few if cut.value > 0 else np.not_equal(change, 0)


def share(density: float, size: int) -> int:
    """How many elements a density keeps: rounded down, but one at least unless it is 0."""
    return max(int(density * size), min(1, size)) if density > 0 else 0


def magnitudes(tensor: Tensor) -> Read:
    """The sizes of each change, as columns."""

    def read(work: Work, every: int = 1) -> Iterable[Any]:
        return tensor.each(
            lambda block: work(block.start, [np.abs(finite(c)) for c in changes(block)]), every
        )

    return read


def roughly(singles: Each) -> Read:
    """The sizes of each change as singles."""

    def read(work: Work, every: int = 1) -> Iterable[Any]:
        return singles(lambda block: _of_singles(block, work), every)

    return read


def _of_singles(block: Block, work: Work) -> Any:
    base = base_of(block)

    def exact(column: int, where: Places) -> Doubles:
        side = block.sides[column]
        return np.abs(finite(side[where].astype(np.float64) - base[where]))

    columns = [np.abs(change) for change in changes(block)]
    for number, column in enumerate(columns):
        usable = np.isfinite(column)
        if not usable.all():  # a difference that is too large for a single is no infinity
            where = np.flatnonzero(~usable)
            column[where] = np.minimum(exact(number, where), _MOST)
    return work(block.start, columns, exact)


def largest_changes(tensor: Tensor, wanted: Sequence[tuple[int, int]]) -> list[Cut]:
    """A cut for each wanted (side, k)."""
    rough = roughly(tensor.singles) if tensor.singles else None
    return cuts(magnitudes(tensor), tensor.size, wanted, rough=rough)


@dataclass(frozen=True, slots=True)
class _Search:
    """Looks for the ``rank``-th largest of the ``count`` values with bits from low to high."""

    column: int
    rank: int
    count: int
    low: int = 0
    high: int = _LARGEST


@dataclass(frozen=True, slots=True)
class _Found:
    """Elements in the range of a search, in order, and how many stand above it."""

    above: int
    bits: Bits
    index: NDArray[np.int64]


def cuts(
    read: Read,
    size: int,
    wanted: Sequence[tuple[int, int]],
    held: int = HELD,
    rough: Read | None = None,
) -> list[Cut]:
    """A cut for each wanted (column, k), k up to ``size``; of k = 0 it is NOTHING.

    ``rough`` reads the same as singles, in the order of the doubles.
    """
    searches = {i: _Search(c, k, size) for i, (c, k) in enumerate(wanted) if 0 < k <= size}
    found: dict[int, Cut] = {}
    for source in (rough, read) if size > min(FEW, held) else ():
        if source is not None and searches:
            done, searches = _guess(source, searches, size, held)
            found |= done
    while wide := {i: s for i, s in searches.items() if s.count > held and s.low < s.high}:
        searches |= _narrow(read, wide)
    found |= _finish(read, searches) if searches else {}
    return [found.get(i, NOTHING) for i in range(len(wanted))]


def _guess(
    read: Read, searches: dict[int, _Search], size: int, held: int
) -> tuple[dict[int, Cut], dict[int, _Search]]:
    """The cuts that one pass finds, and searches for the others: narrower ones, of doubles."""
    ranges, is_rough = _sampled(read, searches, size)
    taken: dict[int, list[_Found]] = {i: [] for i in searches}
    counts = dict.fromkeys(searches, 0)
    above = dict.fromkeys(searches, 0)
    for found in read(partial(_between, ranges)):
        for i, some in found.items():
            above[i] += some.above
            counts[i] += len(some.index)
            if counts[i] <= held:
                taken[i].append(some)
            else:
                taken[i].clear()
    done, rest = {}, {}
    for i, search in searches.items():
        within = _Search(
            search.column, search.rank - above[i], counts[i], ranges[i].low, ranges[i].high
        )
        if not 0 < within.rank <= within.count:
            rest[i] = search
        elif within.count > held:
            rest[i] = search if is_rough else within
        else:
            done[i] = _cut(within, taken[i])
    return done, rest


def _sampled(
    read: Read, searches: dict[int, _Search], size: int
) -> tuple[dict[int, _Search], bool]:
    """Ranges in which the values are likely to be, by a sample; and whether it is of singles."""
    columns = sorted({search.column for search in searches.values()})
    every = max(1, size >> 21)
    step = max(1, size // every >> 16)
    pieces = [*read(lambda _, values, *_exact: [values[c][::step].copy() for c in columns], every)]
    samples = {
        column: [_bits(piece[place]) for piece in pieces] for place, column in enumerate(columns)
    }
    found = {i: _likely(search, samples[search.column]) for i, search in searches.items()}
    return found, samples[columns[0]][0].itemsize < _WIDTH


def _likely(search: _Search, pieces: Sequence[Bits]) -> _Search:
    """The margin is several times what the rank varies by from piece to piece of the sample."""
    sample = np.sort(np.concatenate(pieces))
    place = len(sample) * (search.count - search.rank) // search.count
    ranks = [
        np.count_nonzero(piece >= sample[place]) / len(piece) for piece in pieces if len(piece)
    ]
    steps, error = np.diff(ranks), _UNSURE
    if len(steps) >= _SEVERAL:  # pieces are spread evenly, so a trend from first to last is none
        error = sqrt(float(np.mean(steps * steps)) / 2 / len(steps))
    margin = int(_SURE * error * len(sample)) + 2
    low = int(sample[place - margin]) if place >= margin else 0
    high = int(sample[place + margin]) if place + margin < len(sample) else _LARGEST
    return _Search(search.column, search.rank, search.count, low, high)


def _between(
    searches: dict[int, _Search],
    start: int,
    columns: Sequence[Doubles],
    exact: Exact | None = None,
) -> dict[int, _Found]:
    found = {}
    for i, search in searches.items():
        bits = _bits(columns[search.column])
        beyond = bits > search.high
        where = np.flatnonzero((bits >= search.low) ^ beyond)
        some = bits[where] if exact is None else _bits(exact(search.column, where))
        found[i] = _Found(int(np.count_nonzero(beyond)), some, where + start)
    return found


def _narrow(read: Read, searches: dict[int, _Search]) -> dict[int, _Search]:
    """One pass: each search knows up to 16 bits more."""

    def work(start: int, columns: Sequence[Doubles]) -> dict[int, NDArray[np.intp]]:
        found = _between(searches, start, columns)
        return {i: _histogram(found[i].bits, search) for i, search in searches.items()}

    counts = {i: np.zeros(1 << _DIGIT, dtype=np.int64) for i in searches}
    for histograms in read(work):
        for i, histogram in histograms.items():
            counts[i] += histogram
    return {i: _into_bin(search, counts[i]) for i, search in searches.items()}


def _shift(search: _Search) -> int:
    return max((search.high - search.low).bit_length() - _DIGIT, 0)


def _histogram(bits: Bits, search: _Search) -> NDArray[np.intp]:
    return np.bincount((bits - search.low) >> _shift(search), minlength=1 << _DIGIT)


def _into_bin(search: _Search, counts: NDArray[np.int64]) -> _Search:
    reached = np.cumsum(counts[::-1])
    place = int(np.searchsorted(reached, search.rank))
    digit = len(counts) - 1 - place
    rank = search.rank - int(reached[place] - counts[digit])
    low = search.low + (digit << _shift(search))
    high = min(search.high, low + (1 << _shift(search)) - 1)
    return _Search(search.column, rank, int(counts[digit]), low, high)


def _finish(read: Read, searches: dict[int, _Search]) -> dict[int, Cut]:
    """One pass: collect what each search has left; where all are equal only the place counts."""
    taken: dict[int, list[_Found]] = {i: [] for i in searches}
    seen = dict.fromkeys(searches, 0)
    for found in read(partial(_between, searches)):
        for i, some in found.items():
            equal = searches[i].low == searches[i].high
            if equal and seen[i] < searches[i].rank <= seen[i] + len(some.index):
                last = slice(searches[i].rank - seen[i] - 1, searches[i].rank - seen[i])
                taken[i] = [_Found(0, some.bits[last], some.index[last])]
            elif not equal:
                taken[i].append(some)
            seen[i] += len(some.index)
    return {i: _cut(search, taken[i]) for i, search in searches.items()}


def _cut(search: _Search, taken: list[_Found]) -> Cut:
    bits = np.concatenate([some.bits for some in taken])
    index = np.concatenate([some.index for some in taken])
    rank = search.rank if len(bits) > 1 else 1
    value = np.partition(bits, len(bits) - rank)[len(bits) - rank]
    above = int(np.count_nonzero(bits > value))
    last = index[bits == value][rank - above - 1]
    return Cut(float(np.array([value]).view(np.float64)[0]), int(last))


def _bits(values: NDArray[Any]) -> Bits:
    return np.ascontiguousarray(values).view(f"i{values.itemsize}")
