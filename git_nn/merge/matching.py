"""matching: the order of another network's units in which it is nearest to ours.

Units are neurons, channels or attention heads: what may be reordered without changing the
function, if every tensor that knows them is reordered with them. Two trainings from different
starts find them in different orders. Orders that are there exactly, bit for bit, are read off
the rows; the rest is weight matching of Git Re-Basin (arXiv 2209.04836, section 3.2): one
kind of units after the other gets the order whose inner product with ours is largest, which is
a linear assignment problem, until nothing gets better. A local optimum, not the best of all.

1. Tensors are reordered, never computed with: every element keeps its bits.
2. Nothing here is random. Products come from BLAS, so near ties may fall otherwise elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from git_nn.arrays import Array, as_float64
from git_nn.merge.assignment import assign

Places = NDArray[np.int64]
Tensors = Mapping[str, Array]
ROUNDS = 100
_LEAST = 1e-9  # of the norms: a gain that is no rounding


@dataclass(frozen=True, slots=True)
class Place:
    """Where units stand along one axis of a tensor.

    ``index[u, i, r]`` are positions on the axis: those of unit u, of its i-th part. ``votes``
    is False for what goes along without having a say, such as the statistics of a BatchNorm.
    """

    tensor: str
    axis: int
    index: Places
    votes: bool = True


@dataclass(frozen=True, slots=True)
class Units:
    """``count`` units. The places of one tuple have their parts in one order; those of another
    tuple in an order of their own, such as a head's queries and keys, and its values."""

    name: str
    count: int
    places: tuple[tuple[Place, ...], ...]


@dataclass(frozen=True, slots=True)
class Found:
    """What became of some units: how many now stand elsewhere, and whether bit for bit."""

    name: str
    count: int
    moved: int
    exact: bool


@dataclass(frozen=True, slots=True)
class Matched:
    """The reordered tensors, those that did not change included."""

    tensors: dict[str, Array]
    found: tuple[Found, ...]
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class _Order:
    """Unit u becomes what unit ``units[u]`` was; in tuple t its part i, part ``parts[t][u, i]``."""

    units: Places
    parts: tuple[Places, ...]


def match(ours: Tensors, theirs: Tensors, units: Sequence[Units]) -> Matched:
    """Reorder ``theirs`` towards ``ours``; both have the same names and shapes."""
    moving = dict(theirs)
    orders = {one.name: _same(one) for one in units}
    exact = _exactly(ours, moving, units, orders)
    names = sorted({place.tensor for one in units for place in _voting(one)})
    before = similarity(ours, theirs, names)
    rest = [one for one in units if one.name not in exact]
    for _ in range(ROUNDS):
        better = False
        for one in rest:
            order = _better(ours, moving, one)
            if order is not None:
                better = True
                orders[one.name] = _then(orders[one.name], order)
                _reorder(moving, one, order)
        if not better:
            break
    found = tuple(
        Found(one.name, one.count, _moved(orders[one.name]), one.name in exact) for one in units
    )
    return Matched(moving, found, before, similarity(ours, moving, names))


def similarity(ours: Tensors, theirs: Tensors, names: Sequence[str]) -> float:
    """The cosine of the named tensors, all as one vector; 0 where one side is zero."""
    product = left = right = 0.0
    for name in names:
        a, b = _values(ours[name]).ravel(), _values(theirs[name]).ravel()
        product += float(a @ b)
        left += float(a @ a)
        right += float(b @ b)
    return product / sqrt(left * right) if left * right > 0 else 0.0


def _voting(one: Units) -> list[Place]:
    return [place for places in one.places for place in places if place.votes]


def _same(one: Units) -> _Order:
    """The order in which nothing moves."""
    parts = (np.arange(places[0].index.shape[1]) for places in one.places)
    return _Order(np.arange(one.count), tuple(np.tile(part, (one.count, 1)) for part in parts))


def _then(first: _Order, second: _Order) -> _Order:
    """Both, one after the other."""
    parts = zip(first.parts, second.parts, strict=True)
    return _Order(
        first.units[second.units],
        tuple(np.take_along_axis(a[second.units], b, axis=1) for a, b in parts),
    )


def _moved(order: _Order) -> int:
    still = order.units == np.arange(len(order.units))
    for parts in order.parts:
        still &= (parts == np.arange(parts.shape[1])).all(axis=1)
    return int(np.count_nonzero(~still))


def _reorder(tensors: dict[str, Array], one: Units, order: _Order) -> None:
    for places, parts in zip(one.places, order.parts, strict=True):
        for place in places:
            array = tensors[place.tensor]
            source = np.arange(array.shape[place.axis])
            source[place.index] = place.index[order.units[:, np.newaxis], parts]
            tensors[place.tensor] = array.take(source, axis=place.axis)


# --- nearest --------------------------------------------------------------------------------


def _better(ours: Tensors, theirs: Tensors, one: Units) -> _Order | None:
    """The order with the largest inner product; None where the present one is as good."""
    total, now, size = np.zeros((one.count, one.count)), 0.0, 0.0
    inside: list[Places] = []
    for places in one.places:
        gains = _gains(ours, theirs, places)
        now += float(np.einsum("uiui->", gains))
        size += float(np.abs(gains).max(initial=0.0)) * one.count
        best, parts = _within(gains)
        total += best
        inside.append(parts)
    order = assign(total)
    if float(total[np.arange(one.count), order].sum()) <= now + _LEAST * size:
        return None
    rows = np.arange(one.count)
    return _Order(order, tuple(parts[rows, order] for parts in inside))


def _gains(ours: Tensors, theirs: Tensors, places: Sequence[Place]) -> NDArray[np.float64]:
    """[u, i, v, j]: the inner product of our unit u, part i, with their unit v, part j."""
    count, parts, _ = places[0].index.shape
    total = np.zeros((count * parts, count * parts))
    for place in places:
        if place.votes:
            total += _rows(_values(ours[place.tensor]), place) @ (
                _rows(_values(theirs[place.tensor]), place).T
            )
    return total.reshape(count, parts, count, parts)


def _within(gains: NDArray[np.float64]) -> tuple[NDArray[np.float64], Places]:
    """The best inner product of each pair of units, and their order of parts for it."""
    count, parts = gains.shape[:2]
    if parts == 1:
        return gains[:, 0, :, 0], np.zeros((count, count, 1), dtype=np.int64)
    best, orders = np.zeros((count, count)), np.zeros((count, count, parts), dtype=np.int64)
    for u in range(count):
        for v in range(count):
            orders[u, v] = assign(gains[u, :, v, :])
            best[u, v] = gains[u, np.arange(parts), v, orders[u, v]].sum()
    return best, orders


def _rows(array: Array, place: Place) -> Array:
    """A row for each part of each unit, with all that belongs to it."""
    count, parts, _ = place.index.shape
    taken = np.moveaxis(array, place.axis, 0)[place.index.ravel()]
    return np.ascontiguousarray(taken).reshape(count * parts, -1)


def _values(array: Array) -> NDArray[np.float64]:
    """Doubles of which NaN and infinity count as zero; complex ones are pairs at the end."""
    wide = as_float64(array)
    if wide.dtype.kind == "c":
        wide = np.stack([wide.real, wide.imag], axis=-1)
    return np.nan_to_num(wide, nan=0.0, posinf=0.0, neginf=0.0)


# --- the same, bit for bit ------------------------------------------------------------------


def _exactly(
    ours: Tensors, moving: dict[str, Array], units: Sequence[Units], orders: dict[str, _Order]
) -> set[str]:
    """Settle the units that are the same rows in another order; their names.

    A settled order lets the next layer's rows be equal, so this goes on while it finds some.
    """
    settled: set[str] = set()
    while True:
        found = 0
        for one in units:
            order = None if one.name in settled else _read_off(ours, moving, one)
            if order is not None:
                settled.add(one.name)
                orders[one.name] = order
                _reorder(moving, one, order)
                found += 1
        if not found:
            return settled


def _read_off(ours: Tensors, theirs: Tensors, one: Units) -> _Order | None:
    """The order in which some place of every tuple has the same rows on both sides."""
    order: Places | None = None
    inside = []
    for places in one.places:
        found = (_pairs(ours[place.tensor], theirs[place.tensor], place) for place in places)
        pairs = next((pair for pair in found if pair is not None), None)
        if pairs is None:
            return None
        parts = places[0].index.shape[1]
        whose = pairs.reshape(one.count, parts) // parts
        if (whose != whose[:, :1]).any() or (order is not None and (whose[:, 0] != order).any()):
            return None
        order = whose[:, 0]
        inside.append(pairs.reshape(one.count, parts) % parts)
    return None if order is None else _Order(order, tuple(inside))


def _pairs(ours: Array, theirs: Array, place: Place) -> Places | None:
    """For each of our rows theirs with the same bytes; None where not all have just one."""
    rows = [row.tobytes() for row in _rows(ours, place)]
    where = {row.tobytes(): i for i, row in enumerate(_rows(theirs, place))}
    if len(where) != len(rows) or set(rows) != where.keys():
        return None
    return np.array([where[row] for row in rows], dtype=np.int64)
