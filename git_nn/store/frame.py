"""frame: one segment, or one list of segments, as it stands in a pack.

The 112-byte header describes the body so well that a damaged pack can be scanned without
its index. Specified in docs/spec-store.md, section 3. Whatever breaks a rule is a
DamageError, found before memory is allocated for it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from blake3 import blake3

from git_nn.codec import table
from git_nn.errors import StoreError
from git_nn.objects.oid import DIGEST_SIZE, Oid, oid_of
from git_nn.store.base import SEGMENT, Buffer
from git_nn.store.failure import UPGRADE

MAGIC = b"\x8aNNF\r\n\x1a\n"
DATA, LIST = 1, 2
NO_BASE = Oid(bytes(DIGEST_SIZE))
MAX_LIST = 64 * 1024 * 1024
NO_LIMIT = 256  # above every depth

_FIELDS = struct.Struct("<8s4BIQQ32s32s8s")
_SUM_SIZE = 8
HEADER_SIZE = _FIELDS.size + _SUM_SIZE
_PART = struct.Struct("<32sI")


class DamageError(Exception):
    """Bytes of a pack that break a rule; the message says which.

    Never leaves the store, but for bytes that come from a remote (see receiving.py).
    """


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a frame, without magic and checksums."""

    id: Oid
    kind: int
    codec: int
    hint: int
    depth: int
    base: Oid
    clen: int
    rawlen: int

    def __post_init__(self) -> None:
        if self.kind == DATA:
            if not self.clen <= self.rawlen <= SEGMENT:
                raise DamageError("a frame claims an impossible length")
            if (self.base == NO_BASE) != (self.depth == 0):
                raise DamageError("a frame claims a base and no depth, or a depth and no base")
        elif self.kind == LIST:
            whole = self.clen % _PART.size == 0 and 0 < self.clen <= MAX_LIST
            if not whole or self.codec != table.RAW or self.base != NO_BASE:
                raise DamageError("a list frame has an impossible header")
        else:
            raise DamageError(f"a frame of kind {self.kind}")


def sum8(data: Buffer) -> bytes:
    return blake3(data).digest(_SUM_SIZE)


def render(header: Header, body: Buffer) -> bytes:
    """The header as bytes, with its checksums."""
    fields = _FIELDS.pack(
        MAGIC, header.kind, header.codec, header.hint, header.depth, 0,
        header.rawlen, header.clen, header.id, header.base, sum8(body),
    )  # fmt: skip
    return fields + sum8(fields)


def parse(data: Buffer) -> tuple[Header, bytes]:
    """(header, checksum of the body) from the first HEADER_SIZE bytes of a frame."""
    fields = bytes(data[: _FIELDS.size])
    if len(data) < HEADER_SIZE:
        raise DamageError("a frame header is cut off")
    if not fields.startswith(MAGIC) or sum8(fields) != data[_FIELDS.size : HEADER_SIZE]:
        raise DamageError("a frame header is damaged")
    _, kind, codec, hint, depth, zero, rawlen, clen, oid, base, body = _FIELDS.unpack(fields)
    if zero:
        raise DamageError("a frame header has an unknown field")
    return Header(Oid(oid), kind, codec, hint, depth, Oid(base), clen, rawlen), body


def check_body(body: Buffer, expected: bytes) -> None:
    if sum8(body) != expected:
        raise DamageError("the body of a frame does not match its checksum")


def decode(header: Header, body: Buffer, base: Buffer | None) -> Buffer:
    """The raw bytes of a data frame, compared with its id; ``base`` is that of a delta."""
    try:
        if (base is not None) != table.needs_base(header.codec):
            raise DamageError("the codec of a frame and its base do not go together")
        raw = table.decode(header.codec, body, header.rawlen, base)
    except ValueError as error:
        raise DamageError(str(error)) from error
    except table.UnknownCodecError as error:
        raise StoreError(
            f"object {header.id.hex()[:12]} was stored by a newer git-nn: {error}", hint=UPGRADE
        ) from error
    if oid_of(raw) != header.id:
        raise DamageError("the decoded bytes do not match their id")
    return raw


@dataclass(frozen=True, slots=True)
class Part:
    """One segment of a longer object."""

    oid: Oid
    length: int


def render_list(parts: Sequence[Part]) -> bytes:
    return b"".join(_PART.pack(part.oid, part.length) for part in parts)


def parse_list(header: Header, body: Buffer) -> tuple[Part, ...]:
    """The segments that a list frame names; DamageError unless they make up its length."""
    parts = tuple(Part(Oid(oid), length) for oid, length in _PART.iter_unpack(body))
    if any(not 0 < part.length <= SEGMENT for part in parts):
        raise DamageError("a list has a segment of impossible length")
    if sum(part.length for part in parts) != header.rawlen:
        raise DamageError("a list has another length than its object")
    return parts
