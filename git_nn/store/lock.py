"""gc.lock: shared by everybody who adds, exclusive for whoever takes away.

An advisory flock, which ends with its holder. Where file systems do not keep it, the
grace time of gc is the second fence.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from git_nn.errors import StoreError
from git_nn.store import folders as places
from git_nn.store import system
from git_nn.store.failure import reported
from git_nn.store.folders import Folders

_PAUSE = 0.05


@contextmanager
def held(folders: Folders, *, exclusive: bool, timeout: float) -> Iterator[None]:
    """Hold the lock for the block; StoreError where others keep it longer than ``timeout``."""
    with reported(folders.root):
        fd = _open(folders, exclusive=exclusive)
    try:
        if fd is not None:
            _wait(fd, folders, exclusive=exclusive, timeout=timeout)
        yield
    finally:
        if fd is not None:
            with suppress(OSError):  # nothing was written: the descriptor is gone in any case
                system.close(fd)


def _open(folders: Folders, *, exclusive: bool) -> int | None:
    """None on a read-only file system, where nobody can take anything away."""
    try:
        return system.open_lock(folders.lock)
    except FileNotFoundError:
        places.make(folders.root)
        return system.open_lock(folders.lock)
    except OSError as error:
        if exclusive or error.errno != errno.EROFS:
            raise
        return None


def _wait(fd: int, folders: Folders, *, exclusive: bool, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while not _try(fd, folders, exclusive=exclusive):
        if time.monotonic() >= deadline:
            raise StoreError(
                f"the store {folders.root} is in use by another git-nn",
                hint="run the command again when that has ended",
            )
        time.sleep(_PAUSE)


def _try(fd: int, folders: Folders, *, exclusive: bool) -> bool:
    with reported(folders.root):
        return system.try_lock(fd, exclusive=exclusive)
