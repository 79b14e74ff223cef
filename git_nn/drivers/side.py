"""side: one side of a comparison, wherever Git or a person says that it is.

A side is a pointer in Git, a pointer in a file, or weights in a file or a blob. Weights
are hashed and read where they are; nothing is stored.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from git_nn import measured
from git_nn.beside import Folder
from git_nn.compare import Reading
from git_nn.drivers.process import keep_freed_buffers
from git_nn.drivers.progress import Meter
from git_nn.errors import UsageError
from git_nn.formats.base import Beside, BytesSource, FileSource, Source
from git_nn.gitio.attributes import lookup
from git_nn.gitio.objects import Reader
from git_nn.gitio.repository import Repository
from git_nn.measured import Measured
from git_nn.model import Model, open_pointer, open_source
from git_nn.objects import pointer as pointers
from git_nn.store.base import Store
from git_nn.store.memory import MemoryStore

_HEAD = 4096


@contextmanager
def reading(repo: Repository | None) -> Iterator[Reading]:
    """How to compare within a repository: with its cache of numbers, telling progress."""
    keep_freed_buffers()
    meter = Meter("Comparing weights")
    try:
        cache = None if repo is None else Measured(repo.nn_dir / measured.FILE)
        yield Reading(cache, meter.advance)
    finally:
        meter.clear()


@contextmanager
def opened_file(path: Path, store: Store | None) -> Iterator[Model]:
    """A file: the weights in it, or the version that a pointer in it names."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    with file:
        yield of_source(FileSource.of(file.fileno()), store, Folder(path))


def of_source(source: Source, store: Store | None, beside: Beside | None = None) -> Model:
    """Content: the weights that it is, or the version that it names as a pointer."""
    if not pointers.looks_like_pointer(source.read(0, min(source.size, _HEAD))):
        return open_source(source, beside)
    if source.size > pointers.MAX_SIZE:
        raise UsageError("the file starts like a pointer but is too long to be one")
    return of_pointer(source.read(0, source.size), store)


def of_pointer(text: bytes, store: Store | None) -> Model:
    """The version that a pointer names; without a store only the pointer can be used."""
    return open_pointer(pointers.parse(text), MemoryStore() if store is None else store)


def pointer_text(reader: Reader, blob: str) -> bytes | None:
    """The text of a blob that is meant as a pointer; None for any other or a missing one."""
    info = reader.info(blob)
    if info is None or info[1] != "blob" or info[2] > pointers.MAX_SIZE:
        return None
    text = reader.read(info[0])
    return text if text is not None and pointers.looks_like_pointer(text[:_HEAD]) else None


@dataclass(frozen=True, slots=True)
class Sides:
    """Opens the sides of a comparison within one repository."""

    repo: Repository
    reader: Reader
    store: Store

    def tracked(self, paths: Sequence[bytes]) -> set[bytes]:
        """Those of ``paths`` that pass through our filter."""
        found = lookup(self.repo, paths, ["filter"])
        return {path for path in paths if found[path].get("filter") == "nn"}

    def is_pointer(self, blob: str) -> bool:
        return bool(blob) and pointer_text(self.reader, blob) is not None

    def of_blob(self, blob: str) -> Model:
        """The version in a blob: the one that a pointer names, or raw weights."""
        text = pointer_text(self.reader, blob)
        if text is not None:
            return of_pointer(text, self.store)
        data = self.reader.read(blob)
        if data is None:
            raise UsageError(f"Git has no object {blob}", hint="run 'git fsck'")
        return open_source(BytesSource(data))

    def in_work_tree(self, path: bytes) -> AbstractContextManager[Model]:
        return opened_file(self.repo.top / os.fsdecode(path), self.store)
