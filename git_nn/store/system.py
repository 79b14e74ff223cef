"""Every system call of the store, and nothing else.

Tests replace single names here to fail the n-th call, to die at it, or to record them
all. So the store calls ``system.fsync(fd)`` and never ``os.fsync``. Each function is one
call and raises what that call raises.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys
import time
from pathlib import Path

READ_ONLY_MODE = 0o444
_FICLONE = 0x40049409  # ioctl_ficlonerange(2)


def open_excl(path: Path) -> int:
    """A new file, for us to write and for everybody else, and later us, to read only."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.open(path, flags, READ_ONLY_MODE)


def open_read(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)


def open_lock(path: Path) -> int:
    """A file to lock; what is written to it is appended."""
    return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)


def close(fd: int) -> None:
    os.close(fd)


def write(fd: int, data: bytes | memoryview) -> int:
    return os.write(fd, data)


def pread(fd: int, length: int, offset: int) -> bytes:
    return os.pread(fd, length, offset)


def file_size(fd: int) -> int:
    """Length of an open regular file; OSError for anything else."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(f"{fd} is not a regular file")
    return status.st_size


def fsync(fd: int) -> None:
    if sys.platform == "darwin":
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)  # fsync alone stops at the drive's cache there
    else:
        os.fsync(fd)


def fsync_dir(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def rename(source: Path, target: Path) -> None:
    os.replace(source, target)  # noqa: PTH105  (one system call, one name)


def link(source: Path, target: Path) -> None:
    os.link(source, target, follow_symlinks=False)


def clone(source: int, target: int) -> None:
    """Have the file ``target`` share the blocks of ``source``; OSError where that cannot be."""
    if not sys.platform.startswith("linux"):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    fcntl.ioctl(target, _FICLONE, source)


def unlink(path: Path) -> None:
    os.unlink(path)  # noqa: PTH108


def mkdir(path: Path) -> None:
    os.mkdir(path)  # noqa: PTH102


def make_read_only(path: Path) -> None:
    os.chmod(path, READ_ONLY_MODE)  # noqa: PTH101


def rmdir(path: Path) -> None:
    os.rmdir(path)  # noqa: PTH106


def utime(path: Path) -> None:
    """Set the modification time to now."""
    os.utime(path, follow_symlinks=False)


def status(path: Path) -> os.stat_result:
    return os.lstat(path)


def listing(path: Path) -> list[tuple[str, str]]:
    """(name, kind) of everything in a folder; kind is dir, file or other (a link, too)."""
    with os.scandir(path) as entries:
        return [(entry.name, _kind(entry)) for entry in entries]


def _kind(entry: os.DirEntry[str]) -> str:
    if entry.is_file(follow_symlinks=False):
        return "file"
    return "dir" if entry.is_dir(follow_symlinks=False) else "other"


def try_lock(fd: int, *, exclusive: bool) -> bool:
    """Whether the advisory lock could be had at once; it ends when ``fd`` is closed."""
    try:
        fcntl.flock(fd, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def now() -> float:
    return time.time()
