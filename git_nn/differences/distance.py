"""distance: how far two versions of a model are apart, as one number (docs/distance.md).

1. Every part is in [0, 1]; the distance of a version from itself is 0; both directions give
   the same number, which is why results are rounded to DIGITS.
2. What is not known is a range: a tensor whose values are not here may be anywhere from 0 to 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from git_nn.differences import structure
from git_nn.differences.changes import Kind
from git_nn.differences.result import ModelDiff, TensorDelta
from git_nn.differences.structure_keys import as_json
from git_nn.objects.pointer import Entry
from git_nn.objects.tensor import Shape

if TYPE_CHECKING:
    from git_nn.differences.numbers import Numbers
    from git_nn.differences.summary import Summary

DIGITS = 9  # decimal places; sums in another order differ behind these


@dataclass(frozen=True, slots=True)
class Span:
    """A distance that is at least ``low`` and at most ``high``; one number where all is known."""

    low: float
    high: float


_RESHAPED = frozenset({Kind.ADDED, Kind.REMOVED, Kind.RESHAPED, Kind.RESIZED, Kind.REPLACED})
_NOTHING, _ALL, _ANY = Span(0, 0), Span(1, 1), Span(0, 1)


@dataclass(frozen=True, slots=True)
class Weights:
    """What each part counts, none below 0 and not all 0."""

    structure: float = 0.3
    parameters: float = 0.6
    metadata: float = 0.1

    def __post_init__(self) -> None:
        values = (self.structure, self.parameters, self.metadata)
        if not all(math.isfinite(value) and value >= 0 for value in values) or not sum(values):
            raise ValueError("weights are numbers of 0 or more, not all of them 0")


@dataclass(frozen=True, slots=True)
class Description:
    """What one version says of itself: its structure, and the files beside it as texts by key.

    ``structure`` is None where it is not here.
    """

    structure: Mapping[str, Any] | None
    beside: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Distance:
    """The parts; ``elements`` is what this file counts among several, ``unread`` the tensors
    whose values are not known."""

    structure: Span
    parameters: Span
    metadata: Span
    elements: int
    unread: int = 0


def total(found: Distance, weights: Weights) -> Span:
    """The weighted mean of the parts."""
    parts = (
        (found.structure, weights.structure),
        (found.parameters, weights.parameters),
        (found.metadata, weights.metadata),
    )
    return _mean(parts)


def combined(found: Sequence[Distance]) -> Distance:
    """The distance of several files: each part the mean, weighted by elements."""
    counts = [one.elements for one in found]
    return Distance(
        _mean((one.structure, one.elements) for one in found),
        _mean((one.parameters, one.elements) for one in found),
        _mean((one.metadata, one.elements) for one in found),
        sum(counts),
        sum(one.unread for one in found),
    )


def whole(diff: ModelDiff) -> Distance:
    """That of a file which only one version has."""
    return Distance(_ALL, _ALL, _ALL, max(_union(diff), 1))


def of_file(diff: ModelDiff, old: Description, new: Description) -> Distance:
    """The distance of two versions of one file, both of which are there."""
    described = old.structure is not None and new.structure is not None
    same = diff.old == diff.new
    if diff.old and diff.new and not same and "opaque" in (diff.old.format, diff.new.format):
        return Distance(_ANY, _ANY, _ANY, max(_union(diff), 1))
    return Distance(
        structure=_structure(diff, old, new),
        parameters=_parameters(diff),
        metadata=_metadata(old, new) if described or same else _ANY,
        elements=max(_union(diff), 1),
        unread=sum(bool(delta.unread) for delta in diff.tensors),
    )


def _mean(parts: Iterable[tuple[Span, float]]) -> Span:
    found = [(span, weight) for span, weight in parts if weight]
    weights = math.fsum(weight for _, weight in found)
    if not weights:
        return _NOTHING
    low = math.fsum(span.low * weight for span, weight in found) / weights
    high = math.fsum(span.high * weight for span, weight in found) / weights
    return Span(round(min(low, 1.0), DIGITS), round(min(high, 1.0), DIGITS))


def _share(differing: int, count: int) -> Span:
    share = round(differing / count, DIGITS) if count else 0.0
    return Span(share, share)


# --- structure and metadata: shares of names that differ ----------------------------------


def _structure(diff: ModelDiff, old: Description, new: Description) -> Span:
    """The share of tensors, layers and nodes that are added, removed or other than before."""
    tensors = sum(delta.kind in _RESHAPED for delta in diff.tensors)
    if diff.old == diff.new:
        return _NOTHING
    if old.structure is None or new.structure is None:
        formats = {pointer.format for pointer in (diff.old, diff.new) if pointer}
        return _ANY if formats & structure.LAYERED else _share(tensors, diff.total)
    # the sides in an order of their own, since what is found by its place may depend on it
    first, second = sorted((old.structure, new.structure), key=as_json)
    layers, count = structure.layers(first, second)
    return _share(tensors + layers, diff.total + count)


def _metadata(old: Description, new: Description) -> Span:
    """The share of keys whose values differ, of the file's own and those beside it."""
    before, after = _keys(old), _keys(new)
    names = {*before, *after}
    return _share(sum(before.get(name) != after.get(name) for name in names), len(names))


def _keys(one: Description) -> dict[str, str]:
    own = structure.keys(one.structure) if one.structure is not None else {}
    return {**{f" {key}": text for key, text in own.items()}, **one.beside}


# --- parameters ---------------------------------------------------------------------------


def _parameters(diff: ModelDiff) -> Span:
    """The mean over all elements; those that only one version has count as 1."""
    lows, highs = [], []
    for delta in diff.tensors:
        common, count = _common(delta), _count(delta)
        moved = _moved(delta) if common else _NOTHING
        lows.append(common * moved.low + (count - common))
        highs.append(common * moved.high + (count - common))
    elements = _union(diff)
    if not elements:
        return _NOTHING
    low, high = (min(math.fsum(found) / elements, 1.0) for found in (lows, highs))
    return Span(round(low, DIGITS), round(high, DIGITS))


def _moved(delta: TensorDelta) -> Span:
    """‖b - a‖ / (‖a‖ + ‖b‖) of the elements that both versions of a tensor have."""
    if delta.kind in (Kind.RENAMED, Kind.RECODED) or not delta.change.bytes_differ:
        return _NOTHING
    numbers = delta.numbers
    if numbers is None:
        return _ANY
    if any((*numbers.nan, *numbers.inf)):
        return _ALL if numbers.changed else _NOTHING
    step = _relative(numbers)
    return Span(step, step)


def _relative(numbers: Numbers) -> float:
    if not numbers.relative:
        return 0.0
    before, after = _size(numbers.before), _size(numbers.after)
    if math.isinf(numbers.relative) or not before:
        return 1.0
    return min(numbers.relative / (1 + after / before), 1.0)


def _size(side: Summary) -> float:
    """The root of the mean of the squares."""
    return math.hypot(side.mean or 0.0, side.std or 0.0)


def _union(diff: ModelDiff) -> int:
    """Elements of both versions, those that both have once."""
    changed = {entry.name for delta in diff.tensors if (entry := delta.change.new)}
    same = (entry for entry in (diff.new.entries if diff.new else ()) if entry.name not in changed)
    return sum(_size_of(entry) for entry in same) + sum(map(_count, diff.tensors))


def _count(delta: TensorDelta) -> int:
    return _size_of(delta.change.old) + _size_of(delta.change.new) - _common(delta)


def _common(delta: TensorDelta) -> int:
    """Elements of a tensor that can be compared one by one."""
    old, new = delta.change.old, delta.change.new
    if old is None or new is None or delta.kind is Kind.REPLACED:
        return 0
    if delta.kind is not Kind.RESIZED:
        return _size_of(new)
    if len(old.shape) != len(new.shape):
        return 0
    return _product([min(a, b) for a, b in zip(old.shape, new.shape, strict=True)])


def _size_of(entry: Entry | None) -> int:
    return 0 if entry is None else _product(entry.shape)


def _product(shape: Shape | Sequence[int]) -> int:
    return math.prod(shape)
