"""Pieces of any length to segments of SEGMENT bytes, in buffers that are used again.

Fresh memory is what a pipeline at a gigabyte per second pays most for, so buffers are
lent and given back. A piece that is a segment by itself, and cannot change, is passed on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from git_nn.store.base import SEGMENT, Buffer


@dataclass(frozen=True, slots=True)
class Segment:
    """Raw bytes that stay as they are until ``buffer`` is given back."""

    data: Buffer
    buffer: bytearray | None


class Cutter:
    """Cuts objects one after the other; not for several threads."""

    def __init__(self) -> None:
        self._free: list[bytearray] = []

    def cut(self, pieces: Iterable[Buffer]) -> Iterator[Segment]:
        """Segments of SEGMENT bytes and a shorter last one; none for an empty object."""
        rest_of = iter(pieces)
        first = next(rest_of, b"")
        if isinstance(first, bytes) and len(first) <= SEGMENT:
            second = next(rest_of, None)
            if second is None:  # an object in one piece, as most small ones are
                if first:
                    yield Segment(first, None)
                return
            rest_of = chain((second,), rest_of)
        yield from self._cut(chain((first,), rest_of))

    def _cut(self, pieces: Iterable[Buffer]) -> Iterator[Segment]:
        buffer: bytearray | None = None
        filled = 0
        for piece in pieces:
            rest = memoryview(piece).cast("B")
            while rest:
                if buffer is None:
                    if isinstance(piece, bytes) and len(rest) >= SEGMENT:
                        yield Segment(rest[:SEGMENT], None)
                        rest = rest[SEGMENT:]
                        continue
                    buffer, filled = self._lend(), 0
                taken = min(len(rest), SEGMENT - filled)
                buffer[filled : filled + taken] = rest[:taken]
                filled, rest = filled + taken, rest[taken:]
                if filled == SEGMENT:
                    yield Segment(buffer, buffer)
                    buffer = None
        if buffer is not None:
            yield Segment(memoryview(buffer)[:filled], buffer)

    def _lend(self) -> bytearray:
        return self._free.pop() if self._free else bytearray(SEGMENT)

    def give_back(self, segment: Segment) -> None:
        if segment.buffer is not None:
            self._free.append(segment.buffer)
