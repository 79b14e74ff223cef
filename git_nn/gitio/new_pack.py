"""new_pack: Git objects written as one pack, which Git takes in whole or not at all.

The format is Documentation/gitformat-pack: a header with the number of objects, each object
as its type and length and a zlib stream, and the hash of all before. ``git index-pack``
reads every byte again and checks it.

1. Until ``finish`` nothing is in the repository; who is killed before leaves nothing behind.
2. Content is bytes that Git has as they are: no filter, no line ends, no encodings.
3. Memory does not grow with the length of what ``add_stream`` is given.
"""

from __future__ import annotations

import hashlib
import os
import struct
import tempfile
import zlib
from collections.abc import Iterable
from typing import BinaryIO, Self

from git_nn.errors import GitError
from git_nn.gitio.repository import Repository

_TYPES = {"commit": 1, "tree": 2, "blob": 3, "tag": 4}
_HEADER = struct.Struct(">4sLL")
_PIECE = 1024 * 1024
_FAST = 1  # weights hardly get smaller, however long one tries


class NewPack:
    """Objects on their way into ``repo``; a context manager, which drops what is not finished.

    ``file`` is open for reading and writing, empty, and closed in the end.
    """

    def __init__(self, repo: Repository, file: BinaryIO) -> None:
        self._repo = repo
        self._file = file
        self._written: set[bytes] = set()
        self._file.write(_HEADER.pack(b"PACK", 2, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, kind: str, data: bytes) -> str:
        """One object; its name."""
        hasher = self._hasher(kind, len(data))
        hasher.update(data)
        if hasher.digest() not in self._written:
            self._file.write(_entry(kind, len(data)))
            self._file.write(zlib.compress(data))
            self._written.add(hasher.digest())
        return hasher.hexdigest()

    def add_stream(self, size: int, pieces: Iterable[bytes]) -> str:
        """A blob of ``size`` bytes, given in pieces; its name."""
        start = self._file.tell()
        hasher = self._hasher("blob", size)
        packer = zlib.compressobj(_FAST)
        self._file.write(_entry("blob", size))
        length = 0
        for piece in pieces:
            length += len(piece)
            hasher.update(piece)
            self._file.write(packer.compress(piece))
        if length != size:
            raise ValueError(f"{size} bytes were promised, {length} came")
        self._file.write(packer.flush())
        if hasher.digest() in self._written:
            self._file.seek(start)
            self._file.truncate()
        self._written.add(hasher.digest())
        return hasher.hexdigest()

    def finish(self) -> None:
        """Give Git all objects; GitError where it does not take them."""
        if not self._written:
            return
        self._file.seek(0)
        self._file.write(_HEADER.pack(b"PACK", 2, len(self._written)))
        self._file.seek(0)
        whole = self._new_hash()
        while piece := self._file.read(_PIECE):
            whole.update(piece)
        self._file.write(whole.digest())
        self._file.flush()
        os.lseek(self._file.fileno(), 0, os.SEEK_SET)  # where the child begins to read
        argv = ("index-pack", "--stdin")
        with tempfile.TemporaryFile() as errors:
            child = self._repo.start(*argv, stdin=self._file, stderr=errors)
            child.communicate()
            if child.returncode:
                errors.seek(0)
                text = errors.read().decode("utf-8", "replace")
                raise GitError(argv, child.returncode, text)

    def _hasher(self, kind: str, size: int) -> hashlib._Hash:
        hasher = self._new_hash()
        hasher.update(b"%s %d\0" % (kind.encode(), size))
        return hasher

    def _new_hash(self) -> hashlib._Hash:
        return hashlib.new(self._repo.object_format, usedforsecurity=False)


def _entry(kind: str, size: int) -> bytes:
    """Type and length: four bits of it, then seven at a time, the low ones first."""
    first = _TYPES[kind] << 4 | size & 15
    size >>= 4
    found = bytearray()
    while size:
        found.append(first | 0x80)
        first, size = size & 0x7F, size >> 7
    return bytes((*found, first))
