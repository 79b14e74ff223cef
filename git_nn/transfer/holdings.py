"""holdings: which frames a remote has, from the indexes of its packs.

Indexes never change, so one that has been read is kept in the clone (docs/spec-remote.md) and
asking what a remote has costs one round trip. They are checked before they are believed, and
what they say of a frame is compared with the frame.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from git_nn.errors import RemoteError
from git_nn.objects.oid import Oid
from git_nn.remote.base import MAX_PACK, Outgoing, Remote
from git_nn.store import index as indexes
from git_nn.store import system
from git_nn.store.folders import INDEX
from git_nn.store.frame import DamageError, Header
from git_nn.store.index import Entry, Index
from git_nn.store.pack import write_file


@dataclass(slots=True)
class Holdings:
    """The packs that ``remote`` had when it was asked, and their frames.

    ``damaged`` are published packs whose index is not to be believed, and why; they count as
    not there.
    """

    remote: Remote
    packs: Mapping[str, Index]
    damaged: Mapping[str, str] = field(default_factory=dict)
    _homes: dict[bytes, list[str]] = field(default_factory=dict)

    def damage(self) -> RemoteError | None:
        """What to tell where something is missing that a damaged pack may have."""
        for name, why in sorted(self.damaged.items()):
            return RemoteError(
                f"{self.remote.label}: the index of pack {name[:12]} is damaged: {why}",
                hint="run 'git nn fsck --remote --repair' in a clone that has the weights",
            )
        return None

    def header(self, oid: Oid) -> Header | None:
        found = self.find(oid)
        return found[1].header if found else None

    def find(self, oid: Oid) -> tuple[str, Entry] | None:
        """(pack, entry) of the copy of least depth, upon which everything can be decoded."""
        if not self._homes:
            for name, index in self.packs.items():
                for entry in index:
                    self._homes.setdefault(bytes(entry.header.id), []).append(name)
        found = [(name, self.packs[name].find(oid)) for name in self._homes.get(bytes(oid), ())]
        copies = [(name, entry) for name, entry in found if entry is not None]
        return min(copies, key=_order, default=None)


def remember(cache: Path, packs: Iterable[Outgoing]) -> None:
    """Keep the indexes of packs that have just been published, so that nobody asks for them."""
    for pack in packs:
        _keep(cache, pack.name, pack.index)


def _order(copy: tuple[str, Entry]) -> tuple[int, int, str]:
    name, entry = copy
    return entry.header.depth, entry.header.clen, name


def ask(remote: Remote, cache: Path) -> Holdings:
    """What ``remote`` has now; ``cache`` is the folder of its indexes in this clone.

    A pack that has another length than its index says is none; a push sends it again, and what
    stands in a pack whose index is damaged.
    """
    sizes = {pack.name: pack.size for pack in remote.packs() if (pack.size or 0) <= MAX_PACK}
    names = sizes.keys()
    _forget(cache, names)
    known = dict(_cached(cache, names))
    damaged: dict[str, str] = {}
    for name, data in remote.indexes(names - known.keys()):
        try:
            known[name] = indexes.parse(data, name)
        except DamageError as error:
            damaged[name] = str(error)
            continue
        _keep(cache, name, data)
    whole = {name: one for name, one in known.items() if sizes[name] in (None, one.pack_size)}
    return Holdings(remote, whole, damaged)


def _forget(cache: Path, names: Collection[str]) -> None:
    """Drop the indexes of packs that are gone: nobody may count on them any more."""
    for path in cache.glob(f"*{INDEX}"):
        if path.stem not in names:
            with suppress(OSError):
                path.unlink()


def _cached(cache: Path, names: Collection[str]) -> Iterator[tuple[str, Index]]:
    for name in names:
        with suppress(OSError, DamageError):
            yield name, indexes.parse((cache / f"{name}.idx").read_bytes(), name)


def _keep(cache: Path, name: str, data: bytes) -> None:
    """A cache that cannot be written is none."""
    with suppress(OSError):
        cache.mkdir(parents=True, exist_ok=True)
        path = cache / f"{name}.idx"
        new = cache / f".{name}.{os.getpid()}"
        write_file(new, data, sync=False)
        system.rename(new, path)
