"""blobs: the content of files as history has them, from Git or from Git LFS, read at random.

Small content is held in memory; what is longer goes to a file without a name. Nothing is kept
from one to the next.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from git_nn.errors import DamagedObjectError, GitNNError, MissingObjectError
from git_nn.formats.base import BytesSource, FileSource, Source, pieces
from git_nn.gitio.objects import Reader
from git_nn.gitio.repository import Repository
from git_nn.migrate import lfs
from git_nn.remote.lfs_batch import Item

IN_MEMORY = 32 * 1024 * 1024
FETCH = "run 'git lfs fetch --all'"
_PIECE = 1024 * 1024


@dataclass(slots=True)
class Blobs:
    """``scratch`` is for long files; ``lfs_folder`` where Git LFS keeps objects."""

    repo: Repository
    reader: Reader
    scratch: Path
    lfs_folder: Path
    _items: dict[str, Item | None] = field(default_factory=dict)

    def item(self, blob: str) -> Item | None:
        """The object of Git LFS that the blob stands for."""
        if blob not in self._items:
            short = self._length(blob) <= lfs.LONGEST
            self._items[blob] = lfs.parse(self.reader.read(blob) or b"") if short else None
        return self._items[blob]

    def size(self, blob: str) -> int:
        """Bytes of the content."""
        item = self.item(blob)
        return self._length(blob) if item is None else item.size

    def is_missing(self, blob: str) -> bool:
        item = self.item(blob)
        return item is not None and not lfs.is_here(self.lfs_folder, item)

    @contextmanager
    def opened(self, blob: str) -> Iterator[Source]:
        """The content; MissingObjectError where Git LFS has it not here."""
        item = self.item(blob)
        if item is not None:
            with self._of_lfs(item) as source:
                yield source
        elif self._length(blob) <= IN_MEMORY:
            yield BytesSource(self.reader.read(blob) or b"")
        else:
            with tempfile.TemporaryFile(dir=self.scratch) as file:
                with self.repo.pipe(("cat-file", "blob", blob)) as output:
                    while piece := output.read(_PIECE):
                        file.write(piece)
                file.flush()
                yield FileSource.of(file.fileno())

    def verify(self, blob: str, source: Source) -> None:
        """DamagedObjectError where the content is one of Git LFS, and not what that named so."""
        item = self.item(blob)
        if item is None:
            return
        hasher = hashlib.sha256()
        for piece in pieces(source, 0, source.size):
            hasher.update(piece)
        if hasher.hexdigest() != item.oid:
            why = "it is not what Git LFS named so"
            raise DamagedObjectError(item.oid, why, hint="run 'git lfs fsck'")

    @contextmanager
    def _of_lfs(self, item: Item) -> Iterator[Source]:
        path = lfs.path_of(self.lfs_folder, item)
        if not lfs.is_here(self.lfs_folder, item):
            raise MissingObjectError(item.oid, what="an object of Git LFS", hint=FETCH)
        with path.open("rb") as file:
            yield FileSource.of(file.fileno())

    def _length(self, blob: str) -> int:
        info = self.reader.info(blob)
        if info is None:
            raise GitNNError(f"Git has not the blob {blob[:12]}", hint="run 'git fsck'")
        return info[2]
