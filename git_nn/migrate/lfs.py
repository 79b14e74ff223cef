"""lfs: the objects of Git LFS in this clone, and the texts that stand for them in Git.

A text is read as git-lfs reads it, older forms included; one with extensions is no pointer for
us, since these change what the object means.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

from git_nn.gitio.config import load
from git_nn.gitio.repository import Repository
from git_nn.remote.lfs_batch import Item, pointer_text

LONGEST = 1024  # bytes of a pointer, as in git-lfs
_POINTER = re.compile(
    rb"\s*version https?://(?:git-lfs\.github\.com/spec/v1|hawser\.github\.com/spec/v1"
    rb"|git-media\.io/v/2)\r?\noid sha256:([0-9a-f]{64})\r?\nsize ([0-9]{1,18})\s*\Z"
)


def parse(text: bytes) -> Item | None:
    """The object that a pointer stands for; None for any other text."""
    match = _POINTER.match(text) if len(text) <= LONGEST else None
    return match and Item(match[1].decode(), int(match[2]))


def objects_folder(repo: Repository) -> Path:
    """Where git-lfs keeps objects: ``lfs.storage``, relative to the git folder."""
    return repo.common_dir / (load(repo).get("lfs.storage") or "lfs") / "objects"


def path_of(folder: Path, item: Item) -> Path:
    return folder / item.oid[:2] / item.oid[2:4] / item.oid


def is_here(folder: Path, item: Item) -> bool:
    try:
        return path_of(folder, item).stat().st_size == item.size
    except OSError:
        return False


def keep(folder: Path, scratch: Path, pieces: Iterable[bytes]) -> bytes:
    """Put an object where git-lfs looks for it; its pointer. ``scratch`` is for the copy."""
    hasher, size = hashlib.sha256(), 0
    new = scratch / f"lfs-{os.urandom(8).hex()}"
    with new.open("wb") as file:
        for piece in pieces:
            hasher.update(piece)
            size += len(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    item = Item(hasher.hexdigest(), size)
    target = path_of(folder, item)
    target.parent.mkdir(parents=True, exist_ok=True)
    new.replace(target)
    return pointer_text(item)
