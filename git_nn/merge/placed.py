"""placed: one side's tensor, its rows brought to where the result of a merge has their tokens.

Words as in merge/tokens.py. Rules:
1. After it row i of all three versions belongs to the same token, so that they can be merged
   row by row, or computed with, as any tensor.
2. A row that a side does not have is filled in so that it decides nothing: of one side, or of
   the base, it is the row of those that have it. Where both sides added the token the base
   has zeros.
3. A row without a token (of a vocabulary that is padded) is matched by its number.
4. Memory does not grow with the tensor: it goes in runs of rows that lie one after the other in
   the side that they are from, of up to BLOCK bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from git_nn.arrays import Array
from git_nn.merge.tokens import Ids, Placement, length

BLOCK = 4 * 1024 * 1024

Buffer = bytes | bytearray | memoryview
Read = Callable[[int, int], Buffer]  # the bytes [start, stop) of a packed tensor

BASE, OURS, THEIRS = range(3)
_FILL = {BASE: (OURS, THEIRS), OURS: (THEIRS, BASE), THEIRS: (OURS, BASE)}


@dataclass(frozen=True, slots=True)
class Order:
    """For each row of the result and each side, (3, rows), from which side its row is taken
    (below 0: zeros), and which row of that side."""

    sides: Array
    rows: Array

    def __len__(self) -> int:
        return int(self.rows.shape[1])

    def is_kept(self, side: int, rows: int) -> bool:
        """Whether a tensor of that many rows stays as it is."""
        own = (self.sides[side] == side).all() and (self.rows[side] == np.arange(len(self))).all()
        return bool(own) and rows == len(self)


def order(placement: Placement, rows: Sequence[int]) -> Order:
    """The order for tensors that have so many ``rows`` in base, ours and theirs."""
    result = placement.result
    pairs = list(zip(rows, placement.sides, strict=True))
    total = length(result)
    if any(count > length(ids) for count, ids in pairs):  # padded
        total = max(total, *rows[OURS:])
    own = np.stack([_own(count, ids, result, total) for count, ids in pairs])
    there = own >= 0
    sides = np.full_like(own, -1)
    for side, others in _FILL.items():
        for other in (*reversed(others), side):
            sides[side][there[other]] = other
    sides[BASE][~there[BASE] & there[OURS] & there[THEIRS]] = -1
    found = np.zeros_like(own)
    for side in (BASE, OURS, THEIRS):
        found = np.where(sides == side, own[side], found)
    return Order(sides, found)


def _own(rows: int, ids: Ids, result: Ids, total: int) -> Array:
    """The row of one side for each of the ``total`` rows of the result; -1 where it has none."""
    found = np.full(total, -1, dtype=np.int64)
    plain = min(rows, total)
    found[:plain] = np.arange(plain)
    tokens = np.fromiter(ids.values(), dtype=np.int64, count=len(ids))
    found[tokens[tokens < total]] = -1
    for token, at in result.items():
        found[at] = ids.get(token, -1)
    return found


def placed(side: int, reads: Sequence[Read], unit: int, order: Order) -> Iterator[Buffer]:
    """The bytes of one side's tensor in ``order``; ``reads`` are those of base, ours and theirs,
    ``unit`` the size of a row in bytes."""
    sides, rows = order.sides[side], order.rows[side]
    goes_on = (np.diff(sides) == 0) & ((np.diff(rows) == 1) | (sides[1:] < 0))
    borders = [0, *(np.flatnonzero(~goes_on) + 1).tolist(), len(order)]
    most = max(BLOCK // unit, 1)
    for first, last in pairwise(borders):
        for start in range(first, last, most):
            count, source, row = min(most, last - start), int(sides[start]), int(rows[start])
            yield (
                bytes(count * unit)
                if source < 0
                else reads[source](row * unit, (row + count) * unit)
            )
