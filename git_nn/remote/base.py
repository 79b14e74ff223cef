"""What a remote is: published packs, by name. The docstrings are the contract.

A pack is immutable and named by the BLAKE3-256 of its bytes; it is published when its index can
be read (docs/spec-remote.md). What a remote says is checked by who asked, never here trusted:
indexes by store.index.parse, packs by their name, frames by their header and checksum.

The contract test is tests/contract/remote_contract.py. Methods may be called from several
threads at once. Every failure that a person can meet is a RemoteError whose message names the
remote (``label``) and never holds a credential; one that may pass by itself has been tried again
before (retry.py).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from git_nn.errors import RemoteError
from git_nn.objects.oid import hashed, oid_of

MAX_PACK = 96 * 1024 * 1024  # bytes; docs/spec-remote.md, rule 5
MAX_INDEX = 64 * 1024 * 1024
_CHUNK = 1024 * 1024
CONNECTIONS = 8  # transfers at once, unless nn.connections says otherwise

Advance = Callable[[int], object]  # told how many bytes have gone or come since the last call


def identity_of(label: str) -> str:
    """``Remote.identity`` of an address without credentials."""
    return oid_of(label.encode("utf-8", "surrogateescape")).hex()[:32]


Begin = Callable[[int], Advance]  # told how many bytes will come or go; gives what counts them


def no_meter(_: int) -> Advance:
    """A ``Begin`` that counts nothing."""
    return silent


def silent(_: int) -> None:
    """An ``Advance`` that tells nobody."""


@dataclass(frozen=True, slots=True)
class Published:
    """A pack that the remote says it has. ``size`` in bytes, None where only its index tells."""

    name: str
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A pack on its way: a file of ``size`` bytes whose BLAKE3-256 is ``name``, and its index."""

    name: str
    size: int
    path: Path
    index: bytes


def bytes_of(pack: Outgoing) -> Iterator[bytes]:
    """The file of a pack, read once; RemoteError at its end where it is not what its name says.

    So who sends these must not let anybody see what has arrived before all of them have been given.
    """
    with pack.path.open("rb") as file:
        oid = yield from hashed(iter(lambda: file.read(_CHUNK), b""))
    if oid.hex() != pack.name:
        raise RemoteError(
            f"{pack.path} does not have the bytes of its pack any more",
            hint="run 'git nn fsck --repair'",
        )


class Remote(AbstractContextManager["Remote", None], Protocol):
    """Packs far away. Use as a context manager, which ends connections."""

    @property
    def label(self) -> str:
        """For messages: the address without credentials."""
        ...

    @property
    def identity(self) -> str:
        """32 hexadecimal digits that stay the same for this place; for the clone's cache."""
        ...

    @property
    def max_pack(self) -> int:
        """Bytes of the largest pack that should be sent."""
        ...

    def packs(self) -> list[Published]:
        """All published packs, in no order; empty for a remote that nothing was sent to yet.

        One round trip, or one for each thousand packs.
        """
        ...

    def indexes(self, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """The indexes of these packs as they come; those that are gone meanwhile are left out."""
        ...

    def expect(self, names: Collection[str]) -> None:
        """Packs that will be read soon, in this order: what can be asked of many at once may be."""
        ...

    def read(self, name: str, start: int, stop: int) -> Iterator[bytes]:
        """Bytes [start, stop) of a published pack, as they come, each byte once and in order.

        Breaks in the middle are mended by asking for the rest. RemoteError where the bytes
        cannot be had, or are fewer or more than asked for.
        """
        ...

    def publish(self, packs: Sequence[Outgoing], advance: Advance = silent) -> None:
        """Send packs, make sure that all of each has arrived, then publish them all.

        Packs that are there already are not sent again. After an error none or some of them
        are published, and none that is not whole.
        """
        ...

    def remove(self, names: Collection[str]) -> None:
        """Take published packs away, their indexes first. RemoteError where that cannot be."""
        ...
