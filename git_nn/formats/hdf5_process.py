"""The worker process that runs the HDF5 library, seen from the process that needs it.

One worker is started when the first HDF5 file is met and serves the next ones, since
starting it costs more than reading a file. It never sees a path of the file it reads:
it asks for bytes, and this process answers from the Source. Invariants:

1. A crash, a time-out or nonsense in the worker is a LayoutError here, nothing worse.
2. A worker that crashed, ran out of time or lost HDF5 objects serves no other file; and a crash
   of a worker that had served before is tried once more, in a fresh one. So what
   is said about a file never depends on the files before it.
3. The worker ends when this process does, since its input then ends.

Messages in both directions are 8 bytes of length, little-endian, and a msgpack record:
to the worker [operation, limits, arguments] or bytes that it asked for; from the worker
[READ, source, offset, length], [DONE, value, reusable] or [FAILED, message, reusable].
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from typing import IO, Any

from git_nn.errors import LayoutError
from git_nn.formats.base import Source
from git_nn.objects.encoding import pack, unpack

READ, DONE, FAILED = 0, 1, 2
MAX_MESSAGE = 512 * 1024 * 1024
MAX_READ = 16 * 1024 * 1024

_PACKAGES = ("h5py", "numpy", "msgpack")
# HDF5 takes drivers, plug-ins and path prefixes from the environment: it gets none of ours.
_BOOT = """
import os, sys
kept = {k: v for k, v in os.environ.items() if k.upper() == "SYSTEMROOT"}
os.environ.clear()
os.environ.update(kept, HDF5_USE_FILE_LOCKING="FALSE", HDF5_PLUGIN_PRELOAD="::",
    HDF5_PLUGIN_PATH="", OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
sys.path += sys.argv[1:]
from git_nn.formats.hdf5_worker import main
main()
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one call may use: seconds of CPU and of the clock, bytes of address space."""

    cpu: int
    wall: float
    memory: int
    writes: bool = False


class _DiedError(Exception):
    """The worker ended, or said something that no worker says, before it answered."""


class _TimeOutError(Exception):
    """The worker was stopped because it took too long."""


class Worker:
    """One child process; used by one thread at a time."""

    def __init__(self) -> None:
        self.served = 0
        self.reusable = True
        self._late = False
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _BOOT, *_import_path()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to: IO[bytes] = self._process.stdin
        self._from: IO[bytes] = self._process.stdout

    @property
    def pid(self) -> int:
        return self._process.pid

    def call(
        self, operation: str, args: list[Any], sources: Sequence[Source], limits: Limits
    ) -> Any:
        """The worker's answer; LayoutError where it says that the file is no good."""
        self.reusable = False
        timer = threading.Timer(limits.wall, self._stop_late)
        timer.daemon = True
        timer.start()
        try:
            request = [operation, [limits.cpu, limits.memory, limits.writes], args]
            kind, value, self.reusable = self._converse(pack(request), sources)
        except _DiedError as error:
            raise (_TimeOutError() if self._late else error) from None
        finally:
            timer.cancel()
            self.served += 1
        if kind == FAILED:
            raise LayoutError(str(value))
        return value

    def _converse(self, request: bytes, sources: Sequence[Source]) -> tuple[int, Any, bool]:
        try:
            send(self._to, request)
            while True:
                match unpack(receive(self._from)):
                    case [0, int(index), int(offset), int(length)] if length <= MAX_READ:
                        send(self._to, sources[index].read(offset, length))
                    case [(1 | 2) as kind, value, bool(reusable)]:
                        return kind, value, reusable
                    case _:
                        raise _DiedError
        except (OSError, EOFError, ValueError, IndexError) as error:
            raise _DiedError from error

    def _stop_late(self) -> None:
        self._late = True
        self._process.kill()

    def close(self) -> None:
        """End the process and wait for it."""
        self._process.kill()
        self._process.wait()
        self.abandon()

    def abandon(self) -> None:
        """Close our ends only: the worker belongs to the process that started it."""
        for pipe in (self._to, self._from):
            with suppress(OSError):
                pipe.close()
        if self._process.returncode is None:
            self._process.returncode = 0


def send(pipe: IO[bytes], data: bytes) -> None:
    """One message; for an unbuffered pipe, whose write may take less than all."""
    left = memoryview(len(data).to_bytes(8, "little") + data)
    while left:
        left = left[pipe.write(left) :]


def receive(pipe: IO[bytes]) -> bytes:
    """The next message; EOFError where the other side has ended."""
    length = int.from_bytes(_exactly(pipe, 8), "little")
    if length > MAX_MESSAGE:
        raise ValueError("a message of this length is none")
    return bytes(_exactly(pipe, length))


def _exactly(pipe: IO[bytes], length: int) -> bytearray:
    data = bytearray()
    while len(data) < length:
        piece = pipe.read(min(length - len(data), 1 << 20))
        if not piece:
            raise EOFError
        data += piece
    return data


def _import_path() -> list[str]:
    """Folders of the few packages that the worker needs; it searches no others.

    An empty entry of sys.path is the current folder: a work tree, whose files are not trusted.
    """
    known = [entry for entry in sys.path if Path(entry).is_absolute()]
    folders = [str(Path(__file__).absolute().parents[2])]
    for package in _PACKAGES:
        spec = PathFinder.find_spec(package, known)
        if spec is None or spec.origin is None:
            raise LayoutError(f"the Python package {package} is not installed")
        folders.append(str(Path(spec.origin).parent.parent))
    return list(dict.fromkeys(folders))


class _Shared:
    """The one worker of this process, and the lock that keeps threads apart."""

    lock = threading.Lock()
    worker: Worker | None = None


def call(operation: str, args: list[Any], sources: Sequence[Source], limits: Limits) -> Any:
    """What the worker answers; LayoutError for anything else that may happen to it."""
    with _Shared.lock:
        try:
            return _call(operation, args, sources, limits)
        except _TimeOutError:
            raise LayoutError("reading it as HDF5 took too long") from None
        except _DiedError:
            raise LayoutError("the HDF5 library crashed on it") from None


def _call(operation: str, args: list[Any], sources: Sequence[Source], limits: Limits) -> Any:
    if limits.writes:
        stop()  # a fresh worker: what was half written must not be tried again
    while True:
        worker = _Shared.worker = _Shared.worker or Worker()
        try:
            return worker.call(operation, args, sources, limits)
        except _DiedError:
            if worker.served == 1:
                raise
        finally:
            if not worker.reusable:
                stop()


def stop() -> None:
    """End the worker; the next call starts another one."""
    worker, _Shared.worker = _Shared.worker, None
    if worker is not None:
        worker.close()


def _after_fork() -> None:
    """A forked child has its own lock and no worker."""
    _Shared.lock = threading.Lock()
    worker, _Shared.worker = _Shared.worker, None
    if worker is not None:
        worker.abandon()


atexit.register(stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
