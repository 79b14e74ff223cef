"""staging: packs that are being written, in a folder of tmp/ that is ours alone.

Nothing is visible before ``publish``; ``drop`` takes everything away that is not. The
order of the steps is that of docs/spec-store.md, section 8.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from git_nn.store import folders as places
from git_nn.store import system
from git_nn.store.base import Buffer
from git_nn.store.folders import Folders
from git_nn.store.frame import Header
from git_nn.store.index import Index
from git_nn.store.pack import PackFile, PackWriter, write_file

PACK_TARGET = 64 * 1024 * 1024
LOCK_NAME = "lock"


class Staging:
    """Frames in, published packs out. A pack that is full is synced while the next one fills."""

    def __init__(self, folders: Folders, *, target: int = PACK_TARGET) -> None:
        self._folders = folders
        self._target = target
        self._folder: Path | None = None
        self._lock_fd = -1
        self._writer: PackWriter | None = None
        self._writers: list[PackWriter] = []
        self._finished: list[Future[Index]] = []
        self._syncing: ThreadPoolExecutor | None = None

    def add(self, header: Header, body: Buffer) -> None:
        if self._writer is not None and self._writer.size + len(body) > self._target:
            self._finish_in_background(self._writer)
            self._writer = None
        if self._writer is None:
            path = self.folder() / f"{len(self._writers)}{places.PACK}"
            self._writer = PackWriter(path, sync=self._folders.settings().sync)
            self._writers.append(self._writer)
        self._writer.add(header, body)

    def _finish_in_background(self, writer: PackWriter) -> None:
        if self._syncing is None:
            self._syncing = ThreadPoolExecutor(1, "git-nn-sync")
        self._finished.append(self._syncing.submit(writer.finish))

    def folder(self) -> Path:
        """Our own folder in tmp/, locked for as long as we live."""
        if self._folder is None:
            host = re.sub(r"[^A-Za-z0-9-]", "-", os.uname().nodename)[:40]
            folder = self._folders.tmp / f"{host}.{os.getpid()}.{secrets.token_hex(8)}"
            places.make(folder, durable=False)
            self._folder = folder
            self._lock_fd = system.open_lock(folder / LOCK_NAME)
            system.try_lock(self._lock_fd, exclusive=True)
        return self._folder

    def publish(self) -> list[PackFile]:
        """Give every pack its name, durably; the packs, in the order of writing."""
        indexes = [future.result() for future in self._finished]
        if self._writer is not None:
            indexes.append(self._writer.finish())
        if not indexes:
            return []
        self.ensure_format()
        packs = [
            self._name(writer, found) for writer, found in zip(self._writers, indexes, strict=True)
        ]
        sync_folders(self._folders, (pack.name for pack in packs))
        return packs

    def ensure_format(self) -> None:
        """Write the format file where there is none."""
        if places.check_format(self._folders):
            return
        new = self.folder() / "format"
        write_file(new, places.format_text())
        system.rename(new, self._folders.format)
        system.fsync_dir(self._folders.root)

    def _name(self, writer: PackWriter, found: Index) -> PackFile:
        name = found.pack_name
        system.utime(writer.path)  # a long batch must not be born old for gc
        place(self._folders, name, writer.path, writer.index_path)
        return PackFile(name, self._folders.pack(name), found)

    def drop(self) -> None:
        """Remove what was not published. Failures are left to gc, which cleans tmp/."""
        if self._syncing is not None:
            self._syncing.shutdown(cancel_futures=True)
        for writer in self._writers:
            with suppress(OSError):
                writer.close()
        if self._folder is not None:
            with suppress(OSError):
                remove_folder(self._folder)
            self._folder = None
        if self._lock_fd >= 0:
            fd, self._lock_fd = self._lock_fd, -1
            with suppress(OSError):
                system.close(fd)


def place(folders: Folders, name: str, pack: Path, index: Path) -> None:
    """Rename a durable pack and then its index to where readers look."""
    target = folders.pack(name)
    places.make(target.parent, durable=False)
    system.rename(pack, target)
    system.rename(index, folders.index(name))


def sync_folders(folders: Folders, names: Iterable[str]) -> None:
    """Make the presence of these packs durable, where that is asked for."""
    if not folders.settings().sync:
        return
    for folder in sorted({folders.pack(name).parent for name in names}):
        system.fsync_dir(folder)
    system.fsync_dir(folders.packs)
    system.fsync_dir(folders.root)


def remove_folder(folder: Path) -> None:
    """Remove a folder of files; the lock file last, while it is still held."""
    names = [name for name, _ in system.listing(folder)]
    for name in sorted(names, key=LOCK_NAME.__eq__):
        with suppress(FileNotFoundError):
            system.unlink(folder / name)
    system.rmdir(folder)
