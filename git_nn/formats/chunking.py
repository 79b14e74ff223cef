"""Content-defined cuts of literal bytes: the chunks of long literal runs and opaque files.

Specified in docs/spec-chunking.md; skeletons hold the chunks' oids, so none of the
numbers here may ever change. A cut is allowed where a hash of the 16 bytes before it says
so: bytes inserted at one place move the cuts near that place and no others. The chunks
depend only on the content, not on the pieces in which it comes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN = 16 * 1024
MAX = 256 * 1024
WINDOW = 16
C = 0x9E3779B1
D = 0x85EBCA77
LIMIT = 0xFFFF0000  # a hash at or above it allows a cut: one position in 2**16

_BLOCK = 64 * 1024  # positions looked at in one go; their hashes stay in the cache


def cuts(pieces: Iterable[bytes | bytearray | memoryview]) -> Iterator[bytes]:
    """The chunks of the concatenation of ``pieces``: MIN to MAX bytes, the last may be shorter."""
    buffer = bytearray()
    for piece in pieces:
        buffer += piece
        start = 0
        while len(buffer) - start >= MAX:
            stop = start + _length(memoryview(buffer)[start : start + MAX])
            yield bytes(memoryview(buffer)[start:stop])
            start = stop
        if start:
            buffer = buffer[start:]
    while buffer:
        length = _length(memoryview(buffer)[:MAX])
        yield bytes(memoryview(buffer)[:length])
        buffer = buffer[length:]


def _length(data: memoryview) -> int:
    """Length of the chunk at the start of ``data``, which has MAX bytes or is all the rest."""
    for start in range(MIN, len(data), _BLOCK):
        stop = min(start + _BLOCK, len(data))
        cut = _first_cut(data[start - WINDOW : stop - 1])
        if cut is not None:
            return start + cut
    return len(data)


def _first_cut(data: memoryview) -> int | None:
    """The smallest i for which the hash of data[i : i + WINDOW] allows a cut."""
    import numpy as np

    found = []
    for phase in range(4):  # the windows that start at phase, phase + 4, phase + 8, ...
        count = (len(data) - phase) // 4
        words = np.frombuffer(data, dtype="<u4", count=count, offset=phase).copy()
        hits = np.flatnonzero(_hashes(words) >= np.uint32(LIMIT))
        if hits.size:
            found.append(phase + 4 * int(hits[0]))
    return min(found, default=None)


def _hashes(words: NDArray[Any]) -> NDArray[Any]:
    """One hash for each four consecutive words, mod 2**32; none where there are fewer."""
    import numpy as np

    pairs = words[:-1] * np.uint32(C)
    pairs += words[1:]
    quads = pairs[:-2] * np.uint32(D)
    quads += pairs[2:]
    return quads
