"""inward: a file's content becomes a pointer, its tensors go into the store.

Each distinct blob is cleaned once, wherever it stands, and coded against the version that its
path had before. Pointers, empty files and links stay as they are.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from git_nn import track
from git_nn.clean import clean
from git_nn.errors import GitNNError, UsageError
from git_nn.formats.base import BytesSource, Source
from git_nn.gitio.new_pack import NewPack
from git_nn.gitio.rewriting import Item
from git_nn.migrate.attributes import NAME, converts, tracking
from git_nn.migrate.blobs import FETCH, Blobs
from git_nn.migrate.survey import Chosen
from git_nn.objects import pointer as pointers
from git_nn.objects.pointer import Pointer, looks_like_pointer
from git_nn.store.base import Store

_REMEMBERED = 64  # pointers of paths, to code the next version against
_BESIDE = 64 * 1024 * 1024  # bytes of a file that describes another, at most

Told = Callable[[bytes, str, int], Any]  # the pattern, the blob, its bytes


@dataclass(slots=True)
class Inward:
    """A rewriting.Edit. ``lfs`` are the patterns to take from Git LFS, by the folder of the file.

    ``told`` is called after each blob that was cleaned.
    """

    blobs: Blobs
    pack: NewPack
    store: Store
    chosen: Chosen
    lfs: dict[bytes, set[bytes]]
    writes_attributes: bool
    told: Told
    _folders: set[bytes] = field(default_factory=set)
    _done: dict[str, str] = field(default_factory=dict)
    _texts: dict[tuple[bytes, str], str] = field(default_factory=dict)
    _latest: OrderedDict[bytes, Pointer] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        for path in self.chosen.paths:
            self._folders.update(path[: i + 1] for i, byte in enumerate(path) if byte == ord("/"))
        self._folders.update(folder for folder in self.lfs if folder)

    def reaches(self, folder: bytes) -> bool:
        return folder in self._folders

    def files(self, folder: bytes, items: Sequence[Item], *, carried: bool) -> list[Item]:
        new = [self._file(folder, item, items) for item in items]
        if not self.writes_attributes:
            return new
        found = next((item for item in new if item.name == NAME and item.is_file), None)
        if found is None and any(item.name == NAME for item in new):
            return new  # a link or a folder, which Git does not read either
        if not folder and (carried or new != list(items)):
            return self._with_rules(folder, new, found)
        if folder and found is not None:
            return self._with_rules(folder, new, found)
        return new

    # -- one file --------------------------------------------------------------------------

    def _file(self, folder: bytes, item: Item, beside: Sequence[Item]) -> Item:
        path = folder + item.name
        if not item.is_file or path not in self.chosen.paths or item.name == NAME:
            return item
        if item.oid not in self._done:
            self._done[item.oid] = self._pointer(path, item, _Folder(self.blobs, item, beside))
        return Item(item.mode, item.name, self._done[item.oid])

    def _pointer(self, path: bytes, item: Item, beside: _Folder) -> str:
        with ExitStack() as stack:
            try:
                source = stack.enter_context(self.blobs.opened(item.oid))
                if not source.size:
                    return item.oid
                if looks_like_pointer(source.read(0, min(source.size, 4096))):
                    return self._known(path, item, source)
                self.blobs.verify(item.oid, source)
                cleaned = clean(source, self.store, self._latest.get(path), beside=beside)
            except GitNNError as error:
                error.message = f"{os.fsdecode(path)}: {error.message}"
                raise
            self._remember(path, cleaned.pointer)
            new = self.pack.add("blob", pointers.render(cleaned.pointer))
            self.told(self.chosen.paths[path], item.oid, source.size)
            return new

    def _known(self, path: bytes, item: Item, source: Source) -> str:
        text = source.read(0, min(source.size, pointers.MAX_SIZE + 1))
        self._remember(path, pointers.parse(text))
        return item.oid

    def _remember(self, path: bytes, pointer: Pointer) -> None:
        self._latest[path] = pointer
        self._latest.move_to_end(path)
        if len(self._latest) > _REMEMBERED:
            self._latest.popitem(last=False)

    # -- .gitattributes --------------------------------------------------------------------

    def _with_rules(self, folder: bytes, items: list[Item], found: Item | None) -> list[Item]:
        blob = found.oid if found is not None else ""
        key = (folder, blob)
        if key not in self._texts:
            text = (self.blobs.reader.read(blob) or b"") if blob else b""
            new = self._tracked(folder, text)
            self._texts[key] = "" if not new and text else (
                blob if new == text and blob else self.pack.add("blob", new))  # fmt: skip
        rest = [item for item in items if item is not found]
        if not self._texts[key]:
            return rest
        mode = found.mode if found is not None else "100644"
        return [*rest, Item(mode, NAME, self._texts[key])]

    def _tracked(self, folder: bytes, text: bytes) -> bytes:
        """A file further down has the last word, so it says the same as that at the top."""
        patterns: Sequence[bytes] = self.chosen.patterns
        left = tracking(text, (), self.lfs.get(folder, ()))
        if folder:
            below = self.reaches(folder) and converts(left)
            patterns = (
                [p for p in map(_under(track.escape(folder)), patterns) if p] if below else ()
            )
        return tracking(left, patterns, ())


def _under(folder: bytes) -> Callable[[bytes], bytes]:
    """A pattern of the top, as the .gitattributes of ``folder`` has to say it; empty if not so."""

    def relative(pattern: bytes) -> bytes:
        if b"/" not in pattern.rstrip(b"/") or pattern.startswith(b"**/"):
            return pattern
        anchored = pattern.lstrip(b"/")
        if anchored.endswith(b"**") and folder.startswith(anchored[:-2]):
            return b"**"
        return b"/" + anchored[len(folder) :] if anchored.startswith(folder) else b""

    return relative


@dataclass(frozen=True, slots=True)
class _Folder:
    """formats.base.Beside: the files that stand beside ``item`` in the same tree."""

    blobs: Blobs
    item: Item
    items: Sequence[Item]

    @property
    def name(self) -> str:
        return os.fsdecode(self.item.name)

    def read(self, name: str) -> Source | None:
        for other in self.items:
            if other.is_file and other.name == os.fsencode(name):
                if self.blobs.size(other.oid) > _BESIDE or self.blobs.is_missing(other.oid):
                    return None
                with self.blobs.opened(other.oid) as source:
                    return BytesSource(source.read(0, source.size))
        return None


def check_present(blobs: Blobs, chosen: Chosen, files: dict[bytes, list[str]]) -> None:
    """UsageError where Git LFS has not here what is to become a pointer."""
    missing = [path for path in chosen.paths if any(blobs.is_missing(blob) for blob in files[path])]
    if missing:
        names = ", ".join(os.fsdecode(path) for path in missing[:3])
        more = f" and {len(missing) - 3} more" if missing[3:] else ""
        raise UsageError(f"Git LFS has not all versions of {names}{more} here", hint=FETCH)
