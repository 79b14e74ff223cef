"""The content of a pointer as a source: any range of the file, read from the store on demand."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from git_nn.errors import LayoutError
from git_nn.objects.oid import Oid
from git_nn.objects.pointer import Pointer
from git_nn.objects.skeleton import Blob, Crc32, Crc32Chain, Literal, Part, Run, Skeleton
from git_nn.store.base import Store


@dataclass(frozen=True)
class StoredSource:
    """Reads as the file would, but for computed checksums, which read as zeros."""

    pointer: Pointer
    skeleton: Skeleton
    store: Store
    starts: tuple[int, ...]

    @classmethod
    def of(cls, pointer: Pointer, skeleton: Skeleton, store: Store) -> StoredSource:
        ends = accumulate((run.length for run in skeleton.runs), initial=0)
        return cls(pointer, skeleton, store, tuple(ends))

    @property
    def size(self) -> int:
        return self.starts[-1]

    def read(self, offset: int, length: int) -> bytes:
        if offset < 0 or length < 0 or offset + length > self.size:
            raise LayoutError("read beyond the end of the file")
        pieces = []
        at = bisect_right(self.starts, offset) - 1
        while length:
            run, inside = self.skeleton.runs[at], offset - self.starts[at]
            piece = self._piece(run, inside, min(length, run.length - inside))
            pieces.append(piece)
            offset, length, at = offset + len(piece), length - len(piece), at + 1
        return b"".join(pieces)

    def _piece(self, run: Run, start: int, length: int) -> bytes:
        match run:
            case Literal():
                return run.data[start : start + length]
            case Blob():
                return self._stored(run.oid, start, length)
            case Part():
                oid = self.pointer.stored[run.payload].oid
                return self._stored(oid, run.offset + start, length)
            case Crc32() | Crc32Chain():
                return bytes(length)

    def _stored(self, oid: Oid, start: int, length: int) -> bytes:
        return b"".join(_window(self.store, oid, start, start + length))


def _window(store: Store, oid: Oid, start: int, stop: int) -> Iterator[bytes]:
    at = 0
    for piece in store.read(oid):
        if at >= stop:
            return
        yield bytes(memoryview(piece)[max(start - at, 0) : stop - at])
        at += len(piece)
