"""relations: what a change of values *is*, where a few words say more than its size.

A relation is claimed only where it holds for every element (docs/diff.md); the numbers of a
change tell first whether looking is worth it, since looking reads both tensors whole.
"""

from __future__ import annotations

from collections import Counter
from math import prod

import numpy as np

from git_nn.arrays import Array, as_float64, element_bits
from git_nn.differences.changes import Change, Kind
from git_nn.differences.numbers import Numbers
from git_nn.differences.result import Readable, Relation, Word
from git_nn.objects.tensor import BLOCKS

FEW = 8  # elements; one number is always another one times something
LARGEST = 1 << 28  # elements of a tensor that is read whole for this


def from_numbers(numbers: Numbers, kind: Kind) -> list[Relation]:
    """What the numbers alone tell."""
    found = []
    strange = any((*numbers.nan, *numbers.inf))  # of which neither number knows
    if kind is Kind.CHANGED and numbers.changed and not strange:
        if numbers.ulps is not None and numbers.ulps <= 1:
            found.append(Relation(Word.REROUNDED))
        elif numbers.scale is not None and numbers.elements >= FEW:
            found.append(Relation(Word.SCALED, value=numbers.scale))
    return found


def from_values(change: Change, numbers: Numbers, old: Readable, new: Readable) -> list[Relation]:
    """What comparing the values in another order tells; reads tensors only where it may."""
    if not _may_be_reordered(change, numbers):
        return []
    assert change.old is not None
    assert change.new is not None
    before, after = old.array(change.old.name), new.array(change.new.name)
    if before is None or after is None:
        return []
    if before.shape == after.shape[::-1] and _same_bits(before.T, after):
        return [Relation(Word.TRANSPOSED)]
    if change.kind is Kind.CHANGED and Counter(row_ids(before)) == Counter(row_ids(after)):
        return [Relation(Word.PERMUTED)]
    if change.kind is Kind.RESIZED:
        return _inserted(row_ids(before), row_ids(after))
    return []


def _may_be_reordered(change: Change, numbers: Numbers) -> bool:
    old, new = change.old, change.new
    if old is None or new is None or old.dtype != new.dtype or old.dtype in BLOCKS:
        return False
    if len(new.shape) < 2 or max(prod(old.shape), prod(new.shape)) > LARGEST:
        return False
    if change.kind is Kind.RESIZED:
        rows_only = old.shape[1:] == new.shape[1:]
        return rows_only and bool(numbers.changed)
    if change.kind not in {Kind.CHANGED, Kind.RESHAPED} or not numbers.changed:
        return False
    left, right = numbers.before, numbers.after  # a new order leaves all of these
    return (left.low, left.high, left.zero, left.nan, left.inf) == (
        right.low, right.high, right.zero, right.nan, right.inf,
    )  # fmt: skip


def _same_bits(one: Array, other: Array) -> bool:
    return np.array_equal(element_bits(one), element_bits(other))


def row_ids(array: Array) -> list[bytes]:
    """The rows of a tensor, along its first dimension, as their bytes."""
    return [np.ascontiguousarray(row).tobytes() for row in array]


def _inserted(old: list[bytes], new: list[bytes]) -> list[Relation]:
    """ROWS where the shorter one's rows stand in the longer one in their order."""
    few, many = sorted((old, new), key=len)
    rest = iter(many)
    if all(row in rest for row in few):
        return [Relation(Word.ROWS, value=len(new) - len(old))]
    return []


def ranks(change: Change, old: Readable, new: Readable) -> list[Relation]:
    """The rank of a matrix's change, where it is low, and its effective rank."""
    from git_nn.differences.rank import effective_rank, low_rank

    shape = change.new.shape if change.new else ()
    if change.kind not in {Kind.CHANGED, Kind.CAST} or len(shape) != 2 or prod(shape) > LARGEST:
        return []
    assert change.old is not None
    assert change.new is not None
    before, after = old.array(change.old.name), new.array(change.new.name)
    if before is None or after is None or "c" in (before.dtype.kind, after.dtype.kind):
        return []
    step = as_float64(after) - as_float64(before)
    if not np.isfinite(step).all():
        return []
    found = []
    low, effective = low_rank(step), effective_rank(step)
    if low is not None:
        found.append(Relation(Word.LOW_RANK, value=low))
    if effective is not None:
        found.append(Relation(Word.EFFECTIVE_RANK, value=effective))
    return found
