"""Where everything stands below the store's root (docs/spec-store.md, sections 1 and 2)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from git_nn.errors import StoreError
from git_nn.store import system
from git_nn.store.failure import UPGRADE
from git_nn.store.settings import Settings

PACK, INDEX = ".nnp", ".idx"
_NAME = re.compile(r"[0-9a-f]{64}\Z")
_FORMAT = "git-nn store 1"
_FLAGS: frozenset[str] = frozenset()  # features that a store may need and this version has


@dataclass(frozen=True, slots=True)
class Folders:
    """The paths of one store, and how to work in it."""

    root: Path
    settings: Callable[[], Settings] = Settings

    @property
    def packs(self) -> Path:
        return self.root / "packs"

    @property
    def tmp(self) -> Path:
        return self.root / "tmp"

    @property
    def trash(self) -> Path:
        return self.root / "trash"

    @property
    def bad(self) -> Path:
        return self.root / "bad"

    @property
    def format(self) -> Path:
        return self.root / "format"

    @property
    def tried(self) -> Path:
        return self.root / "cache" / "recoded"

    @property
    def partial(self) -> Path:
        return self.root / "cache" / "partial"

    @property
    def remotes(self) -> Path:
        return self.root / "cache" / "remotes"

    def remote(self, name: str) -> Path:
        """Indexes of a remote that have been read."""
        return self.remotes / name

    @property
    def lock(self) -> Path:
        return self.root / "gc.lock"

    def pack(self, name: str) -> Path:
        return self.packs / name[:2] / (name + PACK)

    def index(self, name: str) -> Path:
        return self.packs / name[:2] / (name + INDEX)


def list_packs(folder: Path, *, suffix: str = PACK) -> list[tuple[str, Path]]:
    """(name, path) of every pack, or index, in the folders of ``folder``; no links."""
    found = []
    for inner, kind in listing(folder):
        if kind != "dir":
            continue
        for file, what in listing(folder / inner):
            name = file.removesuffix(suffix)
            if what == "file" and name != file and _NAME.match(name):
                found.append((name, folder / inner / file))
    return found


def listing(path: Path) -> list[tuple[str, str]]:
    """As ``system.listing``; nothing where there is no such folder."""
    try:
        return system.listing(path)
    except (FileNotFoundError, NotADirectoryError):
        return []


def make(path: Path, *, durable: bool = True) -> None:
    """Make a folder, and those above it, unless it is there."""
    try:
        system.mkdir(path)
    except FileExistsError:
        return
    except FileNotFoundError:
        make(path.parent, durable=durable)
        make(path, durable=durable)
        return
    if durable:
        system.fsync_dir(path.parent)


def check_format(folders: Folders) -> bool:
    """Whether the store says its format; StoreError where it is one that we do not know."""
    try:
        fd = system.open_read(folders.format)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        text = system.pread(fd, 65536, 0).decode("utf-8", "replace")
    finally:
        system.close(fd)
    version, *needs = text.splitlines() or [""]
    unknown = [line for line in needs if line.removeprefix("needs ") not in _FLAGS]
    if version != _FORMAT or unknown:
        what = unknown[0] if version == _FORMAT else version
        raise StoreError(
            f"the store {folders.root} has a format that this git-nn does not know: {what[:80]!r}",
            hint=UPGRADE,
        )
    return True


def format_text() -> bytes:
    return f"{_FORMAT}\n".encode()
