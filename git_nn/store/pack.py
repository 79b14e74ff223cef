"""pack: an immutable file of frames, named by the hash of its bytes (docs/spec-store.md, 4).

1. A pack is only ever read after it has been renamed to its name; it never changes then.
2. What an index says is never trusted: the frame header in the pack must say the same.
   Where it does not, the pack is scanned and its file of an index ignored.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from git_nn.errors import StoreError
from git_nn.objects.oid import Oid
from git_nn.store import frame, index, system
from git_nn.store.base import Buffer
from git_nn.store.failure import UPGRADE
from git_nn.store.frame import DamageError, Header
from git_nn.store.index import Entry, Index

MAGIC = b"\x89NNP\r\n\x1a\n"
VERSION = 1
_FIELDS = struct.Struct("<8sHH")
HEADER_SIZE = 16
_CHUNK = 1024 * 1024


def render_header() -> bytes:
    fields = _FIELDS.pack(MAGIC, VERSION, 0)
    return fields + blake3(fields).digest(4)


def check_header(data: bytes) -> None:
    """DamageError for a damaged header, StoreError for that of a later version."""
    fields = data[: _FIELDS.size]
    if not fields.startswith(MAGIC) or blake3(fields).digest(4) != data[_FIELDS.size :]:
        raise DamageError("the header of the pack is damaged")
    if fields != render_header()[: _FIELDS.size]:
        raise StoreError("a pack was written by a newer git-nn", hint=UPGRADE)


class UnreadableError(DamageError):
    """The disk does not give the bytes; they may be whole."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Bytes [start, stop) of a pack that are no frame."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Stored:
    """A frame as it stands in a pack; only its header has been checked."""

    header: Header
    body: memoryview
    checksum: bytes

    def check(self) -> None:
        frame.check_body(self.body, self.checksum)


class PackFile:
    """One pack and its index, which is read or rebuilt in memory when it is first asked for.

    Every read opens the file anew: a descriptor that is kept could be closed, and its
    number given to another file, while another thread reads.
    """

    __slots__ = ("_checked", "_index", "_scanned", "index_path", "name", "path")

    def __init__(self, name: str, path: Path, found: Index | None = None) -> None:
        self.name = name
        self.path = path
        self.index_path = path.with_suffix(".idx")
        self._index = found
        self._scanned = False
        self._checked = False

    def index(self) -> Index:
        """Where the frames stand; FileNotFoundError where the pack is gone."""
        if self._index is None:
            try:
                self._index = read_index(self)
            except (DamageError, FileNotFoundError):
                self._rescan()
        assert self._index is not None
        return self._index

    def _rescan(self) -> None:
        self._index = scanned_index(self)
        self._scanned = True

    def fetch(self, oid: Oid) -> Stored:
        """The frame ``oid``, which the index has; DamageError where it is not as indexed."""
        entry = self.index().find(oid)
        try:
            return self._read(entry)
        except DamageError:
            if self._scanned:
                raise
            self._rescan()
            return self._read(self.index().find(oid))

    def _read(self, entry: Entry | None) -> Stored:
        if entry is None:
            raise DamageError("the frame is not found in its pack")
        with self.opened() as fd:
            if not self._checked:
                self._check_version(fd)
            return read_frame(fd, entry)

    def _check_version(self, fd: int) -> None:
        with suppress(DamageError):  # frames say themselves whether they are whole
            check_header(read_at(fd, HEADER_SIZE, 0))
        self._checked = True

    @contextmanager
    def opened(self) -> Iterator[int]:
        fd = system.open_read(self.path)
        try:
            yield fd
        finally:
            system.close(fd)


def read_at(fd: int, length: int, offset: int) -> bytes:
    """Up to ``length`` bytes at ``offset``; fewer at the end of the file only."""
    data = _pread(fd, length, offset)
    while data and len(data) < length:
        more = _pread(fd, length - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data


def _pread(fd: int, length: int, offset: int) -> bytes:
    """An error of the disk may pass, so a read is tried twice; what stays is damage."""
    for _ in range(2):
        try:
            return system.pread(fd, length, offset)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
    raise UnreadableError("the disk cannot read it")


def read_frame(fd: int, entry: Entry) -> Stored:
    """The frame at ``entry``; DamageError unless the pack says there what the entry says."""
    data = read_at(fd, frame.HEADER_SIZE + entry.header.clen, entry.offset)
    header, checksum = frame.parse(data[: frame.HEADER_SIZE])
    body = memoryview(data)[frame.HEADER_SIZE :]
    if header != entry.header or len(body) != header.clen:
        raise DamageError("the frame is not the one that the index names, or is cut off")
    return Stored(header, body, checksum)


def read_index(pack: PackFile) -> Index:
    """The index file of ``pack``; DamageError or FileNotFoundError."""
    fd = system.open_read(pack.index_path)
    try:
        data = read_at(fd, system.file_size(fd), 0)
    finally:
        system.close(fd)
    return index.parse(data, pack.name)


def scanned_index(pack: PackFile, *, strict: bool = False) -> Index:
    """The index of ``pack`` from its frames alone; ``strict`` as for ``scan``."""
    with pack.opened() as fd:
        size = system.file_size(fd)
        entries: dict[Oid, Entry] = {}
        for found in scan(fd, size, strict=strict):
            if isinstance(found, Entry):
                entries.setdefault(found.header.id, found)
    return index.parse(index.render(pack.name, size, entries.values()), pack.name)


def scan(fd: int, size: int, *, strict: bool = False) -> Iterator[Entry | Gap]:
    """Every frame of an open pack in order, and the gaps between them. Decodes nothing.

    What the disk cannot read is a gap, too, or with ``strict`` an UnreadableError.
    """
    at = HEADER_SIZE
    while at < size:
        try:
            header, _ = frame.parse(read_at(fd, frame.HEADER_SIZE, at))
            end = at + frame.HEADER_SIZE + header.clen
            if end > size:
                raise DamageError("a frame is cut off")
        except DamageError as error:
            if strict and isinstance(error, UnreadableError):
                raise
            end = _next_magic(fd, at + 1, size)
            yield Gap(at, end)
        else:
            yield Entry(header, at)
        at = end


def _next_magic(fd: int, start: int, size: int) -> int:
    """Offset of the next frame magic, or ``size``."""
    for at in range(start, size, _CHUNK):
        try:
            found = read_at(fd, _CHUNK + len(frame.MAGIC) - 1, at).find(frame.MAGIC)
        except DamageError:
            continue
        if found >= 0:
            return at + found
    return size


class PackWriter:
    """A pack on its way: frames are appended to a new file, which is then made durable."""

    def __init__(self, path: Path, *, sync: bool = True) -> None:
        self.path = path
        self._sync = sync
        self.index_path = path.with_suffix(".idx")
        self.size = 0
        self._entries: list[Entry] = []
        self._hasher = blake3()
        self._fd = system.open_excl(path)
        self._write(render_header())

    def add(self, header: Header, body: Buffer) -> None:
        self._entries.append(Entry(header, self.size))
        self._write(frame.render(header, body))
        self._write(body)

    def _write(self, data: Buffer) -> None:
        self._hasher.update(data)
        write_all(self._fd, data)
        self.size += len(data)

    def finish(self) -> Index:
        """Make pack and index durable under their temporary names; the index knows the name."""
        try:
            if self._sync:
                system.fsync(self._fd)
        finally:
            self.close()
        name = self._hasher.hexdigest()
        data = index.render(name, self.size, self._entries)
        write_file(self.index_path, data, sync=self._sync)
        return index.parse(data, name)

    def close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            system.close(fd)


def write_all(fd: int, data: Buffer) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[system.write(fd, rest) :]


def write_file(path: Path, data: bytes, *, sync: bool = True) -> None:
    """A new file; with ``sync`` durable before this returns."""
    fd = system.open_excl(path)
    try:
        write_all(fd, data)
        if sync:
            system.fsync(fd)
    finally:
        system.close(fd)
