"""beside: the folder of a work-tree file, for formats that are described by another file.

Only plain names are looked up, only regular files are read (never through a link), and
only small ones: what is read is a hint that may come from anybody.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from git_nn.formats.base import BytesSource

LARGEST = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Folder:
    """See formats.base.Beside; ``path`` is the file whose folder it is."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    def read(self, name: str) -> BytesSource | None:
        if name in {"", ".", ".."} or "/" in name or "\\" in name or "\0" in name:
            return None
        try:
            fd = os.open(self.path.parent / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return None
        with os.fdopen(fd, "rb") as file:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST:
                return None
            return BytesSource(file.read(LARGEST))
