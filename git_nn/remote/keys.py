"""keys: a remote that is a key-value store - a folder, a folder over SSH, a bucket.

The keys are the paths of a store (docs/spec-remote.md), so a folder remote is a store. What
differs between the media is in a ``Keys`` each; what is the same stands here: which key comes
after which, what is sent again, and how many at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self, TypeVar

from git_nn.errors import RemoteError
from git_nn.remote.base import (
    CONNECTIONS,
    MAX_INDEX,
    Advance,
    Outgoing,
    Published,
    bytes_of,
    identity_of,
    silent,
)
from git_nn.remote.retry import persistently, resumed
from git_nn.store.folders import INDEX, PACK, format_text

PACKS = "packs/"
TRASH = "trash/"
FORMAT = "format"
TARGET = 64 * 1024 * 1024  # bytes of a pack
_KEY = re.compile(r"packs/([0-9a-f]{2})/(\1[0-9a-f]{62})(\.nnp|\.idx)\Z")
_TRASHED = re.compile(r"trash/([0-9]{8}T[0-9]{6}Z)/([0-9a-f]{64})(\.nnp|\.idx)\Z")
_UPGRADE = "upgrade git-nn"

Item = TypeVar("Item")
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Value:
    """A key, the size of its value in bytes, and when it was written, by the medium's clock."""

    key: str
    size: int
    modified: float


@dataclass(frozen=True, slots=True)
class Content:
    """``size`` bytes to be written; ``pieces`` gives them anew for each try.

    It raises RemoteError, maybe after the last of them, where they are not what they should be.
    ``file`` has them, too, for a medium that can share its blocks.
    """

    size: int
    pieces: Callable[[], Iterator[bytes]]
    file: Path | None = None

    @classmethod
    def of(cls, data: bytes) -> Content:
        return cls(len(data), lambda: iter((data,)))


@dataclass(frozen=True, slots=True)
class Kept:
    """What stands of a pack and its index: bytes, and when the younger of both was written."""

    size: int
    modified: float


@dataclass(frozen=True, slots=True)
class Trashed:
    """A pack or index in the trash; ``time`` is when it came there, as docs/spec-remote.md."""

    time: str
    name: str
    suffix: str

    @property
    def key(self) -> str:
        return f"{TRASH}{self.time}/{self.name}{self.suffix}"


class Keys(Protocol):
    """Values by key. Any thread may call. A failure is a RemoteError, transient where it may pass.

    No method tries twice; that is done here. A key that is not there is a FileNotFoundError.
    """

    @property
    def label(self) -> str:
        """For messages: the address without credentials."""
        ...

    def list(self, prefix: str) -> Iterator[Value]:
        """What has a key that starts with ``prefix``, which ends with a slash.

        Nothing where nothing was ever written, whatever is missing for that.
        """
        ...

    def read(self, key: str, start: int, stop: int | None) -> Iterator[bytes]:
        """Bytes [start, stop) of a value, to its end for None. May break off with an error."""
        ...

    def write(self, key: str, content: Content, advance: Advance) -> None:
        """Make ``key`` have these bytes; nobody sees less than all of them, or wrong ones.

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
        self._arrived: dict[str, int] | None = None  # packs and their sizes when last listed

    @property
    def label(self) -> str:
        return self.keys.label

    @property
    def identity(self) -> str:
        return identity_of(self.label)

    def packs(self) -> list[Published]:
        sizes: dict[str, dict[str, int]] = {PACK: {}, INDEX: {}}
        for name, suffix, value in self._listed():
            sizes[suffix][name] = value.size
        self._arrived = sizes[PACK]
        return [
            Published(name, sizes[PACK][name])
            for name, size in sizes[INDEX].items()
            if name in sizes[PACK] and size <= MAX_INDEX
        ]

    def _listed(self) -> Iterator[tuple[str, str, Value]]:
        """(name, suffix, value) of all packs and indexes."""
        for value in persistently(lambda: list(self.keys.list(PACKS))):
            match = _KEY.match(value.key)
            if match:
                yield match[2], match[3], value

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

    def expect(self, names: Collection[str]) -> None:
        """Nothing to ask: a key says where its value is."""

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
            persistently(lambda: self.keys.write(FORMAT, Content.of(format_text()), silent))
            return
        if text != format_text():
            what = text.splitlines()[0][:80] if text else b""
            raise RemoteError(
                f"{self.label} has a format that this git-nn does not know: {what!r}", hint=_UPGRADE
            )

    def _send(self, pack: Outgoing, advance: Advance) -> None:
        """The pack, unless it is there; what has arrived is measured where it is."""
        key = key_of(pack.name, PACK)
        may_be_there = self._arrived is None or pack.name in self._arrived
        if may_be_there and persistently(lambda: self.keys.size(key)) == pack.size:
            self._drop_other_index(pack)
            advance(pack.size)
            return
        content = Content(pack.size, lambda: bytes_of(pack), pack.path)
        persistently(lambda: self.keys.write(key, content, advance))
        arrived = persistently(lambda: self.keys.size(key))
        if arrived != pack.size:
            raise RemoteError(
                f"{self.label}: of {pack.size} bytes of a pack {arrived or 0} have arrived",
                hint="run the same command again",
            )
        if self._arrived is not None:
            self._arrived[pack.name] = pack.size

    def _drop_other_index(self, pack: Outgoing) -> None:
        """Take a damaged index away: a key that is there is taken for what belongs there."""
        key = key_of(pack.name, INDEX)
        size = persistently(lambda: self.keys.size(key))
        if size is None or (size == len(pack.index) and self._value(key, size) == pack.index):
            return
        persistently(lambda: self.keys.remove(key))

    def _name(self, pack: Outgoing) -> None:
        key = key_of(pack.name, INDEX)
        persistently(lambda: self.keys.write(key, Content.of(pack.index), silent))

    def remove(self, names: Collection[str]) -> None:
        for suffix in (INDEX, PACK):
            keys = [key_of(name, suffix) for name in sorted(names)]
            for _ in self._each(lambda key: persistently(lambda: self.keys.remove(key)), keys):
                pass

    # What 'git nn remote gc' asks

    def kept(self) -> dict[str, Kept]:
        """Everything that has the name of a pack, published or not."""
        found: dict[str, Kept] = {}
        for name, _, value in self._listed():
            other = found.get(name, Kept(0, 0.0))
            size, modified = other.size + value.size, max(other.modified, value.modified)
            found[name] = Kept(size, modified)
        return found

    def trash(self) -> list[Trashed]:
        values = persistently(lambda: list(self.keys.list(TRASH)))
        matches = (_TRASHED.match(value.key) for value in values)
        return [Trashed(*match.groups()) for match in matches if match]

    def trashed_index(self, item: Trashed) -> bytes | None:
        """None where it has gone meanwhile."""
        try:
            return self._value(item.key, MAX_INDEX)
        except FileNotFoundError:
            return None

    def retire(self, names: Collection[str], time: str) -> None:
        """Move packs to the trash, their indexes first: what is listed must be there."""
        for suffix in (INDEX, PACK):
            pairs = [(key_of(n, suffix), Trashed(time, n, suffix).key) for n in sorted(names)]
            self._move(pairs)

    def restore(self, items: Collection[Trashed]) -> None:
        """Bring packs back from the trash, then their indexes."""
        for suffix in (PACK, INDEX):
            found = [item for item in items if item.suffix == suffix]
            self._move([(item.key, key_of(item.name, suffix)) for item in found])

    def discard(self, items: Collection[Trashed]) -> None:
        """Delete from the trash, for good."""
        keys = [item.key for item in items]
        for _ in self._each(lambda key: persistently(lambda: self.keys.remove(key)), keys):
            pass

    def _move(self, pairs: Sequence[tuple[str, str]]) -> None:
        def move(pair: tuple[str, str]) -> None:
            with suppress(FileNotFoundError):  # gone, or moved by an attempt whose answer was lost
                persistently(lambda: self.keys.move(*pair))

        for _ in self._each(move, pairs):
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

    def __exit__(self, *_: object) -> None:
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
