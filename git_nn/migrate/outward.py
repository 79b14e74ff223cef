"""outward: a pointer becomes the file that it stands for, in Git itself or in Git LFS.

Pointers are told by their text, at whatever path. A file is written whole into a temporary one
and verified on the way, so nothing wrong is ever given to Git.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Collection, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from git_nn import smudge
from git_nn.adopt import lacks
from git_nn.errors import GitNNError, MissingObjectError
from git_nn.formats.base import FileSource, pieces
from git_nn.gitio.new_pack import NewPack
from git_nn.gitio.objects import Reader
from git_nn.gitio.repository import Repository
from git_nn.gitio.rewriting import Item
from git_nn.migrate import attributes, lfs
from git_nn.migrate.inward import Told
from git_nn.objects import pointer as pointers
from git_nn.objects.pointer import Pointer, looks_like_pointer
from git_nn.reach import MIN_SIZE, Pointed, commit_of
from git_nn.smudge import FileSink
from git_nn.store.local import LocalStore

Form = Literal["plain", "lfs"]


@dataclass(slots=True)
class Outward:
    """A rewriting.Edit. ``pointers`` are the blobs to change, ``lfs_folder`` for ``form`` lfs.

    ``rules`` edits the text of a .gitattributes.
    """

    reader: Reader
    pack: NewPack
    store: LocalStore
    form: Form
    rules: Callable[[bytes], bytes]
    pointers: Collection[str]
    folders: Collection[bytes]
    scratch: Path
    lfs_folder: Path
    told: Told
    _done: dict[str, str] = field(default_factory=dict)

    def reaches(self, folder: bytes) -> bool:
        return folder in self.folders

    def files(self, folder: bytes, items: Sequence[Item], *, carried: bool) -> list[Item]:  # noqa: ARG002 - of the protocol
        new = [self._item(folder, item) for item in items]
        return [item for item in new if item.oid]

    def _item(self, folder: bytes, item: Item) -> Item:
        if not item.is_file:
            return item
        is_rules = item.name == attributes.NAME
        if not is_rules and item.oid not in self.pointers:
            return item
        if item.oid not in self._done:
            path = folder + item.name
            new = self._rules(item.oid) if is_rules else self._content(path, item.oid)
            self._done[item.oid] = new
        return Item(item.mode, item.name, self._done[item.oid])

    def _rules(self, blob: str) -> str:
        """The new .gitattributes; empty where nothing is left of it."""
        text = self.reader.read(blob) or b""
        new = self.rules(text)
        if new == text:
            return blob
        return self.pack.add("blob", new) if new else ""

    def _content(self, path: bytes, blob: str) -> str:
        pointer = pointers.parse(self.reader.read(blob) or b"")
        try:
            skeleton = smudge.load_skeleton(pointer, self.store)
            with tempfile.TemporaryFile(dir=self.scratch) as file:
                sink = FileSink(file.fileno())
                smudge.write_file(pointer, skeleton, self.store, sink, self.store.threads)
                content = pieces(FileSource.of(file.fileno()), 0, skeleton.size)
                if self.form == "plain":
                    new = self.pack.add_stream(skeleton.size, content)
                else:
                    new = self.pack.add("blob", lfs.keep(self.lfs_folder, self.scratch, content))
        except GitNNError as error:
            error.message = f"{os.fsdecode(path)}: {error.message}"
            raise
        self.told(path, blob, skeleton.size)
        return new


def pointers_of(reader: Reader, files: dict[bytes, list[str]]) -> dict[str, bytes]:
    """The blobs among ``files`` that are pointers, each with a path that it has."""
    found: dict[str, bytes] = {}
    for path, versions in files.items():
        for blob in versions:
            if blob not in found and _pointer(reader, blob) is not None:
                found[blob] = path
    return found


def _pointer(reader: Reader, blob: str) -> Pointer | None:
    info = reader.info(blob)
    if info is None or not MIN_SIZE <= info[2] <= pointers.MAX_SIZE:
        return None
    text = reader.read(blob) or b""
    if not looks_like_pointer(text[:4096]):
        return None
    try:
        return pointers.parse(text)
    except GitNNError:
        return None  # it stays the text that it is


def folders_of(files: dict[bytes, list[str]], blobs: AbstractSet[str]) -> set[bytes]:
    """The folders of files that ever had one of ``blobs``, of rules, and those above."""
    paths = [
        path
        for path, versions in files.items()
        if path.rpartition(b"/")[2] == attributes.NAME or not blobs.isdisjoint(versions)
    ]
    return {path[: i + 1] for path in paths for i, byte in enumerate(path) if byte == ord("/")}


def check_present(
    repo: Repository, reader: Reader, store: LocalStore, blobs: dict[str, bytes]
) -> None:
    """MissingObjectError, with path and commit, where the store has not all of a pointer."""
    for blob, path in blobs.items():
        pointer = _pointer(reader, blob)
        missing = lacks(store, pointer) if pointer is not None else []
        if missing:
            commit = commit_of(repo, Pointed(blob, path))
            raise MissingObjectError(
                missing[0].hex(),
                what=f"a part of {os.fsdecode(path)} ({commit})",
                hint="run 'git nn fetch --all'",
            )
