"""dry: a store that gives what another one has, and keeps nothing.

What decides in a merge can so be run to see what it decides: tensors that it would compute or
weave are not even computed, since nobody takes their bytes. Weights that are in Git as they
are stand in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Self

from git_nn.objects.oid import Oid
from git_nn.store.base import Buffer, Store
from git_nn.store.memory import MemoryStore

NOBODY = Oid(bytes(32))


@dataclass(frozen=True, slots=True)
class DryStore:
    """See store.base.Store; ``raw`` holds what is in no other store."""

    store: Store
    raw: MemoryStore = field(default_factory=MemoryStore)

    def _home(self, oid: Oid) -> Store:
        return self.store if self.raw.size(oid) is None else self.raw

    def size(self, oid: Oid) -> int | None:
        return self._home(oid).size(oid)

    def read(self, oid: Oid) -> Iterator[Buffer]:
        return self._home(oid).read(oid)

    def read_range(self, oid: Oid, start: int, stop: int) -> bytes:
        return self._home(oid).read_range(oid, start, stop)

    def parts(self, oid: Oid) -> list[Oid]:
        return self._home(oid).parts(oid)

    def batch(self) -> Nowhere:
        return Nowhere()


class Nowhere:
    """A batch that is dropped: no piece is asked for, and each object is called NOBODY."""

    def put(
        self,
        pieces: Iterable[Buffer],  # noqa: ARG002 - the contract's own
        *,
        dtype: str = "u8",  # noqa: ARG002
        base: Oid | None = None,  # noqa: ARG002
    ) -> tuple[Oid, int]:
        return NOBODY, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass
