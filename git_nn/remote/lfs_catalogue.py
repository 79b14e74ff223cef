"""lfs_catalogue: which packs a Git LFS server has, by the ref of the Git remote that lists them.

The ref may have come from somewhere else ('git push --mirror'), and the objects not with it. So
a catalogue is believed where its ``home`` is this server; of a foreign one the server is asked
which of its packs it has, and the next writer makes it that server's own (docs/spec-remote.md).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping

from git_nn.gitio.repository import Repository
from git_nn.remote.base import MAX_INDEX, MAX_PACK, Outgoing
from git_nn.remote.catalogue import CATALOG, Catalogue
from git_nn.remote.lfs_batch import Item, parse_pointer, pointer_text

HOME = "home"
_PATH = re.compile(r"packs/([0-9a-f]{2})/(\1[0-9a-f]{62})\Z")
_SMALL = 200  # bytes; a canonical pointer is shorter, and so is a home

Ask = Callable[[Collection[Item]], Collection[Item]]  # which of these the server has


class PackList:
    """The packs of the server whose home is ``home``. Any thread may call."""

    def __init__(self, repo: Repository, git_url: str, home: str, ask: Ask) -> None:
        self.catalogue = Catalogue(repo, git_url, CATALOG)
        self._home = f"{home}\n".encode()
        self._ask = ask
        self._small: dict[str, bytes] = {}  # by Git blob
        self._there: dict[Item, bool] = {}  # what the server said
        self._is_doubted = False
        self._last: tuple[Mapping[str, str], dict[str, Item]] | None = None
        self._lock = threading.Lock()

    def doubt(self) -> None:
        """Ask the server from now on, even if the list was made for it."""
        self._is_doubted = True
        self._last = None

    def now(self) -> dict[str, Item]:
        """The objects of the published packs by their names; one round trip."""
        return self._published(self.catalogue.entries())

    def known(self) -> dict[str, Item]:
        """The same as it was last seen."""
        return self._published(self.catalogue.known())

    def indexes(self, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
        entries = self.catalogue.known() if names else {}
        found = [name for name in sorted(names) if _index_path(name) in entries]
        blobs = [entries[_index_path(name)] for name in found]
        for name, data in zip(found, self.catalogue.read(blobs, MAX_INDEX), strict=True):
            if data is not None:
                yield name, data

    def add(self, packs: Collection[tuple[Outgoing, Item]]) -> None:
        """Publish packs that the server has; a foreign catalogue becomes that of this server."""
        with self.catalogue.desk() as desk:
            new = {HOME: desk.blob(self._home)}
            for pack, item in packs:
                new[_pack_path(pack.name)] = desk.blob(pointer_text(item))
                new[_index_path(pack.name)] = desk.blob(pack.index)
            desk.change(lambda old: {**self._without_lies(old), **new})
        with self._lock:
            self._there |= {item: True for _, item in packs}

    def remove(self, names: Collection[str]) -> None:
        self.catalogue.remove([f(name) for name in names for f in (_index_path, _pack_path)])

    def _published(self, entries: Mapping[str, str]) -> dict[str, Item]:
        last = self._last
        if last is None or last[0] is not entries:  # every read of a pack asks
            last = self._last = (entries, self._found(entries))
        return last[1]

    def _found(self, entries: Mapping[str, str]) -> dict[str, Item]:
        listed = self._listed(entries)
        if not listed or (self._is_home(entries) and not self._is_doubted):
            return listed
        with self._lock:
            new = dict.fromkeys(item for item in listed.values() if item not in self._there)
            if new:
                found = self._ask(new)
                self._there |= {item: item in found for item in new}
            return {name: item for name, item in listed.items() if self._there[item]}

    def _is_home(self, entries: Mapping[str, str]) -> bool:
        blob = entries.get(HOME)
        return blob is not None and self._texts([blob])[blob] == self._home

    def _listed(self, entries: Mapping[str, str]) -> dict[str, Item]:
        """What is no pack is passed over."""
        names = {match[2]: entries[path] for path in entries if (match := _PATH.match(path))}
        named = {name: blob for name, blob in names.items() if _index_path(name) in entries}
        texts = self._texts(named.values())
        items = {name: parse_pointer(texts[blob]) for name, blob in named.items()}
        return {name: item for name, item in items.items() if item and item.size <= MAX_PACK}

    def _texts(self, blobs: Collection[str]) -> dict[str, bytes]:
        """The content of small blobs, each read once; nothing for one that is large."""
        with self._lock:
            new = sorted(set(blobs) - self._small.keys())
            for blob, text in zip(new, self.catalogue.read(new, _SMALL), strict=True):
                self._small[blob] = text or b""
            return {blob: self._small[blob] for blob in blobs}

    def _without_lies(self, entries: Mapping[str, str]) -> Mapping[str, str]:
        """The entries but for packs that this server does not have."""
        lies = self._listed(entries).keys() - self._published(entries).keys()
        gone = {f(name) for name in lies for f in (_index_path, _pack_path)}
        return {path: blob for path, blob in entries.items() if path not in gone}


def _pack_path(name: str) -> str:
    return f"packs/{name[:2]}/{name}"


def _index_path(name: str) -> str:
    return f"idx/{name[:2]}/{name}"
