"""Content on its way between Git and us: in memory while it is short, else in a file.

The files have no name, so nothing is left behind whatever happens to the process.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from git_nn import smudge
from git_nn.errors import StoreError
from git_nn.formats.base import BytesSource, FileSource, Source, pieces
from git_nn.objects.pointer import Pointer
from git_nn.objects.skeleton import Skeleton
from git_nn.smudge import FileSink, MemorySink
from git_nn.store.base import SEGMENT
from git_nn.store.local import LocalStore

IN_MEMORY = 32 * 1024 * 1024  # content above this length goes to a file


def all_of(source: Source) -> Iterator[bytes]:
    return pieces(source, 0, source.size)


def passed_through(source: Source) -> Iterable[bytes]:
    """The content as it is, readable after the source's own file has been closed."""
    if isinstance(source, FileSource):
        return _drained(cast("BinaryIO", os.fdopen(os.dup(source.fd), "rb")))
    return list(all_of(source))


@contextmanager
def collected(content: Iterable[bytes | bytearray], folder: Path) -> Iterator[Source]:
    """What Git sends, in memory while it is short, else in a file that has no name."""
    held = bytearray()
    rest = iter(content)
    for piece in rest:
        held += piece
        if len(held) > IN_MEMORY:
            break
    else:
        yield BytesSource(held)
        return
    with temporary_file(folder) as file:
        file.write(held)
        held.clear()
        for piece in rest:
            file.write(piece)
        file.flush()
        yield FileSource.of(file.fileno())


def written(
    pointer: Pointer, skeleton: Skeleton, store: LocalStore, folder: Path
) -> Iterable[bytes | bytearray]:
    """The whole file, complete and verified before its first byte is given to Git."""
    if skeleton.size <= IN_MEMORY:
        sink = MemorySink(bytearray(skeleton.size))
        smudge.write_file(pointer, skeleton, store, sink, store.threads)
        return [sink.data]
    file = temporary_file(folder)
    smudge.write_file(pointer, skeleton, store, FileSink(file.fileno()), store.threads)
    return _drained(file)


def _drained(file: BinaryIO) -> Iterator[bytes]:
    with file:
        yield from all_of(FileSource.of(file.fileno()))


def temporary_file(folder: Path) -> BinaryIO:
    """An open file without a name, on the disk that has room for weights."""
    try:
        (folder / "tmp").mkdir(parents=True, exist_ok=True)
        return cast("BinaryIO", tempfile.TemporaryFile(dir=folder / "tmp", buffering=SEGMENT))
    except OSError as error:
        raise StoreError(
            f"cannot write a temporary file in {folder / 'tmp'}: {error.strerror}",
            hint="free some space or run 'git nn doctor'",
        ) from error
