"""A filter that only drains Git's pipe: the floor of every filter's clean and smudge.

clean reads the content and answers with a constant; smudge answers with the bytes of the
file that BENCH_CONTENT names. Started by Git as ``filter.pipe.process``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

PACKET = 65516
ANSWER = b"drained\n"


class Reader:
    """Packets from Git, with few system calls: the buffer holds many packets."""

    def __init__(self) -> None:
        self._buffer = bytearray(2**20)
        self._start = self._end = 0

    def _fill(self, count: int) -> None:
        view = memoryview(self._buffer)
        if self._start + count > len(view):
            rest = self._end - self._start
            view[:rest] = view[self._start : self._end]
            self._start, self._end = 0, rest
        while self._end - self._start < count:
            got = os.readv(0, [view[self._end :]])
            if not got:
                raise SystemExit
            self._end += got

    def packet(self) -> memoryview | None:
        """The next packet, valid until the call after; None for a flush."""
        self._fill(4)
        length = int(self._buffer[self._start : self._start + 4], 16)
        self._fill(max(4, length))
        data = memoryview(self._buffer)[self._start + 4 : self._start + length]
        self._start += max(4, length)
        return data if length else None

    def lines(self) -> list[bytes]:
        found = []
        while (data := self.packet()) is not None:
            found.append(bytes(data).rstrip(b"\n"))
        return found


def send(*packets: bytes) -> None:
    """Packets and a flush."""
    framed = b"".join(b"%04x%s" % (len(data) + 4, data) for data in packets)
    view = memoryview(framed + b"0000")
    while view:
        view = view[os.write(1, view) :]


def send_content(pieces: Iterable[bytes]) -> None:
    for piece in pieces:
        view = memoryview(b"%04x%s" % (len(piece) + 4, piece))
        while view:
            view = view[os.write(1, view) :]
    send()


def wanted_content() -> Iterable[bytes]:
    with open(os.environ["BENCH_CONTENT"], "rb", buffering=0) as file:  # noqa: PTH123  pathlib is slow to load
        while piece := file.read(PACKET):
            yield piece


def main() -> None:
    reader = Reader()
    reader.lines()
    send(b"git-filter-server\n", b"version=2\n")
    reader.lines()
    send(b"capability=clean\n", b"capability=smudge\n")
    while True:
        request = reader.lines()
        while reader.packet() is not None:
            pass
        send(b"status=success\n")
        send_content(wanted_content() if b"command=smudge" in request else (ANSWER,))
        send()


if __name__ == "__main__":
    main()
