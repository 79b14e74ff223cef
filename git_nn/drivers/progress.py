"""One line of progress on stderr: only on a terminal, only after half a second."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

_DELAY = 0.5
_INTERVAL = 0.1
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def human(size: float) -> str:
    """``38.1 MiB``: a number of bytes for people."""
    for unit in _UNITS:
        if size < 1024 or unit == _UNITS[-1]:
            break
        size /= 1024
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def _left(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} left" if minutes else f"{rest} s left"


@contextmanager
def metered(title: str) -> Iterator[Callable[[int], Callable[[int], None]]]:
    """For transfers: called with the bytes to come, it gives what counts them."""
    meter = Meter(title)

    def begin(total: int) -> Callable[[int], None]:
        meter.total += total
        return meter.advance

    try:
        yield begin
    finally:
        meter.finish()


@dataclass
class Meter:
    """Counts bytes of ``total`` (0: unknown) under a title such as 'Writing weights'.

    Any thread may advance it. GIT_NN_PROGRESS names a file that gets a line for every tenth of a
    second and one at the end, on a terminal or not: ``<unix time> <done> <total> <title>``.
    """

    title: str
    total: int = 0
    done: int = 0
    _start: float = field(default_factory=time.monotonic)
    _shown: float = 0.0
    _noted: float = 0.0
    _on_terminal: bool = field(default_factory=sys.stderr.isatty)
    _file: str = field(default_factory=lambda: os.environ.get("GIT_NN_PROGRESS", ""))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def advance(self, count: int) -> None:
        with self._lock:
            self.done += count
            now = time.monotonic()
            if self._file and now - self._noted >= _INTERVAL:
                self._noted = now
                self._note()
            if not self._on_terminal or now - self._start < _DELAY or now - self._shown < _INTERVAL:
                return
            self._shown = now
            self._print(now, "\r")

    def finish(self) -> None:
        if self._file and self.done:
            self._note()
        if self._shown:
            self._print(time.monotonic(), ", done.\n")

    def _note(self) -> None:
        """A line for the file; where it cannot be written, work goes on without."""
        line = f"{time.time():.3f} {self.done} {self.total} {self.title}\n"
        with suppress(OSError), open(self._file, "a", encoding="utf-8") as file:  # noqa: PTH123
            file.write(line)

    def clear(self) -> None:
        """Take the line away again, where what follows is the answer itself."""
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def _print(self, now: float, end: str) -> None:
        rate = self.done / max(now - self._start, 1e-9)
        share = f"{100 * self.done // self.total:3d}% " if self.total else ""
        text = f"\r{self.title}: {share}({human(self.done)}), {human(rate)}/s"
        if self.total > self.done and rate:
            text += f", {_left((self.total - self.done) / rate)}"
        print(f"{text}\x1b[K", end=end, file=sys.stderr, flush=True)
