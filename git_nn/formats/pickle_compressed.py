"""Tells a pickle that was compressed as a whole, as joblib does when asked to, from its start.

Its arrays cannot be told apart; this is only so that a person learns why. At most BLOCK
bytes are read, and a few decompressed.
"""

from __future__ import annotations

import zlib

from git_nn.formats.base import Source

BLOCK = 1024 * 1024  # bzip2 gives nothing before the end of a block of up to 900 kB
_DICTIONARY = 256 * 1024 * 1024  # bytes that xz may allocate

_MAGIC = {
    b"\x78": "zlib", b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\0": "xz",
    b"]\0\0": "lzma", b"\x04\x22\x4d\x18": "lz4", b"ZF0x": "zlib",
}  # fmt: skip


def starts_pickle(head: bytes) -> bool:
    """The opcode PROTO of protocols 2 to 5."""
    return head[:1] == b"\x80" and 2 <= int.from_bytes(head[1:2], "little") <= 5


def may_hide_pickle(head: bytes) -> bool:
    """Whether ``head`` starts a compressed pickle, or something in bzip2."""
    method = _method(head)
    return method == "bz2" or (bool(method) and starts_pickle(_first(method, head)))


def compression(source: Source) -> str:
    """The name of what compressed a file as a whole; empty where nothing did."""
    return _method(source.read(0, min(source.size, 6)))


def hides_pickle(source: Source) -> bool:
    """Whether a pickle comes out of a compressed file."""
    method = compression(source)
    return bool(method) and starts_pickle(_first(method, source.read(0, min(source.size, BLOCK))))


def _method(head: bytes) -> str:
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), "")


def _first(method: str, data: bytes) -> bytes:
    """The first bytes that come out; b"" where none do."""
    try:
        match method:
            case "zlib":
                body = data[data.find(b"\x78") :] if data.startswith(b"ZF") else data
                return zlib.decompressobj().decompress(body, 2)
            case "gzip":
                return zlib.decompressobj(wbits=31).decompress(data, 2)
            case "bz2":
                from bz2 import BZ2Decompressor

                return BZ2Decompressor().decompress(data, 2)
            case "xz" | "lzma":
                return _first_of_lzma(data[:65536])
        return _first_of_lz4(data)
    except (zlib.error, ValueError, OSError, EOFError, ImportError, IndexError):
        return b""


def _first_of_lzma(data: bytes) -> bytes:
    from lzma import LZMADecompressor, LZMAError

    try:
        return LZMADecompressor(memlimit=_DICTIONARY).decompress(data, 2)
    except LZMAError:
        return b""


def _first_of_lz4(data: bytes) -> bytes:
    """The literals with which the first block of a frame starts (LZ4 frame format 1.6)."""
    flags = data[4]
    at = 7 + 8 * bool(flags & 0x08) + 4 * bool(flags & 0x01)
    if data[at + 3] & 0x80:  # a block that is not compressed
        return data[at + 4 : at + 6]
    at += 4
    literals = data[at] >> 4
    at += 1
    if literals == 15:
        while data[at] == 255:
            at += 1
        at += 1
    return data[at : at + 2] if literals >= 2 else b""
