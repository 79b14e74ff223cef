"""Elements in the order of small keys, and back: a stable counting sort in cached chunks.

numpy sorts a whole segment three times slower than its chunks, and for more memory; the
chunks' runs of equal keys then go to their places one by one, a few dozen per chunk.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from git_nn.codec import scratch
from git_nn.codec.scratch import Array

_CHUNK = 64 * 1024

Run = tuple[slice, slice]


def count(keys: Array, most: int) -> Array:
    """How many elements of each key there are in each chunk, (chunks, most) i64."""
    chunks = range(0, len(keys), _CHUNK)
    counts = np.zeros((len(chunks), most), np.int64)
    for row, start in zip(counts, chunks, strict=True):
        row[:] = np.bincount(keys[start : start + _CHUNK], minlength=most)
    return counts


def gather(values: Array, keys: Array, counts: Array, out: Array) -> None:
    """``values`` by ascending key, equal ones by position, into ``out``."""
    for at, order, runs in _chunks(keys, counts):
        ordered = scratch.array("ordered", len(order), values.dtype.str)
        np.take(values[at], order, out=ordered, mode="clip")
        for place, run in runs:
            out[place] = ordered[run]


def scatter(values: Array, keys: Array, counts: Array, out: Array) -> None:
    """The inverse of ``gather``."""
    for at, order, runs in _chunks(keys, counts):
        ordered = scratch.array("ordered", len(order), values.dtype.str)
        for place, run in runs:
            ordered[run] = values[place]
        out[at][order] = ordered


def _chunks(keys: Array, counts: Array) -> Iterator[tuple[slice, Array, list[Run]]]:
    """For each chunk: where it is, its order, and (place in the whole, place in the chunk)."""
    total = counts.sum(axis=0)
    places = np.cumsum(total) - total + np.cumsum(counts, axis=0) - counts
    for i, start in enumerate(range(0, len(keys), _CHUNK)):
        at = slice(start, min(start + _CHUNK, len(keys)))
        present = np.flatnonzero(counts[i])
        lengths = counts[i][present]
        ends = np.cumsum(lengths)
        table = zip(places[i][present].tolist(), ends.tolist(), lengths.tolist(), strict=True)
        runs = [(slice(p, p + n), slice(end - n, end)) for p, end, n in table]
        yield at, np.argsort(keys[at], kind="stable"), runs
