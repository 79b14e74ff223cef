"""sftp: the SSH File Transfer Protocol, version 3, over the stdin and stdout of a program.

What is used of draft-ietf-secsh-filexfer-02, and three extensions of OpenSSH's server (its file
PROTOCOL): posix-rename@openssh.com, since a plain RENAME replaces nothing, fsync@openssh.com, and
limits@openssh.com.
Requests of several threads are under way at once on one connection; what answers which is told by
its number. A failure of the connection is a RemoteError that may pass.
"""

from __future__ import annotations

import struct
import subprocess
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from git_nn.errors import RemoteError

BLOCK = 32 * 1024  # bytes that every server takes in one request
LARGE = 128 * 1024  # of one that says that it takes more
AHEAD = 1024 * 1024  # of one transfer under way
_FOLDERS = 64  # open at once
READ, WRITE, CREATE, EXCLUSIVE = 1, 2, 8, 32
FOLDER, FILE = 0o040000, 0o100000

_INIT, _VERSION = 1, 2
_OPEN, _CLOSE, _READ, _WRITE, _LSTAT = 3, 4, 5, 6, 7
_OPENDIR, _READDIR, _REMOVE, _MKDIR, _RENAME = 11, 12, 13, 14, 18
_STATUS, _HANDLE, _DATA, _NAME, _ATTRS, _EXTENDED, _REPLY = 101, 102, 103, 104, 105, 200, 201
_OK, _EOF, _NO_SUCH_FILE, _DENIED, _FAILURE = 0, 1, 2, 3, 4
_LOST = (6, 7)  # no connection, connection lost
_MOST = 256 * 1024 + 1024  # bytes of a packet
_SHIFTS = (8, 8, 4, 8)  # bytes of size, owner, permissions, times in ATTRS

Answer = tuple[int, memoryview]


@dataclass(frozen=True, slots=True)
class Status:
    """What the server says of a file; ``kind`` as in st_mode, ``modified`` as in st_mtime."""

    size: int
    kind: int
    modified: int


class FailedError(Exception):
    """The server refuses a request: the code and its words."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Sftp:
    """A connection. Paths are as the server takes them, relative to the person's folder there."""

    def __init__(
        self, argv: Sequence[str], env: Mapping[str, str], folder: Path, label: str
    ) -> None:
        self._label = label
        try:
            self._process = subprocess.Popen(
                argv, env=dict(env), cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )  # fmt: skip
        except OSError as error:
            raise RemoteError(f"{label}: {argv[0]} cannot be started: {error.strerror}") from error
        self._said: deque[str] = deque(maxlen=5)
        self._waiting: dict[int, Future[Answer]] = {}
        self._lock = threading.Lock()
        self._next = 0
        self._dead = False
        self._hearing = threading.Thread(target=self._hear, daemon=True)
        self._hearing.start()
        self._receiving = threading.Thread(target=self._receive, daemon=True)
        try:
            self._extensions = self._handshake()
        except BaseException:
            self.close()
            raise
        self._receiving.start()
        known = b"limits@openssh.com" in self._extensions
        self._limits = self._ask(_EXTENDED, _bytes(b"limits@openssh.com")) if known else None

    # -- the protocol

    def _handshake(self) -> dict[bytes, bytes]:
        try:
            self._send(struct.pack(">BI", _INIT, 3))
            packet = self._packet()
        except (OSError, EOFError):
            raise self._lost() from None
        if packet[0] != _VERSION:
            raise RemoteError(f"{self._label} speaks no SFTP")
        found, rest = {}, packet[5:]
        while rest:
            name, rest = _string(rest)
            value, rest = _string(rest)
            found[bytes(name)] = bytes(value)
        return found

    def _send(self, packet: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(struct.pack(">I", len(packet)) + packet)
        self._process.stdin.flush()

    def _packet(self) -> memoryview:
        (length,) = struct.unpack(">I", self._exactly(4))
        if not 0 < length <= _MOST:
            raise EOFError  # a greeting of the shell over there, for example
        return memoryview(self._exactly(length))

    def _exactly(self, count: int) -> bytes:
        assert self._process.stdout is not None
        data = self._process.stdout.read(count)
        if len(data) < count:
            raise EOFError
        return data

    def _receive(self) -> None:
        """Give each answer to whoever waits for it, until the connection ends."""
        try:
            while True:
                packet = self._packet()
                (number,) = struct.unpack_from(">I", packet, 1)
                with self._lock:
                    future = self._waiting.pop(number, None)
                if future is not None:
                    future.set_result((packet[0], packet[5:]))
        except (OSError, EOFError, struct.error, ValueError):
            with self._lock:
                self._dead = True
                left, self._waiting = self._waiting, {}
            for future in left.values():
                future.set_exception(self._lost())

    def _hear(self) -> None:
        """Keep the last words of ssh, which say why a connection failed."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            text = line.decode("utf-8", "replace").strip()
            if text:
                self._said.append("".join(c if c.isprintable() else "?" for c in text)[:300])

    def _lost(self) -> RemoteError:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        self._hearing.join(1)
        why = self._said[-1] if self._said else "the connection was lost"
        refused = self._process.returncode == 255 and bool(self._said)
        return RemoteError(
            f"{self._label}: {why}", hint="try 'ssh' to that host", transient=not refused
        )

    def _ask(self, kind: int, body: bytes) -> Future[Answer]:
        future: Future[Answer] = Future()
        with self._lock:
            if self._dead:
                raise self._lost()
            self._next = (self._next + 1) % 2**32
            number = self._next
            self._waiting[number] = future
            try:
                self._send(struct.pack(">BI", kind, number) + body)
            except (OSError, ValueError):
                del self._waiting[number]
                broken = True
            else:
                broken = False
        if broken:
            raise self._lost()
        return future

    def _answer(self, future: Future[Answer], wanted: int) -> memoryview:
        kind, body = future.result()
        if kind == _STATUS:
            (code,) = struct.unpack_from(">I", body)
            if code == _OK and wanted == _STATUS:
                return body
            text = bytes(_string(body[4:])[0]).decode("utf-8", "replace") if len(body) > 4 else ""
            raise _error(code, text, self._label)
        if kind != wanted:
            raise RemoteError(f"{self._label} gives an answer that SFTP does not have")
        return body

    def _do(self, kind: int, body: bytes, wanted: int = _STATUS) -> memoryview:
        return self._answer(self._ask(kind, body), wanted)

    def _block(self) -> int:
        """How many bytes one request may read or write."""
        if self._limits is None:
            return BLOCK
        try:
            limits = struct.unpack_from(">QQQ", self._answer(self._limits, _REPLY))
        except (FailedError, EOFError, FileNotFoundError):
            return BLOCK
        return min(LARGE, *(limit or LARGE for limit in limits[1:])) or BLOCK

    # -- files

    def open(self, path: str, flags: int) -> bytes:
        """A handle. FileNotFoundError, or FailedError."""
        body = _text(path) + struct.pack(">II", flags, 0)
        return bytes(_string(self._do(_OPEN, body, _HANDLE))[0])

    def close_handle(self, handle: bytes) -> None:
        self._do(_CLOSE, _bytes(handle))

    def read(self, handle: bytes, start: int, stop: int | None) -> Iterator[bytes]:
        """Bytes [start, stop) of an open file, to its end for None, in order."""
        asked: deque[tuple[int, int, Future[Answer]]] = deque()
        at, block = start, self._block()
        while True:
            while len(asked) < AHEAD // block and (stop is None or at < stop):
                count = block if stop is None else min(block, stop - at)
                body = _bytes(handle) + struct.pack(">QI", at, count)
                asked.append((at, count, self._ask(_READ, body)))
                at += count
            if not asked:
                return
            begin, count, future = asked.popleft()
            try:
                data = bytes(_string(self._answer(future, _DATA))[0])
            except EOFError:
                return
            yield data
            if len(data) < count:  # less than asked for: what follows has been asked for wrongly
                asked.clear()
                at = begin + len(data)
                if not data:
                    return

    def write(self, handle: bytes, pieces: Iterable[bytes]) -> Iterator[int]:
        """Write from the start; gives the length of each piece that the server has taken."""
        asked: deque[tuple[int, Future[Answer]]] = deque()
        at, block = 0, self._block()
        for piece in pieces:
            for start in range(0, len(piece), block):
                part = piece[start : start + block]
                body = _bytes(handle) + struct.pack(">Q", at) + _bytes(part)
                asked.append((len(part), self._ask(_WRITE, body)))
                at += len(part)
                if len(asked) > AHEAD // block:
                    yield self._taken(*asked.popleft())
        while asked:
            yield self._taken(*asked.popleft())

    def _taken(self, length: int, future: Future[Answer]) -> int:
        self._answer(future, _STATUS)
        return length

    def sync(self, handle: bytes) -> None:
        """Make what was written durable, where the server can."""
        if b"fsync@openssh.com" in self._extensions:
            self._do(_EXTENDED, _bytes(b"fsync@openssh.com") + _bytes(handle))

    def rename(self, source: str, target: str) -> None:
        """Replaces ``target``, where the server can; FailedError where it is in the way."""
        names = _text(source) + _text(target)
        if b"posix-rename@openssh.com" in self._extensions:
            self._do(_EXTENDED, _bytes(b"posix-rename@openssh.com") + names)
        else:
            self._do(_RENAME, names)

    def status(self, path: str) -> Status:
        """Of the name itself, be it a link. FileNotFoundError."""
        return _attributes(self._do(_LSTAT, _text(path), _ATTRS))[0]

    def lists(self, paths: Iterable[str]) -> Iterator[tuple[str, list[tuple[str, Status]]]]:
        """Names and what they are, in each of these folders that is there: many at once."""
        left = iter(paths)
        while group := list(islice(left, _FOLDERS)):
            asked = [(path, self._ask(_OPENDIR, _text(path))) for path in group]
            handles: dict[str, bytes] = {}
            for path, future in asked:
                with suppress(FileNotFoundError):
                    handles[path] = bytes(_string(self._answer(future, _HANDLE))[0])
            yield from self._listed(handles)

    def _listed(
        self, handles: Mapping[str, bytes]
    ) -> Iterator[tuple[str, list[tuple[str, Status]]]]:
        left, found = dict(handles), {path: list[tuple[str, Status]]() for path in handles}
        while left:
            asked = [(path, self._ask(_READDIR, _bytes(left[path]))) for path in left]
            for path, future in asked:
                try:
                    found[path] += _names(self._answer(future, _NAME))
                except EOFError:
                    del left[path]
        for future in [self._ask(_CLOSE, _bytes(handle)) for handle in handles.values()]:
            self._answer(future, _STATUS)
        yield from found.items()

    def make_folder(self, path: str) -> None:
        self._do(_MKDIR, _text(path) + struct.pack(">I", 0))

    def remove(self, path: str) -> None:
        self._do(_REMOVE, _text(path))

    @property
    def alive(self) -> bool:
        return not self._dead

    def close(self) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for thread, stream in (
            (self._hearing, self._process.stderr),
            (self._receiving, self._process.stdout),
        ):
            if thread.is_alive():
                thread.join()
            assert stream is not None
            stream.close()


def _names(body: memoryview) -> Iterator[tuple[str, Status]]:
    (count,) = struct.unpack_from(">I", body)
    body = body[4:]
    for _ in range(count):
        name, body = _string(body)
        _, body = _string(body)
        status, body = _attributes(body)
        yield bytes(name).decode("utf-8", "surrogateescape"), status


def _error(code: int, text: str, label: str) -> Exception:
    if code == _EOF:
        return EOFError()
    if code == _NO_SUCH_FILE:
        return FileNotFoundError(text)
    if code in _LOST:
        return RemoteError(f"{label}: {text}", transient=True)
    return FailedError(code, text or f"SFTP status {code}")


def _bytes(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _text(text: str) -> bytes:
    return _bytes(text.encode("utf-8", "surrogateescape"))


def _string(data: memoryview) -> tuple[memoryview, memoryview]:
    """(a string, what follows it); struct.error where there is none."""
    (length,) = struct.unpack_from(">I", data)
    if length > len(data) - 4:
        raise struct.error("a string is cut off")
    return data[4 : 4 + length], data[4 + length :]


def _attributes(data: memoryview) -> tuple[Status, memoryview]:
    (flags,) = struct.unpack_from(">I", data)
    at, size, kind, modified = 4, 0, 0, 0
    for bit, length in enumerate(_SHIFTS):
        if flags & 1 << bit:
            if bit == 0:
                (size,) = struct.unpack_from(">Q", data, at)
            if bit == 2:
                (mode,) = struct.unpack_from(">I", data, at)
                kind = mode & 0o170000
            if bit == 3:
                (modified,) = struct.unpack_from(">I", data, at + 4)
            at += length
    rest = data[at:]
    if flags & 0x80000000:
        (count,) = struct.unpack_from(">I", rest)
        rest = rest[4:]
        for _ in range(2 * count):
            _, rest = _string(rest)
    return Status(size, kind, modified), rest
