"""assignment: which row goes with which column, so that the sum of what is chosen is largest.

The linear assignment problem, solved by shortest augmenting paths (R. Jonker and A. Volgenant,
Computing 38, 1987): columns are reduced, rows that found no column of their own bid for one, and
each row that is left gets a path of least reduced cost. Exact, and the same on every machine
for the same numbers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Places = NDArray[np.int64]


def assign(gain: Doubles) -> Places:
    """For each row of the finite (n, n) matrix its column: the permutation of largest total."""
    cost = np.ascontiguousarray(gain.max(axis=1, keepdims=True) - gain, dtype=np.float64)
    n = len(cost)
    column_of, row_of = np.full(n, -1), np.full(n, -1)
    price = cost.min(axis=0)  # of each column
    for column, row in enumerate(cost.argmin(axis=0)[::-1]):
        if column_of[row] < 0:
            column_of[row], row_of[n - 1 - column] = n - 1 - column, row
    free = _bid(cost, price, column_of, row_of)
    for row in free:
        _augment(cost, price, column_of, row_of, row)
    return column_of


def _bid(cost: Doubles, price: Doubles, column_of: Places, row_of: Places) -> list[int]:
    """Rows without a column take the cheapest one and lower its price; rows still without one."""
    for _ in range(2):
        waiting: list[int] = np.flatnonzero(column_of < 0).tolist()
        budget = 4 * len(cost)
        while waiting:
            row = waiting.pop()
            reduced = cost[row] - price
            best = int(reduced.argmin())
            least = reduced[best]
            reduced[best] = np.inf
            second = reduced.min() if len(reduced) > 1 else least
            loser = int(row_of[best])
            if second > least:
                price[best] -= second - least
            elif loser >= 0:
                continue
            column_of[row], row_of[best] = best, row
            if loser >= 0:
                column_of[loser] = -1
                budget -= 1
                waiting += [loser] if budget > 0 else []
    return np.flatnonzero(column_of < 0).tolist()


def _augment(cost: Doubles, price: Doubles, column_of: Places, row_of: Places, start: int) -> None:
    """Give ``start`` a column along the path of least reduced cost (Dijkstra)."""
    reach = cost[start] - price
    distance = reach.copy()  # of the columns that are not settled; infinite of the others
    before = np.full(len(cost), start)
    is_settled, settled, final = np.zeros(len(cost), dtype=np.bool_), [], []
    while True:
        least = distance.min()
        nearest = np.flatnonzero(distance == least)
        free = nearest[row_of[nearest] < 0]  # of equally near columns one that ends the path
        column = int(free[0] if len(free) else nearest[0])
        row = int(row_of[column])
        if row < 0:
            break
        settled.append(column)
        final.append(least)
        is_settled[column] = True
        distance[column] = np.inf
        np.subtract(cost[row], price, out=reach)
        reach += least - reach[column]
        reach[is_settled] = np.inf
        nearer = reach < distance
        distance[nearer] = reach[nearer]
        before[nearer] = row
    price[settled] += np.array(final) - least
    while True:
        row = int(before[column])
        row_of[column] = row
        column, column_of[row] = int(column_of[row]), column
        if row == start:
            return
