"""remembered: what a work-tree file was cleaned to, so that asking again is cheap.

One small file per path below ``<store>/cache/cleaned``. It is a cache like any other: it may be
removed at any time, and whatever is not as expected in it is as if it were not there.

1. An answer is trusted only while the file has the very same stat data, and only where
   these were settled: old enough, when the file was read, that a change after that would
   have shown in them (Git's own "racy" problem, Documentation/technical/racy-git).
2. The answer depends on more than the bytes: on the layout that the path had before, and
   on this version of git-nn. Both are part of what is compared.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from git_nn import __version__
from git_nn.errors import GitNNError
from git_nn.objects import pointer as pointers
from git_nn.objects.encoding import pack, unpack
from git_nn.objects.oid import oid_of
from git_nn.objects.pointer import Pointer

FOLDER = "cache/cleaned"
_FINE, _COARSE = 100_000_000, 2_000_000_000  # ns; ticks of a kernel, and of FAT and HFS+


def is_settled(status: os.stat_result, now_ns: int) -> bool:
    """Whether any change after ``now_ns`` must show in the stat data."""
    latest = max(status.st_mtime_ns, status.st_ctime_ns)
    whole_seconds = status.st_mtime_ns % 1_000_000_000 == 0
    return latest < now_ns - (_COARSE if whole_seconds else _FINE)


def is_same(one: os.stat_result, other: os.stat_result) -> bool:
    return _stat_data(one) == _stat_data(other)


def recall(
    store: Path, path: bytes, status: os.stat_result, earlier: Pointer | None
) -> Pointer | None:
    """The pointer that the file at ``path``, absolute, was cleaned to; None where not known."""
    try:
        record = unpack((store / FOLDER / _name(path)).read_bytes())
        key, text = record
        if key != _key(path, status, earlier):
            return None
        return pointers.parse(text)
    except (OSError, ValueError, TypeError, GitNNError):
        return None


def remember(
    store: Path, path: bytes, status: os.stat_result, earlier: Pointer | None, pointer: Pointer
) -> None:
    """Keep an answer. ``status`` is settled, and was the same before and after the reading."""
    target = store / FOLDER / _name(path)
    with suppress(OSError), _new_file(target) as file:
        file.write_bytes(pack([_key(path, status, earlier), pointers.render(pointer)]))


@contextmanager
def _new_file(target: Path) -> Iterator[Path]:
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_name(f"{target.name}.{os.getpid()}.new")
    try:
        yield new
        new.replace(target)
    finally:
        new.unlink(missing_ok=True)


def _name(path: bytes) -> str:
    return oid_of(path).hex()[:32]


def _key(path: bytes, status: os.stat_result, earlier: Pointer | None) -> list[object]:
    layout = list(earlier.layout) if earlier is not None else []
    return [__version__, path, _stat_data(status), layout]


def _stat_data(status: os.stat_result) -> list[int]:
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
