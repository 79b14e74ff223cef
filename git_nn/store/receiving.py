"""receiving: packs and frames that come from elsewhere, on their way into a store.

Nothing that comes is trusted: a pack must match its name and is scanned, a frame must match its
header and checksum; what it decodes to is compared with its id when it is read. Packs are there
for good as soon as they have come, so that what broke off goes on where it was.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Self

from blake3 import blake3

from git_nn.store import frame, system
from git_nn.store.base import Buffer
from git_nn.store.folders import Folders
from git_nn.store.frame import DamageError
from git_nn.store.index import Entry
from git_nn.store.pack import PackFile, read_at, scanned_index, write_file
from git_nn.store.staging import Staging, place, sync_folders

_CHUNK = 4 * 1024 * 1024


class Arrivals:
    """Use as a context manager, from one thread; frames are there when the block has ended."""

    def __init__(self, folders: Folders, target: int) -> None:
        self._folders = folders
        self._staging = Staging(folders, target=target)

    def add_pack(self, name: str, path: Path) -> None:
        """Take in the pack at ``path``, which is moved; DamageError where it is another one."""
        if _hash(path) != name:
            raise DamageError("the bytes of the pack do not match its name")
        own = PackFile(name, path)
        index = path.with_suffix(".idx")
        with suppress(FileNotFoundError):  # of a try that broke off
            system.unlink(index)
        write_file(index, scanned_index(own).data)
        self._staging.ensure_format()
        system.make_read_only(path)
        place(self._folders, name, path, index)
        sync_folders(self._folders, [name])

    def add_frame(self, data: Buffer, entry: Entry) -> None:
        """Take in a frame, header and body; DamageError where it is not what ``entry`` says."""
        view = memoryview(data)
        header, checksum = frame.parse(view[: frame.HEADER_SIZE])
        body = view[frame.HEADER_SIZE :]
        if header != entry.header or len(body) != header.clen:
            raise DamageError("a frame is not the one that the index names")
        frame.check_body(body, checksum)
        self._staging.add(header, body)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._staging.publish()
        finally:
            self._staging.drop()


def _hash(path: Path) -> str:
    hasher = blake3()
    fd = system.open_read(path)
    try:
        size = system.file_size(fd)
        for offset in range(0, size, _CHUNK):
            hasher.update(read_at(fd, min(_CHUNK, size - offset), offset))
        system.fsync(fd)
    finally:
        system.close(fd)
    return hasher.hexdigest()
