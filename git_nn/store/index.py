"""index: where the frames of one pack stand. A cache: it can be rebuilt by scanning the pack.

An index is read whole, checked against its own hash, and searched as bytes: no entry
becomes an object before it is asked for. Specified in docs/spec-store.md, section 5.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise

from blake3 import blake3

from git_nn.objects.oid import DIGEST_SIZE, Oid
from git_nn.store.frame import DamageError, Header

MAGIC = b"\x89NNI\r\n\x1a\n"
VERSION = 1

_HEAD = struct.Struct("<8sIIQ32s")
_FANOUT = struct.Struct("<256I")
_RECORD = struct.Struct("<QQQ4BI32s")
_IDS = _HEAD.size + _FANOUT.size


@dataclass(frozen=True, slots=True)
class Entry:
    """A frame and the offset of its header in the pack."""

    header: Header
    offset: int


@dataclass(frozen=True, slots=True)
class Index:
    """A checked index; ``data`` is its file."""

    data: bytes
    count: int
    pack_size: int
    pack_name: str
    fanout: tuple[int, ...]

    def find(self, oid: Oid) -> Entry | None:
        wanted: bytes = oid
        first = wanted[0]
        low, high = self.fanout[first - 1] if first else 0, self.fanout[first]
        at = bisect_left(range(self.count), wanted, low, high, key=self._id)
        return self.entry(at) if at < high and self._id(at) == oid else None

    def _id(self, at: int) -> bytes:
        start = _IDS + at * DIGEST_SIZE
        return self.data[start : start + DIGEST_SIZE]

    def entry(self, at: int) -> Entry:
        start = _IDS + self.count * DIGEST_SIZE + at * _RECORD.size
        offset, clen, rawlen, kind, codec, hint, depth, _, base = _RECORD.unpack_from(
            self.data, start
        )
        oid = Oid(self._id(at))
        return Entry(Header(oid, kind, codec, hint, depth, Oid(base), clen, rawlen), offset)

    def __iter__(self) -> Iterator[Entry]:
        return (self.entry(at) for at in range(self.count))


def render(pack_name: str, pack_size: int, entries: Iterable[Entry]) -> bytes:
    """The index file of a pack."""
    ordered = sorted(entries, key=lambda entry: entry.header.id)
    counts = [0] * 256
    for entry in ordered:
        counts[entry.header.id[0]] += 1
    head = _HEAD.pack(MAGIC, VERSION, len(ordered), pack_size, bytes.fromhex(pack_name))
    ids = b"".join(entry.header.id for entry in ordered)
    records = b"".join(_record(entry) for entry in ordered)
    data = b"".join((head, _FANOUT.pack(*accumulate(counts)), ids, records))
    return data + blake3(data).digest()


def _record(entry: Entry) -> bytes:
    header = entry.header
    return _RECORD.pack(
        entry.offset, header.clen, header.rawlen,
        header.kind, header.codec, header.hint, header.depth, 0, header.base,
    )  # fmt: skip


def parse(data: bytes, pack_name: str) -> Index:
    """The index in ``data``; DamageError unless it is whole and of that pack."""
    if len(data) < _IDS + DIGEST_SIZE:
        raise DamageError("the index is cut off")
    magic, version, count, pack_size, name = _HEAD.unpack_from(data)
    if magic != MAGIC or version != VERSION or name.hex() != pack_name:
        raise DamageError("the index is of another pack or version")
    if len(data) != _IDS + count * (DIGEST_SIZE + _RECORD.size) + DIGEST_SIZE:
        raise DamageError("the index has another length")
    if blake3(memoryview(data)[:-DIGEST_SIZE]).digest() != data[-DIGEST_SIZE:]:
        raise DamageError("the index does not match its checksum")
    fanout = _FANOUT.unpack_from(data, _HEAD.size)
    if fanout[-1] != count or any(a > b for a, b in pairwise(fanout)):
        raise DamageError("the index is not in order")
    return Index(data, count, pack_size, pack_name, fanout)
