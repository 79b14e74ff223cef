"""oid: the content id of raw bytes, BLAKE3-256.

An Oid is its 32 digest bytes; in text it is 64 lower-case hex digits. It is always
the id of *raw* bytes (a tensor payload, a segment, a skeleton), never of their
encoding on disk, so encodings can improve without any pointer changing.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable

from blake3 import blake3

DIGEST_SIZE = 32
_HEX = re.compile(r"[0-9a-f]{64}\Z")


class Oid(bytes):
    """32 digest bytes. Raises ValueError for any other length."""

    __slots__ = ()

    def __new__(cls, digest: bytes) -> Oid:
        if len(digest) != DIGEST_SIZE:
            raise ValueError(f"an oid has {DIGEST_SIZE} bytes, not {len(digest)}")
        return super().__new__(cls, digest)

    @classmethod
    def from_hex(cls, text: str) -> Oid:
        """Parse 64 lower-case hex digits; anything else is a ValueError."""
        if not _HEX.match(text):
            raise ValueError(f"not an oid: {text[:80]!r}")
        return cls(bytes.fromhex(text))

    def __repr__(self) -> str:
        return f"Oid({self.hex()[:12]})"

    def __str__(self) -> str:
        return self.hex()


def oid_of(*pieces: bytes | bytearray | memoryview) -> Oid:
    """The oid of the concatenation of ``pieces``."""
    return oid_of_stream(pieces)


def hashed(pieces: Iterable[bytes]) -> Generator[bytes, None, Oid]:
    """The pieces as they come; the value of the generator is the id of all of them."""
    hasher = blake3()
    for piece in pieces:
        hasher.update(piece)
        yield piece
    return Oid(hasher.digest())


def oid_of_stream(pieces: Iterable[bytes | bytearray | memoryview]) -> Oid:
    """The oid of the concatenation of ``pieces``, each read once."""
    hasher = blake3()
    for piece in pieces:
        hasher.update(piece)
    return Oid(hasher.digest())
