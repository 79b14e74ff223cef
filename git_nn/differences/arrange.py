"""arrange: which rows of a comparison are shown, and in which order."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import translate
from math import isnan

from git_nn.differences.groups import Row, grouped, relative, single
from git_nn.differences.result import ModelDiff, TensorDelta
from git_nn.objects.names import escape, natural_key
from git_nn.objects.tensor import nbytes

FEW = 40  # so many tensors are shown one by one; more of them in groups
ROWS = 60  # of groups, where nobody says how many


class Detail(StrEnum):
    """How much a row is."""

    AUTO = "auto"  # tensors where they are few, else groups
    GROUPED = "grouped"
    ALL = "all"


class Sort(StrEnum):
    """By what rows are sorted, the largest first but for names; those without a number last."""

    REL = "rel"
    MAX = "max"
    MEAN = "mean"
    CHANGED = "changed"
    NAME = "name"
    SIZE = "size"


@dataclass(frozen=True, slots=True)
class View:
    """``top`` rows at most; ``patterns`` are globs of which a tensor's escaped name fits one.

    ``tree`` shows the rows below the modules that hold them.
    """

    detail: Detail = Detail.AUTO
    sort: Sort = Sort.REL
    top: int | None = None
    patterns: tuple[str, ...] = ()
    tree: bool = False


def chosen(diff: ModelDiff, view: View) -> list[TensorDelta]:
    """The tensors that fit the patterns, in the order asked for."""
    deltas = list(diff.tensors)
    if view.patterns:
        fits = re.compile("|".join(map(translate, view.patterns))).match
        deltas = [delta for delta in deltas if any(map(fits, _names(delta)))]
    if view.sort is Sort.REL:
        return deltas  # the order in which a ModelDiff has them
    if view.sort is Sort.NAME:
        return sorted(deltas, key=lambda delta: natural_key(delta.name))
    size = _SIZES[view.sort]
    found = [(size(delta), delta) for delta in deltas]
    found.sort(key=lambda pair: (pair[0] is None, -_plain(pair[0]), natural_key(pair[1].name)))
    return [delta for _, delta in found]


def rows(diff: ModelDiff, view: View) -> list[Row]:
    """All rows; the first ``limit`` of them are to be shown."""
    deltas = chosen(diff, view)
    if by_tensor(deltas, view):
        return [single(delta) for delta in deltas]
    return grouped(diff, deltas)


def by_tensor(deltas: Sequence[TensorDelta], view: View) -> bool:
    return view.detail is Detail.ALL or (view.detail is not Detail.GROUPED and len(deltas) <= FEW)


def limit(view: View) -> int | None:
    """How many rows are shown; None for all."""
    if view.top is not None:
        return view.top
    return None if view.detail is Detail.ALL else ROWS


def _names(delta: TensorDelta) -> list[str]:
    entries = {entry.name for entry in (delta.change.new, delta.change.old) if entry}
    return [escape(name) for name in sorted(entries)]


def _plain(size: float | None) -> float:
    return 0.0 if size is None or isnan(size) else size


def _bytes(delta: TensorDelta) -> float:
    entry = delta.change.new or delta.change.old
    return nbytes(entry.dtype, entry.shape) if entry else 0


def _share(delta: TensorDelta) -> float | None:
    numbers = delta.numbers
    return numbers.changed / numbers.elements if numbers and numbers.elements else None


_SIZES: dict[Sort, Callable[[TensorDelta], float | None]] = {
    Sort.REL: relative,
    Sort.MAX: lambda delta: delta.numbers.max_abs if delta.numbers else None,
    Sort.MEAN: lambda delta: delta.numbers.mean_abs if delta.numbers else None,
    Sort.CHANGED: _share,
    Sort.SIZE: _bytes,
}
