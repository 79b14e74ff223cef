"""The child process that runs the HDF5 library: limits itself, then serves one call after another.

Started by hdf5_process, which says what the messages are. The content of a file comes
over the pipe as the library asks for it; no path is opened while reading.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any

from git_nn.errors import GitNNError, LayoutError
from git_nn.formats.hdf5_process import DONE, FAILED, MAX_READ, READ, receive, send
from git_nn.objects.encoding import pack, unpack

PAGE = 64 * 1024
PAGES = 256

Fetch = Callable[[int, int, int], bytes]  # source, offset, length -> bytes


class Content:
    """A file object for h5py over pages that are fetched when they are needed."""

    def __init__(self, size: int, fetch: Fetch) -> None:
        self.size = size
        self._fetch = fetch
        self._at = 0
        self._start, self._last = 0, b""  # the page that was used last
        self._pages: dict[int, bytes] = {}

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def whole(self) -> bytes:
        """All of it, for a small file."""
        starts = range(0, self.size, MAX_READ)
        return b"".join(self._fetch(0, at, min(MAX_READ, self.size - at)) for at in starts)

    def readinto(self, buffer: Any) -> int:
        at, stop = self._at - self._start, self._at - self._start + len(buffer)
        if at >= 0 and stop <= len(self._last):  # HDF5 reads many small objects of one page
            buffer[:] = self._last[at:stop]
            self._at += len(buffer)
            return len(buffer)
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view) and self._at < self.size:
            page = self._page(self._at // PAGE)
            piece = page[self._at % PAGE :][: len(view) - done]
            view[done : done + len(piece)] = piece
            done += len(piece)
            self._at += len(piece)
        view[done:] = bytes(len(view) - done)  # beyond the end are zeros, as from HDF5's own driver
        return len(view)

    def _page(self, number: int) -> bytes:
        page = self._pages.pop(number, None)
        if page is None:
            start = number * PAGE
            page = self._fetch(0, start, min(PAGE, self.size - start))
            if len(self._pages) >= PAGES:
                del self._pages[next(iter(self._pages))]
        self._pages[number] = page
        self._start, self._last = number * PAGE, page
        return page


def main() -> None:
    """Serve calls until the input ends."""
    requests, replies = _channels()
    _limit("RLIMIT_CORE", 0)

    def fetch(source: int, offset: int, length: int) -> bytes:
        send(replies, pack([READ, source, offset, length]))
        return receive(requests)

    while True:
        try:
            operation, (cpu, memory, writes), args = unpack(receive(requests))
        except EOFError:
            return
        _apply_limits(cpu, memory, writes)
        try:
            kind, value = DONE, _serve(operation, args, fetch)
        except Exception as error:  # noqa: BLE001 - the other side stores the file as opaque
            kind, value = FAILED, _message(error)
        send(replies, pack([kind, value, _is_clean()]))


def _channels() -> tuple[IO[bytes], IO[bytes]]:
    """Our two pipes, moved away from where a library might print."""
    requests = os.fdopen(os.dup(0), "rb", buffering=0)
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)
    return requests, replies


def _apply_limits(cpu: int, memory: int, writes: bool) -> None:
    with suppress(ImportError):
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF)
        _limit("RLIMIT_CPU", int(used.ru_utime + used.ru_stime) + 1 + cpu)
        _limit("RLIMIT_AS", memory)
        _limit("RLIMIT_FSIZE", resource.RLIM_INFINITY if writes else 0)


def _limit(name: str, value: int) -> None:
    """Set a soft limit where the system has it; the hard one stays, for later calls."""
    with suppress(ImportError, AttributeError, ValueError, OSError):
        import resource

        which = getattr(resource, name)
        resource.setrlimit(which, (value, resource.getrlimit(which)[1]))


def _serve(operation: str, args: list[Any], fetch: Fetch) -> Any:
    if operation == "compose":
        from git_nn.formats import hdf5_compose

        return hdf5_compose.compose(args[0], args[1:], fetch)
    from git_nn.formats import hdf5_keys, hdf5_read

    function = {
        "layout": hdf5_read.layout,
        "structure": hdf5_read.structure,
        "keys": hdf5_keys.read,
    }[operation]
    return function(Content(args[0], fetch))


def _message(error: Exception) -> str:
    known = isinstance(error, (GitNNError, LayoutError))
    return (str(error) if known else f"{type(error).__name__}: {error}")[:500]


def _is_clean() -> bool:
    """Whether the library has let go of every object, so that the next file meets none."""
    from h5py import h5f

    kinds = h5f.OBJ_FILE | h5f.OBJ_DATASET | h5f.OBJ_GROUP | h5f.OBJ_ATTR
    count: int = h5f.get_obj_count(h5f.OBJ_ALL, kinds)
    return count == 0
