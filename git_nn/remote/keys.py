"""keys: a remote that is a key-value store - a folder, a folder over SSH, a bucket.

The keys are the paths of a store (docs/spec-remote.md), so a folder remote is a store. What
differs between the media is in a ``Keys`` each; what is the same stands here: which key comes
after which, what is sent again, and how many at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeVar

from git_nn.errors import RemoteError
from git_nn.remote.base import (
    CONNECTIONS,
    MAX_INDEX,
    Advance,
    Outgoing,
    Published,
    identity_of,
    silent,
)
from git_nn.remote.retry import persistently, resumed
from git_nn.store.folders import INDEX, PACK, format_text

PACKS = "packs/"
FORMAT = "format"
TARGET = 64 * 1024 * 1024  # bytes of a pack
_KEY = re.compile(r"packs/([0-9a-f]{2})/(\1[0-9a-f]{62})(\.nnp|\.idx)\Z")
_UPGRADE = "upgrade git-nn"

Item = TypeVar("Item")
Found = TypeVar("Found")


class Keys(Protocol):
    """Values by key. Any thread may call. A failure is a RemoteError, transient where it may pass.

    No method tries twice; that is done here. A key that is not there is a FileNotFoundError.
    """

    @property
    def label(self) -> str:
        """For messages: the address without credentials."""
        ...

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Each key that starts with ``prefix``, which ends with a slash, and its size in bytes.

        Nothing where nothing was ever written, whatever is missing for that.
        """
        ...

    def read(self, key: str, start: int, stop: int | None) -> Iterator[bytes]:
        """Bytes [start, stop) of a value, to its end for None. May break off with an error."""
        ...

    def write(self, key: str, value: Path | bytes, advance: Advance) -> None:
        """Make ``key`` have the bytes of a file or these; nobody sees less than all of them.

        A key that is there already has the same bytes and may be left or replaced.
        """
        ...

    def size(self, key: str) -> int | None:
        """In bytes, as the medium itself says now; None where the key is not there."""
        ...

    def move(self, key: str, target: str) -> None:
        """Give a value another key."""
        ...

    def remove(self, key: str) -> None:
        """Take a key away; nothing where it is not there."""
        ...

    def close(self) -> None: ...


class KeyedRemote:
    """A Remote (see remote/base.py) over ``Keys``."""

    max_pack = TARGET

    def __init__(self, keys: Keys, *, connections: int = CONNECTIONS) -> None:
        self.keys = keys
        self._connections = connections

    @property
    def label(self) -> str:
        return self.keys.label

    @property
    def identity(self) -> str:
        return identity_of(self.label)

    def packs(self) -> list[Published]:
        sizes: dict[str, dict[str, int]] = {PACK: {}, INDEX: {}}
        for key, size in persistently(lambda: list(self.keys.list(PACKS))):
            match = _KEY.match(key)
            if match:
                sizes[match[3]][match[2]] = size
        return [
            Published(name, sizes[PACK][name])
            for name, size in sizes[INDEX].items()
            if name in sizes[PACK] and size <= MAX_INDEX
        ]

    def indexes(self, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
        found = self._each(self._index, sorted(names))
        yield from ((name, data) for name, data in found if data is not None)

    def _index(self, name: str) -> tuple[str, bytes | None]:
        try:
            return name, self._value(key_of(name, INDEX), MAX_INDEX)
        except FileNotFoundError:
            return name, None

    def _value(self, key: str, limit: int) -> bytes:
        def read() -> bytes:
            data = bytearray()
            for piece in self.keys.read(key, 0, None):
                data += piece
                if len(data) > limit:
                    raise RemoteError(f"{self.label}: {key} is too large")
            return bytes(data)

        return persistently(read)

    def read(self, name: str, start: int, stop: int) -> Iterator[bytes]:
        key = key_of(name, PACK)

        def read(at: int) -> Iterator[bytes]:
            return self.keys.read(key, at, stop)

        try:
            yield from resumed(read, start, stop, self.label)
        except FileNotFoundError as error:
            raise RemoteError(
                f"{self.label}: the pack {name[:12]} is gone", hint="run 'git nn fetch' again"
            ) from error

    def publish(self, packs: Sequence[Outgoing], advance: Advance = silent) -> None:
        if not packs:
            return
        self._ensure_format()
        for _ in self._each(lambda pack: self._send(pack, advance), packs):
            pass
        for _ in self._each(self._name, packs):
            pass

    def _ensure_format(self) -> None:
        try:
            text = self._value(FORMAT, 65536)
        except FileNotFoundError:
            persistently(lambda: self.keys.write(FORMAT, format_text(), silent))
            return
        if text != format_text():
            what = text.splitlines()[0][:80] if text else b""
            raise RemoteError(
                f"{self.label} has a format that this git-nn does not know: {what!r}", hint=_UPGRADE
            )

    def _send(self, pack: Outgoing, advance: Advance) -> None:
        """The pack, unless it is there; what has arrived is measured where it is."""
        key = key_of(pack.name, PACK)
        if persistently(lambda: self.keys.size(key)) == pack.size:
            advance(pack.size)
            return
        persistently(lambda: self.keys.write(key, pack.path, advance))
        arrived = persistently(lambda: self.keys.size(key))
        if arrived != pack.size:
            raise RemoteError(
                f"{self.label}: of {pack.size} bytes of a pack {arrived or 0} have arrived",
                hint="run the same command again",
            )

    def _name(self, pack: Outgoing) -> None:
        key = key_of(pack.name, INDEX)
        persistently(lambda: self.keys.write(key, pack.index, silent))

    def remove(self, names: Collection[str]) -> None:
        for suffix in (INDEX, PACK):
            keys = [key_of(name, suffix) for name in sorted(names)]
            for _ in self._each(lambda key: persistently(lambda: self.keys.remove(key)), keys):
                pass

    def _each(self, work: Callable[[Item], Found], items: Sequence[Item]) -> Iterator[Found]:
        """``work`` of every item, several at once; the first failure ends it."""
        if len(items) < 2:
            yield from map(work, items)
            return
        with closing(_Pool(self._connections)) as pool:
            yield from pool.executor.map(work, items)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.keys.close()


class _Pool:
    """Threads that do not begin what waits once the block has ended."""

    def __init__(self, size: int) -> None:
        self.executor = ThreadPoolExecutor(size, "git-nn-remote")

    def close(self) -> None:
        self.executor.shutdown(cancel_futures=True)


def key_of(name: str, suffix: str) -> str:
    """The key of a pack or of its index."""
    return f"{PACKS}{name[:2]}/{name}{suffix}"
