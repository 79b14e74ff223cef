"""folder: a folder on this machine or a mount, such as the store of a bare repository.

Writes keep the order of a store (docs/spec-store.md, section 8), and its lock, so that 'git nn gc'
there and a push never meet. A mount without locks is used without. Where the file system can, a
copy shares the blocks of the file, which costs neither time nor space. A hard link would not do:
who writes to one of its names changes both.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from git_nn.errors import RemoteError, StoreError
from git_nn.remote.base import Advance
from git_nn.remote.keys import Content, Value
from git_nn.store import folders as places
from git_nn.store import lock, system
from git_nn.store.failure import explain
from git_nn.store.folders import Folders
from git_nn.store.pack import read_at, write_all

_CHUNK = 1024 * 1024
_PASSING = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN}
_LOCK_TIMEOUT = 300.0


class FolderKeys:
    """Keys (see keys.py) that are files below ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folders = Folders(root)

    @property
    def label(self) -> str:
        return str(self.root)

    def list(self, prefix: str) -> Iterator[Value]:
        folder = self.root / prefix
        with self._told():
            for inner, kind in places.listing(folder):
                if kind == "dir":
                    yield from self.list(f"{prefix}{inner}/")
                elif kind == "file":
                    with suppress(FileNotFoundError):
                        found = system.status(folder / inner)
                        yield Value(f"{prefix}{inner}", found.st_size, found.st_mtime)

    def read(self, key: str, start: int, stop: int | None) -> Iterator[bytes]:
        with self._told():
            fd = system.open_read(self.root / key)
            try:
                size = system.file_size(fd)
                end = size if stop is None else min(stop, size)
                for at in range(start, end, _CHUNK):
                    yield read_at(fd, min(_CHUNK, end - at), at)
            finally:
                system.close(fd)

    def write(self, key: str, content: Content, advance: Advance) -> None:
        target = self.root / key
        with self._told(), self._locked():
            new = self._folders.tmp / f"{os.getpid()}.{secrets.token_hex(8)}"
            places.make(new.parent)
            try:
                fd = system.open_excl(new)
                try:
                    shared = content.file is not None and _shares(fd, content.file)
                    for piece in content.pieces():
                        if not shared:
                            write_all(fd, piece)
                        advance(len(piece))
                    system.fsync(fd)
                finally:
                    system.close(fd)
                places.make(target.parent)
                system.rename(new, target)
                system.fsync_dir(target.parent)
            finally:
                with suppress(FileNotFoundError):
                    system.unlink(new)

    def size(self, key: str) -> int | None:
        with self._told():
            try:
                found = system.status(self.root / key)
            except (FileNotFoundError, NotADirectoryError):
                return None
            return found.st_size if stat.S_ISREG(found.st_mode) else None

    def move(self, key: str, target: str) -> None:
        with self._told():
            places.make((self.root / target).parent)
            system.rename(self.root / key, self.root / target)

    def remove(self, key: str) -> None:
        with self._told(), suppress(FileNotFoundError):
            system.unlink(self.root / key)

    def close(self) -> None:
        pass

    @contextmanager
    def _locked(self) -> Iterator[None]:
        places.make(self.root)
        with lock.held(self._folders, exclusive=False, timeout=_LOCK_TIMEOUT):
            yield

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Failures of the system, in words. What is not there is left to the caller."""
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            told = explain(error, self.root)
            raise RemoteError(
                told.message, hint=told.hint, transient=error.errno in _PASSING
            ) from error
        except StoreError as error:
            raise RemoteError(error.message, hint=error.hint) from error


def _shares(fd: int, file: Path) -> bool:
    """Whether ``fd``, which is empty, shares the blocks of ``file`` now."""
    source = system.open_read(file)
    try:
        system.clone(source, fd)
    except OSError:  # another file system, or one without; nothing was written
        return False
    finally:
        system.close(source)
    return True
