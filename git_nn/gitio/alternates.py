"""The object folders that a repository borrows from, read as Git reads them.

They are named by objects/info/alternates and by GIT_ALTERNATE_OBJECT_DIRECTORIES, relative
to the object folder and to the top; alternates have alternates of their own.
"""

from __future__ import annotations

import os
from pathlib import Path

from git_nn.gitio.quoting import split
from git_nn.gitio.repository import Repository

_DEPTH = 5  # Git follows no alternates of what is deeper


def object_folders(repo: Repository) -> list[Path]:
    """Every folder, absolute and once, the nearest first; some may not exist."""
    named = os.fsencode(repo.env.get("GIT_ALTERNATE_OBJECT_DIRECTORIES", ""))
    own = _real(repo.object_dir)
    level = [*_within(repo.top, named, os.pathsep.encode()), *_listed(own)]
    found = {own: None}
    for _ in range(_DEPTH + 1):
        new = [folder for folder in dict.fromkeys(level) if folder not in found]
        found.update(dict.fromkeys(new))
        level = [further for folder in new for further in _listed(folder)]
    return list(found)[1:]


def _listed(folder: Path) -> list[Path]:
    try:
        text = (folder / "info" / "alternates").read_bytes()
    except OSError:
        return []
    return _within(folder, text.partition(b"\0")[0], b"\n")


def _within(folder: Path, text: bytes, separator: bytes) -> list[Path]:
    return [_real(folder / os.fsdecode(path)) for path in split(text, separator)]


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))
