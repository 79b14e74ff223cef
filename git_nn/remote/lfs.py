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
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, TypeVar

from git_nn.errors import RemoteError
from git_nn.gitio.repository import Repository
from git_nn.remote import in_git
from git_nn.remote.address import redacted
from git_nn.remote.base import (
    CONNECTIONS,
    MAX_INDEX,
    MAX_PACK,
    Advance,
    Outgoing,
    Published,
    identity_of,
    silent,
)
from git_nn.remote.catalogue import Catalogue
from git_nn.remote.http import Client, Response, Upload
from git_nn.remote.lfs_access import Access
from git_nn.remote.lfs_batch import (
    GROUP,
    Action,
    Actions,
    Api,
    Item,
    parse_pointer,
    pointer_text,
    refusal,
)  # fmt: skip
from git_nn.remote.retry import persistently, resumed

REF = "refs/nn/catalog"
TARGET = 64 * 1024 * 1024  # bytes of a pack
_PATH = re.compile(r"packs/([0-9a-f]{2})/(\1[0-9a-f]{62})\Z")
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(?:\d{1,18}|\*)\Z")
_POINTER = 200  # bytes; a canonical pointer is shorter
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
        self._catalogue = Catalogue(repo, git_url, REF)
        self._client = Client(repo, connections)
        self._place = (repo, git_url, endpoint)
        self._api_if_known: Api | None = None
        self._items: dict[str, Item | None] = {}  # by the Git blob of a pointer, if it is one
        self._hrefs: dict[Item, Action] = {}
        self._lock = threading.Lock()

    @property
    def _api(self) -> Api:
        """Who only looks into the catalogue needs no server."""
        with self._lock:
            if self._api_if_known is None:
                self._api_if_known = Api(Access(*self._place, self._client), self._client)
            return self._api_if_known

    # -- the catalogue

    def packs(self) -> list[Published]:
        found = self._listed(self._catalogue.entries())
        return [Published(name, item.size) for name, item in found.items()]

    def _listed(self, entries: Mapping[str, str]) -> dict[str, Item]:
        """The objects of the published packs by their names; what is no pack is passed over."""
        names = {match[2]: entries[path] for path in entries if (match := _PATH.match(path))}
        named = {name: blob for name, blob in names.items() if _index_path(name) in entries}
        with self._lock:
            new = sorted(set(named.values()) - self._items.keys())
            for blob, text in zip(new, self._catalogue.read(new, _POINTER), strict=True):
                item = parse_pointer(text or b"")
                self._items[blob] = item if item and item.size <= MAX_PACK else None
            found = {name: self._items[blob] for name, blob in named.items()}
        return {name: item for name, item in found.items() if item is not None}

    def indexes(self, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
        entries = self._catalogue.known() if names else {}
        found = [name for name in sorted(names) if _index_path(name) in entries]
        blobs = [entries[_index_path(name)] for name in found]
        for name, data in zip(found, self._catalogue.read(blobs, MAX_INDEX), strict=True):
            if data is not None:
                yield name, data

    def remove(self, names: Collection[str]) -> None:
        """Out of the catalogue; the server's own garbage collection does the rest, or nothing."""
        self._catalogue.remove([f(name) for name in names for f in (_index_path, _pack_path)])

    # -- down

    def read(self, name: str, start: int, stop: int) -> Iterator[bytes]:
        item = self._item(name)
        if not 0 <= start <= stop <= item.size:
            raise RemoteError(f"{self.label}: the pack {name[:12]} has only {item.size} bytes")
        pieces = resumed(lambda at: self._from(item, at, stop), start, stop, self.label)
        yield from self._hashed(item, pieces) if (start, stop) == (0, item.size) else pieces

    def _item(self, name: str) -> Item:
        for entries in (self._catalogue.known, self._catalogue.entries):
            if item := self._listed(entries()).get(name):
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
        action, is_new = self._href(item)
        headers = {} if (start, stop) == (0, item.size) else {"Range": f"bytes={start}-{stop - 1}"}
        with self._api.act(action, "download", "GET", headers) as response:
            if response.status in _STALE:
                self._hrefs.pop(item, None)
                refused = refusal(response)
                refused.transient = refused.transient or not is_new
                raise refused
            if response.status == 206:
                yield from _ranged(response, start, stop)
            elif response.status == 200:
                yield from _skipping(response, item.size, start, stop)
            else:
                raise refusal(response)

    def _href(self, item: Item) -> tuple[Action, bool]:
        """Where an object is, and whether we have just been told."""
        known = self._hrefs.get(item)
        if known is not None and known.is_fresh:
            return known, False
        found = self._api.batch("download", [item])[item]["download"]
        self._hrefs[item] = found
        return found, True

    # -- up

    def publish(self, packs: Sequence[Outgoing], advance: Advance = silent) -> None:
        there = self._listed(self._catalogue.entries()) if packs else {}
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
                _all(pool, lambda one: self._deliver(one, answers[one.item]), group)  # noqa: B023
        self._name(sent)

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

    def _name(self, sent: Sequence[_Sent]) -> None:
        with self._catalogue.desk() as desk:
            entries = {}
            for one in sent:
                entries[_pack_path(one.pack.name)] = desk.blob(pointer_text(one.item))
                entries[_index_path(one.pack.name)] = desk.blob(one.pack.index)
            desk.add(entries)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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
    in_git.check(pack, sha.update)
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


def _pack_path(name: str) -> str:
    return f"packs/{name[:2]}/{name}"


def _index_path(name: str) -> str:
    return f"idx/{name[:2]}/{name}"
