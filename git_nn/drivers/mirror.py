"""mirror: the work-tree file that Git is sending us, read in place of what it sends.

What comes through the pipe is the truth (a path can be cleaned from any content), but it
comes in order and once, and keeping gigabytes of it in a file costs more than all the
rest. Nearly always it is the content of the work-tree file. So that file is worked on,
by other threads, while the pipe is compared with it; where they differ, or the file
changes meanwhile, the work is thrown away and the content collected after all.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from git_nn.errors import LayoutError, StoreError
from git_nn.formats.base import FileSource, pieces
from git_nn.gitio.repository import Repository
from git_nn.materialise import open_parent
from git_nn.remembered import is_same, is_settled


class Mirror:
    """An open work-tree file. ``position`` is how far the content has been equal to it."""

    def __init__(self, fd: int, path: bytes) -> None:
        self.source = FileSource.of(fd)
        self.path = path
        self.status = os.fstat(fd)
        self.position = 0
        self._differing = b""

    def is_settled(self) -> bool:
        return is_settled(self.status, time.time_ns())

    def follow(self, content: Iterable[bytes | bytearray]) -> bool:
        """Read on in ``content`` to its end; False, at once, where it differs."""
        fd = self.source.fd
        for piece in content:
            if os.pread(fd, len(piece), self.position) != piece:
                self._differing = bytes(piece)
                return False
            self.position += len(piece)
        return True

    def is_whole(self) -> bool:
        """Whether all of the file came, and nothing has changed it since it was opened."""
        return self.position == self.source.size and self.is_unchanged()

    def is_unchanged(self) -> bool:
        return is_same(self.status, os.fstat(self.source.fd))

    def so_far(self) -> Iterator[bytes]:
        """What ``follow`` has read of the content."""
        try:
            yield from pieces(self.source, 0, self.position)
        except LayoutError as error:  # it has become shorter
            raise self._changed() from error
        if not self.is_unchanged():
            raise self._changed()
        if self._differing:
            yield self._differing

    def _changed(self) -> StoreError:
        return StoreError(
            "the file was changed while Git was reading it", hint="run the command again"
        )


@contextmanager
def opened(repo: Repository, path: bytes) -> Iterator[Mirror | None]:
    """The plain file at ``path``, relative to the top; None where that cannot serve."""
    fd = _open(repo, path)
    if fd is None:
        yield None
        return
    try:
        yield Mirror(fd, os.path.join(os.fsencode(repo.work_tree or ""), path))  # noqa: PTH118
    finally:
        os.close(fd)


def _open(repo: Repository, path: bytes) -> int | None:
    if repo.work_tree is None:
        return None
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        with open_parent(repo.work_tree, path) as folder:
            fd = os.open(path.rpartition(b"/")[2], flags, dir_fd=folder)
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    return None
