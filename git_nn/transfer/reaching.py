"""reaching: a store that fetches what it lacks when it is read, and no more than that.

For a reader who wants a tensor, or some rows of one, of a model that is far away: frames come by
ranges of packs, and stay. A remote is asked once what it has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

from git_nn.errors import GitNNError, MissingObjectError
from git_nn.gitio.config import load
from git_nn.gitio.repository import Repository
from git_nn.objects.oid import Oid
from git_nn.remote.address import resolve
from git_nn.store.base import Batch, Buffer
from git_nn.store.local import LocalStore
from git_nn.transfer.fetch import fetch, fetch_list, fetch_range
from git_nn.transfer.holdings import Holdings, ask
from git_nn.transfer.obtain import connect, names


class ReachingStore:
    """A Store (see store/base.py) of ``repo`` and of all its remotes."""

    def __init__(self, repo: Repository, store: LocalStore) -> None:
        self._repo = repo
        self._store = store
        self._asked: list[Holdings] | None = None
        self._open = ExitStack()

    def size(self, oid: Oid) -> int | None:
        here = self._store.size(oid)
        if here is not None:
            return here
        headers = (holdings.header(oid) for holdings in self._holdings())
        return next((header.rawlen for header in headers if header is not None), None)

    def read(self, oid: Oid) -> Iterator[Buffer]:
        self._reach(oid, lambda holdings: fetch(self._store, holdings, [oid]))
        return self._store.read(oid)

    def read_range(self, oid: Oid, start: int, stop: int) -> bytes:
        try:
            return self._store.read_range(oid, start, stop)
        except MissingObjectError:
            pass
        failure: GitNNError | None = None
        for holdings in self._holdings():
            if holdings.header(oid) is None:
                continue
            try:
                fetch_range(self._store, holdings, oid, start, stop)
                return self._store.read_range(oid, start, stop)
            except GitNNError as error:
                failure = error
        raise failure or MissingObjectError(oid.hex())

    def parts(self, oid: Oid) -> list[Oid]:
        self._reach(oid, lambda holdings: fetch_list(self._store, holdings, oid))
        return self._store.parts(oid)

    def batch(self) -> Batch:
        return self._store.batch()

    def _reach(self, oid: Oid, bring: Callable[[Holdings], None]) -> None:
        failure: GitNNError | None = None
        for holdings in self._holdings() if self._store.missing([oid]) else ():
            if holdings.header(oid) is None:
                continue
            try:
                bring(holdings)
            except GitNNError as error:
                failure = error
            else:
                return
        if failure is not None:
            raise failure

    def _holdings(self) -> list[Holdings]:
        """What each remote has that could be asked; one that fails is passed over."""
        if self._asked is None:
            config = load(self._repo)
            self._asked = []
            for name in names(self._repo, config):
                try:
                    remote = connect(self._repo, config, resolve(self._repo, config, name))
                    self._open.enter_context(remote)
                    cache = self._store.folders.remote(remote.identity)
                    self._asked.append(ask(remote, cache))
                except GitNNError:
                    continue
        return self._asked

    def close(self) -> None:
        """End the connections."""
        self._open.close()
