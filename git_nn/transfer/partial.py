"""partial: files of packs that are on their way, and what is left of those that broke off.

A file belongs to one process, which its name says: ``<pack>.<host>.<pid>``. Whoever wants that
pack next takes the file of one that has ended, by renaming it, and goes on behind it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_NAME = re.compile(r"[0-9a-f]{64}\.(.+)\.([0-9]+)\Z")


def claim(folder: Path, pack: str) -> Path:
    """Our file for a pack, with what an earlier try left in it or not there yet; OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    own = folder / f"{pack}.{_host()}.{os.getpid()}"
    for left in folder.glob(f"{pack}.*"):
        if left != own and _is_abandoned(left):
            try:
                left.rename(own)
            except FileNotFoundError:  # somebody else was quicker
                continue
            break
    return own


def _is_abandoned(path: Path) -> bool:
    match = _NAME.match(path.name)
    if match is None or match[1] != _host() or path.is_symlink() or not path.is_file():
        return False
    try:
        os.kill(int(match[2]), 0)
    except ProcessLookupError:
        return True
    except OSError:  # it lives and is somebody else's
        return False
    return int(match[2]) == os.getpid()


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9-]", "-", os.uname().nodename)[:40]
