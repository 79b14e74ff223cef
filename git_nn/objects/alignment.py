"""alignment: the layers of two versions of a stack, paired in order like lines in a diff.

The pairing is the one with the largest total likeness; only what beats the equal numbers is
one. Layers between two pairs, as many on both sides, are pairs too: they changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

Likeness = Mapping[tuple[int, int], float]  # (old layer, new layer) -> 0 to 1; 0 is left out


def aligned(old: Sequence[int], new: Sequence[int], likeness: Likeness) -> dict[int, int]:
    """{old number: new number} of ascending numbers; equal numbers where nothing is better."""
    same = sum(likeness.get((i, i), 0.0) for i in old)
    best = [[0.0] * (len(new) + 1) for _ in range(len(old) + 1)]
    for a in range(len(old) - 1, -1, -1):
        for b in range(len(new) - 1, -1, -1):
            pair = likeness.get((old[a], new[b]), 0.0)
            best[a][b] = max(best[a + 1][b], best[a][b + 1], pair + best[a + 1][b + 1])
    if best[0][0] <= same + 1e-9:
        return {i: i for i in sorted({*old} & {*new})}
    pairs, a, b = [(-1, -1)], 0, 0
    while a < len(old) and b < len(new):
        pair = likeness.get((old[a], new[b]), 0.0)
        if pair and best[a][b] == pair + best[a + 1][b + 1]:
            pairs.append((a, b))
            a, b = a + 1, b + 1
        elif best[a][b] == best[a + 1][b]:
            a += 1
        else:
            b += 1
    return _with_gaps(old, new, [*pairs, (len(old), len(new))])


def _with_gaps(
    old: Sequence[int], new: Sequence[int], pairs: list[tuple[int, int]]
) -> dict[int, int]:
    moved: dict[int, int] = {}
    for (a, b), (c, d) in pairwise(pairs):
        if c - a == d - b:
            moved |= {old[a + k]: new[b + k] for k in range(1, c - a)}
        if c < len(old):
            moved[old[c]] = new[d]
    return moved
