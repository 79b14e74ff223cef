"""shelf: the packs of one store, as far as this process has seen them.

Other processes add packs and move them away at any time. So what is known is never
taken as the whole: a reader that misses something lists the folders anew, then looks
into the trash, and a pack that is gone is forgotten.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress

from git_nn.objects.oid import Oid
from git_nn.store import folders as places
from git_nn.store import system
from git_nn.store.folders import Folders
from git_nn.store.pack import PackFile


class Shelf:
    """Finds packs; any thread may ask."""

    def __init__(self, folders: Folders) -> None:
        self.folders = folders
        self._packs: dict[str, PackFile] = {}
        self._trash: dict[str, PackFile] = {}
        self._listed = False
        self._recent: PackFile | None = None
        self._guard = threading.RLock()

    def refresh(self) -> bool:
        """List the folders; whether a pack came that was not known."""
        with self._guard:
            found = dict(places.list_packs(self.folders.packs))
            new = {name: path for name, path in found.items() if name not in self._packs}
            kept = {name: pack for name, pack in self._packs.items() if name in found}
            self._packs = kept | {name: PackFile(name, path) for name, path in new.items()}
            self._listed = True
            return bool(new)

    def packs(self) -> list[PackFile]:
        """The packs that are known."""
        with self._guard:
            if not self._listed:
                self.refresh()
            return list(self._packs.values())

    def get(self, name: str) -> PackFile | None:
        with self._guard:
            return self._packs.get(name)

    def add(self, pack: PackFile) -> None:
        with self._guard:
            self._packs[pack.name] = pack

    def forget(self, pack: PackFile) -> None:
        with self._guard:
            if self._packs.get(pack.name) is pack:
                del self._packs[pack.name]

    def reload(self, name: str) -> None:
        """Forget what was read of a pack, and list the folders."""
        with self._guard:
            self._packs.pop(name, None)
            self.refresh()

    def holders(self, oid: Oid) -> Iterator[PackFile]:
        """The known packs that have a frame ``oid``; the one that served last comes first."""
        recent = self._recent
        known = self.packs()
        if recent is not None and recent in known:
            known.remove(recent)
            known.insert(0, recent)
        for pack in known:
            if self._has(pack, oid):
                self._recent = pack
                yield pack

    def _has(self, pack: PackFile, oid: Oid) -> bool:
        try:
            return pack.index().find(oid) is not None
        except FileNotFoundError:
            self.forget(pack)
            return False

    def trashed(self, oid: Oid, *, restore: bool) -> Iterator[PackFile]:
        """Packs in the trash that have a frame ``oid``, moved back where that is possible."""
        for pack in self._trashed_packs():
            if self._has(pack, oid):
                yield self.restore(pack) if restore else pack

    def _trashed_packs(self) -> list[PackFile]:
        with self._guard:
            found = places.list_packs(self.folders.trash)
            known = self._trash
            self._trash = {
                str(path): known.get(str(path)) or PackFile(name, path) for name, path in found
            }
            return list(self._trash.values())

    def restore(self, pack: PackFile) -> PackFile:
        """Move a pack back from the trash: the pack first, so that no index stands alone."""
        target = self.folders.pack(pack.name)
        try:
            places.make(target.parent, durable=False)
            system.utime(pack.path)
            system.rename(pack.path, target)
        except FileNotFoundError:  # another process was quicker
            self.refresh()
            return self.get(pack.name) or pack
        except OSError:  # a read-only store; the pack serves from where it is
            return pack
        restored = PackFile(pack.name, target, pack.index())
        self.add(restored)
        with suppress(OSError):  # the index can be rebuilt from the pack
            system.rename(pack.index_path, restored.index_path)
        with suppress(OSError):
            system.fsync_dir(target.parent)
        return restored
