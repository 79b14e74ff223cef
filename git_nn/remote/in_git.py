"""in_git: packs as blobs of refs/nn/packs on any Git remote, for hosts that have nothing else.

Git keeps what is pushed, and clones that mirror a repository get all of it, so this suits small
models. Reading needs no more than Git's own transports: the tree and small blobs come with the
ref, a large pack when it is read (where the host filters; else all of them come with the ref).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Self

from git_nn.errors import RemoteError
from git_nn.gitio.repository import Repository
from git_nn.remote.base import (
    MAX_INDEX,
    Advance,
    Outgoing,
    Published,
    bytes_of,
    identity_of,
    silent,
)
from git_nn.remote.catalogue import PACKS, Catalogue
from git_nn.remote.retry import resumed
from git_nn.store.folders import INDEX, PACK

REF = PACKS
MAX_PACK = 48 * 1024 * 1024  # bytes; some hosts warn from 50 MB on
_WITH_THE_REF = 64 * 1024  # bytes of a blob that is fetched at once
_PATH = re.compile(r"packs/([0-9a-f]{2})/(\1[0-9a-f]{62})\.idx\Z")


class GitRemote:
    """A Remote (see remote/base.py) inside a Git repository far away."""

    max_pack = MAX_PACK

    def __init__(self, repo: Repository, url: str) -> None:
        self._catalogue = Catalogue(repo, url, REF, largest=_WITH_THE_REF)

    @property
    def label(self) -> str:
        return self._catalogue.label

    @property
    def identity(self) -> str:
        return identity_of(f"git {self.label}")

    def packs(self) -> list[Published]:
        return [Published(name) for name in _published(self._catalogue.entries())]

    def indexes(self, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
        entries = self._catalogue.known() if names else {}
        found = [name for name in sorted(names) if _path(name, INDEX) in entries]
        blobs = [entries[_path(name, INDEX)] for name in found]
        for name, data in zip(found, self._catalogue.read(blobs, MAX_INDEX), strict=True):
            if data is not None:
                yield name, data

    def expect(self, names: Collection[str]) -> None:
        """Git asks for a large pack when it is read."""

    def read(self, name: str, start: int, stop: int) -> Iterator[bytes]:
        path = _path(name, PACK)
        blob = self._catalogue.known().get(path) or self._catalogue.entries().get(path)
        if blob is None:
            raise RemoteError(
                f"{self.label}: the pack {name[:12]} is gone", hint="run 'git nn fetch' again"
            )
        yield from resumed(lambda at: self._cut(blob, at, stop), start, stop, self.label)

    def _cut(self, blob: str, start: int, stop: int) -> Iterator[bytes]:
        """Bytes [start, stop) of a blob, which Git reads from its beginning."""
        at = 0
        for piece in self._catalogue.stream(blob):
            part = piece[max(0, start - at) : stop - at]
            at += len(piece)
            if part:
                yield part
            if at >= stop:
                return
        raise RemoteError(f"{self.label}: a pack has only {at} of {stop} bytes")

    def publish(self, packs: Sequence[Outgoing], advance: Advance = silent) -> None:
        if not packs:
            return
        there = self._catalogue.entries()
        with self._catalogue.desk() as desk:
            entries: dict[str, str] = {}
            for pack in packs:
                index, path = desk.blob(pack.index), _path(pack.name, PACK)
                if path not in there or there.get(_path(pack.name, INDEX)) != index:
                    for _ in bytes_of(pack):  # that they are its bytes
                        pass
                    entries[path] = desk.blob(pack.path)
                    entries[_path(pack.name, INDEX)] = index
            if entries:
                desk.add(entries)
        for pack in packs:
            advance(pack.size)

    def remove(self, names: Collection[str]) -> None:
        """Git's own garbage collection frees the space, when it comes to it there."""
        self._catalogue.remove([_path(name, suffix) for name in names for suffix in (INDEX, PACK)])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def _published(entries: Mapping[str, str]) -> Iterator[str]:
    for path in entries:
        match = _PATH.match(path)
        if match and _path(match[2], PACK) in entries:
            yield match[2]


def _path(name: str, suffix: str) -> str:
    return f"packs/{name[:2]}/{name}{suffix}"
