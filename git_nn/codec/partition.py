"""Codec 9: residuals ordered by the base's exponents (docs/spec-codecs.md, section 6).

An update is about as large for small weights as for large ones, so counted in steps of
the last bit its size follows from the exponent. Words of one exponent stand together and
get coders of their own; the decoder finds the order again in the base. Where unchanged
words stand together in the tensor, a map of the changed ones is the shorter description.
"""

from __future__ import annotations

import struct
from itertools import pairwise

import numpy as np

from git_nn.codec import choice, delta, kernels, ordering, records, residual, scratch
from git_nn.codec.kinds import Kind
from git_nn.codec.records import Pieces
from git_nn.codec.scratch import Array

Buffer = bytes | bytearray | memoryview

MOST_KEY_BITS = 11
_HEAD = struct.Struct("<BBBH")
_GAIN = 0.99
_GROUP = 8192  # elements that are worth coders of their own


def worth_a_map(data: Buffer, base: Buffer, kind: Kind) -> bool:
    """Whether where words changed tells more than that words of some exponents do."""
    new, old = delta.words_of(data, kind.width), delta.words_of(base, kind.width)
    keys = ordering.count(_keys(old, kind.key_bits), 1 << kind.key_bits).sum(axis=0)
    changed = new != old
    among = ordering.count(_keys(old[changed], kind.key_bits), len(keys)).sum(axis=0)
    by_key = sum(
        n * choice.entropy(np.array([k, n - k])) for k, n in zip(among, keys, strict=True) if n
    )
    octets = np.bincount(np.packbits(changed), minlength=256)
    return bool(choice.entropy(octets) * octets.sum() < _GAIN * by_key)


def encode(data: Buffer, base: Buffer, kind: Kind, *, mapped: bool) -> bytes:
    """The body, ``mapped`` with a map of the changed words; MismatchError as in records."""
    new, old = delta.words_of(data, kind.width), delta.words_of(base, kind.width)
    found = np.empty_like(new)
    residual.residuals(new, old, found, floats=kind.floats)
    head: Pieces = []
    if mapped:
        changed = found != 0
        head = records.encode(np.packbits(changed, bitorder="little"), thorough=True)
        found, old = found[changed], old[changed]
    keys = _keys(old, kind.key_bits)
    counts = ordering.count(keys, 1 << kind.key_bits)
    starts = _starts(counts.sum(axis=0))
    ordered = np.empty_like(found)
    ordering.gather(found, keys, counts, ordered)
    first = _HEAD.pack(kind.width + delta.FLOATS * kind.floats, kind.key_bits, mapped, len(starts))
    return b"".join([
        first, struct.pack(f"<{len(starts) - 1}H", *starts[1:]), *head,
        *_groups(ordered, _bounds(counts, starts)), memoryview(data)[len(new) * kind.width :],
    ])  # fmt: skip


def _groups(ordered: Array, bounds: list[int]) -> Pieces:
    pieces: Pieces = []
    for start, stop in pairwise(bounds):
        planes = [scratch.array(f"plane {i}", stop - start) for i in range(ordered.itemsize)]
        kernels.to_bytes(ordered[start:stop], planes)
        group = [piece for plane in planes for piece in records.encode(plane, thorough=True)]
        pieces.append(b"".join(group))  # the planes are scratch memory
    return pieces


def _keys(base: Array, bits: int) -> Array:
    if not bits:
        return np.zeros(len(base), np.uint8)
    return (base << 1 >> (8 * base.itemsize - bits)).astype(np.uint8 if bits <= 8 else np.uint16)


def _starts(counts: Array) -> list[int]:
    """The first key of each group: groups of enough elements, the last one of what is left."""
    starts, size = [0], 0
    for key, count in enumerate(counts.tolist()):
        if size >= _GROUP and count:
            starts, size = [*starts, key], 0
        size += count
    if size < _GROUP and len(starts) > 1:
        starts.pop()
    return starts


def _bounds(counts: Array, starts: list[int]) -> list[int]:
    """Where the groups begin and end among the ordered elements."""
    ends = np.cumsum(counts.sum(axis=0))
    return [0, *ends[[start - 1 for start in starts[1:]]].tolist(), int(ends[-1])]


def decode(body: Buffer, rawlen: int, base: Buffer) -> memoryview:
    """The inverse of ``encode``; ValueError where ``body`` is not its result."""
    width, floats, bits, mapped, starts, rest = _head(memoryview(body))
    old = delta.words_of(base, width)
    changed, rest = _map(rest, len(old)) if mapped else (None, rest)
    keys = _keys(old if changed is None else old[changed], bits)
    counts = ordering.count(keys, 1 << bits)
    ordered = scratch.array("in order", len(keys), old.dtype.str)
    for start, stop in pairwise(_bounds(counts, starts)):
        planes = []
        for i in range(width):
            plane, rest = records.decode(rest, stop - start, 1, f"plane {i}")
            planes.append(plane)
        kernels.from_bytes(planes, ordered[start:stop])
    if len(rest) != rawlen % width:
        raise ValueError("planes of another length")
    found = scratch.array("residual", len(old), old.dtype.str)
    if changed is None:
        ordering.scatter(ordered, keys, counts, found)
    else:
        values = np.empty(len(keys), old.dtype)
        ordering.scatter(ordered, keys, counts, values)
        found.fill(0)
        found[changed] = values
    out = np.empty(rawlen, np.uint8)
    words = out[: len(old) * width].view(old.dtype)
    residual.restore(found, old, words, floats=floats)
    out[len(old) * width :] = np.frombuffer(rest, np.uint8)
    return out.data


def _head(body: memoryview) -> tuple[int, bool, int, int, list[int], memoryview]:
    if len(body) < _HEAD.size:
        raise ValueError("a partitioned delta is cut off")
    kind, bits, mapped, groups = _HEAD.unpack_from(body)
    width, floats = kind % delta.FLOATS, kind // delta.FLOATS
    if width not in delta.WIDTHS or floats > 1 or mapped > 1 or not groups:
        raise ValueError("a partitioned delta of unknown kind")
    if bits > min(MOST_KEY_BITS, 8 * width - 1) or groups > 1 << bits:
        raise ValueError("too many key bits or groups")
    end = _HEAD.size + 2 * (groups - 1)
    if len(body) < end:
        raise ValueError("a partitioned delta is cut off")
    starts = [0, *struct.unpack_from(f"<{groups - 1}H", body, _HEAD.size)]
    if any(a >= b for a, b in pairwise(starts)) or starts[-1] >= 1 << bits:
        raise ValueError("groups out of order")
    return width, bool(floats), bits, mapped, starts, body[end:]


def _map(body: memoryview, count: int) -> tuple[Array, memoryview]:
    packed, rest = records.decode(body, -(-count // 8), 1, "map")
    bits = np.unpackbits(packed, bitorder="little")
    if bits[count:].any():
        raise ValueError("a map of more words than there are")
    return bits[:count].view("?"), rest
