"""A store that keeps nothing: its batches only say what the oids would be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

from blake3 import blake3

from git_nn.errors import MissingObjectError
from git_nn.objects.oid import Oid
from git_nn.store.base import Buffer


class HashOnly:
    """See store.base.Store; every object is missing."""

    def size(self, oid: Oid) -> int | None:  # noqa: ARG002
        return None

    def read(self, oid: Oid) -> Iterator[Buffer]:
        raise MissingObjectError(oid.hex())

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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None
