"""Git's packet lines, as the long-running filter protocol uses them.

A packet is four hex digits with its length (these four included) and up to 65516 bytes
of data; ``0000`` is a flush. See gitprotocol-common and "Long Running Filter Process"
in gitattributes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO

MAX_DATA = 65516
_FLUSH = b"0000"
_HEADER = re.compile(rb"[0-9a-fA-F]{4}\Z")


class ProtocolError(Exception):
    """The other side does not speak the protocol; our only answer is to end."""


def read_packet(stream: BinaryIO) -> bytes | None:
    """The next packet's data; None for a flush. EOFError where the stream ends."""
    head = stream.read(4)
    if not head:
        raise EOFError
    if not _HEADER.match(head):
        raise ProtocolError(f"bad packet header {head!r}")
    length = int(head, 16)
    if length == 0:
        return None
    data = stream.read(length - 4) if length > 4 else b""
    if length < 4 or len(data) != length - 4:
        raise ProtocolError("truncated packet")
    return data


def read_content(stream: BinaryIO) -> Iterator[bytes]:
    """Packets up to the next flush."""
    while (data := read_packet(stream)) is not None:
        yield data


def read_lines(stream: BinaryIO) -> list[bytes]:
    """Text packets up to the next flush, without their line ends."""
    return [data.removesuffix(b"\n") for data in read_content(stream)]


def write_lines(stream: BinaryIO, lines: Iterable[bytes]) -> None:
    """Text packets and a flush."""
    stream.writelines(b"%04x%s\n" % (len(line) + 5, line) for line in lines)
    stream.write(_FLUSH)
    stream.flush()


def write_content(stream: BinaryIO, pieces: Iterable[bytes | bytearray | memoryview]) -> None:
    """Content of any length as packets, and a flush."""
    for piece in pieces:
        view = memoryview(piece)
        for start in range(0, len(view), MAX_DATA):
            data = view[start : start + MAX_DATA]
            stream.write(b"%04x" % (len(data) + 4))
            stream.write(data)
    stream.write(_FLUSH)
    stream.flush()
