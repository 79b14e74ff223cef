"""What a store is: a set of objects by oid. The docstrings are the contract.

An object is raw bytes of any length, known by the BLAKE3-256 of those bytes. How it is
cut into segments, encoded and packed is the store's own affair and never shows in an
oid. The contract test is tests/contract/store_contract.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

from git_nn.objects.oid import Oid

SEGMENT = 4 * 1024 * 1024  # raw bytes per segment; a multiple of every element size

Buffer = bytes | bytearray | memoryview


class Batch(AbstractContextManager["Batch", None], Protocol):
    """Objects on their way into a store; use as a context manager.

    Leaving the block without an exception makes every object of the batch durable
    (pack, index, folders synced) before it returns. Leaving it with an exception drops
    the whole batch and leaves the store as it was. Objects of a batch may be invisible
    to readers until then.
    """

    def put(
        self, pieces: Iterable[Buffer], *, dtype: str = "u8", base: Oid | None = None
    ) -> tuple[Oid, int]:
        """Add one object, given in pieces of any length; returns (oid, length).

        ``dtype`` and ``base``, an object of the store that is likely to be similar, are only
        advice about how to encode it. Adding an object that is there
        already costs no space and is no error; its pack counts as fresh for gc.
        """
        ...


class Store(Protocol):
    """Objects that are durable. Any number of processes may read and write at once."""

    def size(self, oid: Oid) -> int | None:
        """Raw length in bytes, or None where the object is not (wholly) here."""
        ...

    def read(self, oid: Oid) -> Iterator[Buffer]:
        """The raw bytes in pieces of at most SEGMENT bytes, each verified before it is given.

        Raises MissingObjectError or DamagedObjectError; never gives wrong bytes. A piece
        may be a buffer that is reused for the next one.
        """
        ...

    def read_range(self, oid: Oid, start: int, stop: int) -> bytes:
        """Bytes [start, stop) of an object, or as far as it goes; only the segments that hold
        them are read and verified. Raises as ``read`` does."""
        ...

    def parts(self, oid: Oid) -> list[Oid]:
        """The ids of the object's segments, cut every SEGMENT bytes; its own where it is one.

        Equal ids at one place are equal bytes there. Raises as ``read`` does; nothing is decoded.
        """
        ...

    def batch(self) -> Batch: ...


def read_bytes(store: Store, oid: Oid) -> bytes:
    """A whole object in memory; for skeletons and small tensors."""
    return b"".join(bytes(piece) for piece in store.read(oid))
