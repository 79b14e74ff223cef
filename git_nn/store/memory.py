"""A store in memory: for tests, and for comparing files that are not to be kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Self

from git_nn.errors import MissingObjectError
from git_nn.objects.oid import Oid, oid_of
from git_nn.store.base import SEGMENT, Buffer


class MemoryStore:
    """See store.base.Store."""

    def __init__(self) -> None:
        self._objects: dict[Oid, bytes] = {}

    def size(self, oid: Oid) -> int | None:
        found = self._objects.get(oid)
        return None if found is None else len(found)

    def read(self, oid: Oid) -> Iterator[Buffer]:
        found = self._objects.get(oid)
        if found is None:
            raise MissingObjectError(oid.hex())
        for start in range(0, max(len(found), 1), SEGMENT):
            yield found[start : start + SEGMENT]

    def read_range(self, oid: Oid, start: int, stop: int) -> bytes:
        found = self._objects.get(oid)
        if found is None:
            raise MissingObjectError(oid.hex())
        return found[start:stop]

    def parts(self, oid: Oid) -> list[Oid]:
        return [oid_of(bytes(piece)) for piece in self.read(oid)]

    def batch(self) -> MemoryBatch:
        return MemoryBatch(self._objects)


class MemoryBatch:
    """See store.base.Batch."""

    def __init__(self, objects: dict[Oid, bytes]) -> None:
        self._objects = objects
        self._new: dict[Oid, bytes] = {}

    def put(
        self,
        pieces: Iterable[Buffer],
        *,
        dtype: str = "u8",  # noqa: ARG002
        base: Oid | None = None,  # noqa: ARG002
    ) -> tuple[Oid, int]:
        data = b"".join(bytes(piece) for piece in pieces)
        oid = oid_of(data)
        self._new[oid] = data
        return oid, len(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._objects.update(self._new)
