"""lfs: packs as objects of a Git LFS server, listed in a catalogue ref of the Git remote.

1. The order is pack, proof, catalogue: a pack whose upload this run has seen through is proven by
   the server's "verify", or by a second question where it has none. A pack that the server says
   it has already, while the catalogue does not, may be what a broken upload left there: it is
   read back and compared before it is published.
2. Bytes that come are counted and, where all of a pack comes, hashed; that they are the pack is
   checked again by who asked.
3. Addresses of objects expire; the next try asks for a new one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Self, TypeVar

from git_nn.errors import RemoteError
from git_nn.gitio.repository import Repository
from git_nn.remote.address import redacted
from git_nn.remote.base import (
    CONNECTIONS,
    Advance,
    Outgoing,
    Published,
    bytes_of,
    identity_of,
    silent,
)
from git_nn.remote.http import Client, Response, Upload
from git_nn.remote.lfs_access import Access, home_of, server_of
from git_nn.remote.lfs_batch import GROUP, Action, Actions, Api, Item, refusal
from git_nn.remote.lfs_catalogue import PackList
from git_nn.remote.lfs_places import Places
from git_nn.remote.retry import persistently, resumed

TARGET = 64 * 1024 * 1024  # bytes of a pack
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(?:\d{1,18}|\*)\Z")
_STALE = {401, 403, 404, 410}  # what servers say of an address that has expired

One = TypeVar("One")
Other = TypeVar("Other")


class LfsRemote:
    """A Remote (see remote/base.py) on a Git LFS server; ``git_url`` is that of the Git remote."""

    max_pack = TARGET

    def __init__(
        self,
        repo: Repository,
        git_url: str,
        *,
        endpoint: str | None = None,
        connections: int = CONNECTIONS,
    ) -> None:
        self.label = redacted(endpoint or git_url)
        self.identity = identity_of(f"lfs {redacted(git_url)} {redacted(endpoint or '')}")
        self._connections = connections
        url = server_of(repo, git_url, endpoint)
        self._client = Client(repo, connections)
        self._api = Api(Access(repo, url, self._client), self._client)
        self._list = PackList(repo, git_url, home_of(url), self._api.has)
        self._places = Places(self._api)

    # -- the catalogue

    def packs(self) -> list[Published]:
        return [Published(name, item.size) for name, item in self._list.now().items()]

    def indexes(self, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
        return self._list.indexes(names)

    def doubt(self) -> None:
        """Publish from now on only what the server itself says it has, whatever is listed."""
        self._list.doubt()

    def expect(self, names: Collection[str]) -> None:
        listed = self._list.known() if names else {}
        self._places.expect([listed[name] for name in names if name in listed])

    def remove(self, names: Collection[str]) -> None:
        """Out of the catalogue; the server's own garbage collection does the rest, or nothing."""
        self._list.remove(names)

    # -- down

    def read(self, name: str, start: int, stop: int) -> Iterator[bytes]:
        item = self._item(name)
        if not 0 <= start <= stop <= item.size:
            raise RemoteError(f"{self.label}: the pack {name[:12]} has only {item.size} bytes")
        pieces = resumed(lambda at: self._from(item, at, stop), start, stop, self.label)
        yield from self._hashed(item, pieces) if (start, stop) == (0, item.size) else pieces

    def _item(self, name: str) -> Item:
        for listed in (self._list.known, self._list.now):
            if item := listed().get(name):
                return item
        raise RemoteError(
            f"{self.label}: the pack {name[:12]} is gone", hint="run 'git nn fetch' again"
        )

    def _hashed(self, item: Item, pieces: Iterator[bytes]) -> Iterator[bytes]:
        sha = hashlib.sha256()
        for piece in pieces:
            sha.update(piece)
            yield piece
        if sha.hexdigest() != item.oid:
            raise RemoteError(
                f"{self.label}: the server sent other bytes than object {item.oid[:12]} has",
                hint="run 'git nn fetch' again, or fetch from another remote",
            )

    def _from(self, item: Item, start: int, stop: int) -> Iterator[bytes]:
        """Bytes [start, stop) of an object; may break off with an error that may pass."""
        action, is_new = self._places.find(item)
        headers = {} if (start, stop) == (0, item.size) else {"Range": f"bytes={start}-{stop - 1}"}
        with self._api.act(action, "download", "GET", headers) as response:
            if response.status in _STALE:
                self._places.forget(item)
                refused = refusal(response)
                refused.transient = refused.transient or not is_new
                raise refused
            if response.status == 206:
                yield from _ranged(response, start, stop)
            elif response.status == 200:
                yield from _skipping(response, item.size, start, stop)
            else:
                raise refusal(response)

    # -- up

    def publish(self, packs: Sequence[Outgoing], advance: Advance = silent) -> None:
        there = self._there(packs)
        for pack in packs:
            if pack.name in there:
                advance(pack.size)
        new = [pack for pack in packs if pack.name not in there]
        if not new:
            return
        with ThreadPoolExecutor(self._connections, "git-nn-lfs") as pool:
            sent = _all(pool, lambda pack: _Sent(pack, _item_of(pack), advance), new)
            for at in range(0, len(sent), GROUP):
                group = sent[at : at + GROUP]
                answers = self._api.batch("upload", [one.item for one in group])
                self._places.expect([item for item in answers if "upload" not in answers[item]])
                _all(pool, lambda one: self._deliver(one, answers[one.item]), group)  # noqa: B023
        self._list.add([(one.pack, one.item) for one in sent])

    def _there(self, packs: Sequence[Outgoing]) -> set[str]:
        """Those that are published, with the index that they should have."""
        listed = self._list.now() if packs else {}
        indexes = dict(self._list.indexes([pack.name for pack in packs if pack.name in listed]))
        return {pack.name for pack in packs if indexes.get(pack.name) == pack.index}

    def _deliver(self, sent: _Sent, answer: Actions) -> None:
        """Bring one object there and see that all of it has arrived."""
        first = [answer]

        def attempt() -> None:
            actions = first.pop() if first else self._api.batch("upload", [sent.item])[sent.item]
            if "upload" not in actions:
                self._compare(sent.item)
            else:
                self._put(sent, actions["upload"])
                self._prove(sent.item, actions.get("verify"))
            sent.told(sent.item.size)

        persistently(attempt)

    def _put(self, sent: _Sent, action: Action) -> None:
        body = Upload(sent.pack.path, sent.item.size, sent.told)
        headers = {"Content-Type": "application/octet-stream"}
        with self._api.act(action, "upload", "PUT", headers, body) as response:
            if response.status in (200, 201, 202, 204):
                return
            refused = refusal(response)
            refused.transient = refused.transient or response.status in _STALE - {403}
            raise refused

    def _prove(self, item: Item, verify: Action | None) -> None:
        if verify is None:
            if "upload" in self._api.batch("upload", [item])[item]:
                raise self._lost(item)
            return
        body = b'{"oid": "%s", "size": %d}' % (item.oid.encode(), item.size)
        kind = "application/vnd.git-lfs+json"
        headers = {"Accept": kind, "Content-Type": kind}
        with self._api.act(verify, "upload", "POST", headers, body) as response:
            if response.status in (404, 409, 422):
                raise self._lost(item)
            if response.status not in (200, 201, 202, 204):
                raise refusal(response)

    def _lost(self, item: Item) -> RemoteError:
        return RemoteError(
            f"{self.label}: object {item.oid[:12]} has not arrived whole",
            hint="run the same command again",
            transient=True,
        )

    def _compare(self, item: Item) -> None:
        """Read back what the server says it has had already."""
        try:
            for _ in self._hashed(
                item,
                resumed(lambda at: self._from(item, at, item.size), 0, item.size, self.label),
            ):
                pass
        except RemoteError as error:
            raise RemoteError(
                f"{self.label}: the server says that it has object {item.oid[:12]}, but that"
                f" cannot be read back: {error.message}",
                hint="ask there to delete the object, then run the same command again",
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()


@dataclass(slots=True)
class _Sent:
    """A pack on its way, its object, and how much of it the meter was told of."""

    pack: Outgoing
    item: Item
    advance: Advance
    _told: int = field(default=0)

    def told(self, gone: int) -> None:
        """``gone`` bytes have been sent; a second try counts once it is further than the first."""
        if gone > self._told:
            self.advance(gone - self._told)
            self._told = gone


def _item_of(pack: Outgoing) -> Item:
    """The object of a pack, whose file is checked on the way."""
    sha = hashlib.sha256()
    for piece in bytes_of(pack):
        sha.update(piece)
    return Item(sha.hexdigest(), pack.size)


def _all(
    pool: ThreadPoolExecutor, work: Callable[[One], Other], items: Sequence[One]
) -> list[Other]:
    """``work`` of every item, several at once; after a failure none is begun."""
    futures = [pool.submit(work, item) for item in items]
    try:
        return [future.result() for future in futures]
    except BaseException:
        for future in futures:
            future.cancel()
        raise


def _ranged(response: Response, start: int, stop: int) -> Iterator[bytes]:
    """The body of a 206, which must be of bytes [start, stop) or of the first of them."""
    match = _RANGE.match(response.headers.get("Content-Range", ""))
    if match is None or int(match[1]) != start or not start <= int(match[2]) < stop:
        raise RemoteError(f"{response.host} sent another range than was asked for")
    yield from response.pieces()


def _skipping(response: Response, size: int, start: int, stop: int) -> Iterator[bytes]:
    """Bytes [start, stop) out of the whole body, which is what a server without ranges sends."""
    if response.length not in (None, size):
        raise RemoteError(f"{response.host} sent {response.length} bytes of an object of {size}")
    at = 0
    for piece in response.pieces():
        part = piece[max(0, start - at) : None if stop == size else max(0, stop - at)]
        at += len(piece)
        if part:
            yield part
        if at >= stop < size:
            return
