"""A store that keeps nothing new: its batches only say what the oids would be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from blake3 import blake3

from git_nn.errors import MissingObjectError
from git_nn.objects.oid import Oid
from git_nn.store.base import Buffer, Store


@dataclass(frozen=True, slots=True)
class HashOnly:
    """See store.base.Store; what is read is what another store has, if there is one."""

    beneath: Store | None = None

    def size(self, oid: Oid) -> int | None:
        return None if self.beneath is None else self.beneath.size(oid)

    def read(self, oid: Oid) -> Iterator[Buffer]:
        if self.beneath is None:
            raise MissingObjectError(oid.hex())
        return self.beneath.read(oid)

    def read_range(self, oid: Oid, start: int, stop: int) -> bytes:
        if self.beneath is None:
            raise MissingObjectError(oid.hex())
        return self.beneath.read_range(oid, start, stop)

    def parts(self, oid: Oid) -> list[Oid]:
        if self.beneath is None:
            raise MissingObjectError(oid.hex())
        return self.beneath.parts(oid)

    def batch(self) -> HashBatch:
        return HashBatch()


class HashBatch:
    """See store.base.Batch."""

    def put(
        self,
        pieces: Iterable[Buffer],
        *,
        dtype: str = "u8",  # noqa: ARG002
        base: Oid | None = None,  # noqa: ARG002
    ) -> tuple[Oid, int]:
        hasher = blake3()
        length = 0
        for piece in pieces:
            hasher.update(piece)
            length += memoryview(piece).nbytes
        return Oid(hasher.digest()), length

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None
