"""Planes to records and back: each plane coded as it deserves (docs/spec-codecs.md, 1).

1. A sample decides how; a thorough encoder tries what is likely. A wrong decision costs
   space or time only.
2. What was coded is decoded and compared with the plane before it is used, unless the
   encoder is thorough, whose caller decodes the whole; a difference is a MismatchError.
3. Pieces and decoded planes may lie in scratch memory under the names that the caller
   gave: they last until the caller uses those names again.
"""

from __future__ import annotations

import struct

import numpy as np

from git_nn.codec import choice, kernels, packing, scratch, zstd
from git_nn.codec.choice import AS_IS, BYTEWISE, CONSTANT, PACKED, SPARSE, ZSTD, Plan
from git_nn.codec.packing import MismatchError
from git_nn.codec.scratch import Array

Buffer = bytes | bytearray | memoryview
Pieces = list[Buffer]

_RECORD = struct.Struct("<BI")
_PACKED_HEAD = struct.Struct("<BB")
_SPARSE_HEAD = struct.Struct("<BI")


def encode(plane: Array, *, thorough: bool = False) -> Pieces:
    """The record of ``plane``; MismatchError where it would not come back."""
    plans = choice.plans(plane, thorough=thorough)
    best = min((_planned(plane, plan, thorough) for plan in plans), key=size)
    as_is = _record(AS_IS, [plane.view(np.uint8).data])
    return best if size(best) < size(as_is) or plans[0].mode == CONSTANT else as_is


def size(pieces: Pieces) -> int:
    return sum(map(len, pieces))


def _record(mode: int, content: Pieces) -> Pieces:
    return [_RECORD.pack(mode, size(content)), *content]


def _planned(plane: Array, plan: Plan, thorough: bool) -> Pieces:
    if plan.mode == CONSTANT:
        return _record(CONSTANT, [plane[:1].tobytes()])
    if plan.mode == ZSTD:
        return _record(ZSTD, [compressed(plane, plan.preset, checked=plan.checked)])
    if plan.mode == BYTEWISE:
        parts = [
            scratch.array(f"{plane.itemsize} bytes {i}", len(plane)) for i in range(plane.itemsize)
        ]
        kernels.to_bytes(plane, parts)
        return _record(
            BYTEWISE, [piece for part in parts for piece in encode(part, thorough=thorough)]
        )
    if plan.mode == PACKED:
        return _record(PACKED, _packed(plane, plan))
    if plan.mode == SPARSE:
        return _record(SPARSE, _sparse(plane, plan))
    return _record(AS_IS, [plane.view(np.uint8).data])


def compressed(plane: Array, preset: str, *, checked: bool = True) -> bytes:
    """One zstd frame of ``plane``; MismatchError where it would not come back."""
    body = zstd.compress(plane.data, preset)
    if checked:
        back = scratch.array("compared", plane.nbytes)
        zstd.decompress_into(body, back.data)
        _compare(back, plane.view(np.uint8))
    return body


def _compare(back: Array, plane: Array) -> None:
    if not np.array_equal(back, plane):
        raise MismatchError("an encoder gave another plane")


def _packed(plane: Array, plan: Plan) -> Pieces:
    symbols = scratch.array("packed", packing.packed_size(len(plane), plan.bits))
    escapes = packing.pack(plane, plan.bits, plan.lowest, symbols, checked=plan.checked)
    packed = _plain(symbols, plan.preset, plan.checked)
    if packed[0][0] == AS_IS:
        packed = [b"".join(packed)]  # the scratch memory is needed again
    head = _PACKED_HEAD.pack(plan.bits, plan.lowest)
    return [head, *packed, *_plain(escapes, zstd.HUFFMAN, plan.checked)]


def _sparse(plane: Array, plan: Plan) -> Pieces:
    gaps, others = packing.to_gaps(plane, plan.lowest)
    if plan.checked:
        back = scratch.array("unpacked", len(plane))
        packing.from_gaps(gaps, others, plan.lowest, back)
        _compare(back, plane)
    head = _SPARSE_HEAD.pack(plan.lowest, len(gaps))
    parts = [_plain(part, zstd.HUFFMAN, plan.checked) for part in (gaps, others)]
    return [head, *parts[0], *parts[1]]


def _plain(plane: Array, preset: str, checked: bool) -> Pieces:
    """A record within a record: constant, through zstd, or as it is."""
    if len(plane) and plane[0] == plane[-1] and (plane == plane[0]).all():
        return _record(CONSTANT, [plane[:1].tobytes()])
    body = compressed(plane, preset, checked=checked) if len(plane) else b""
    if not len(plane) or len(body) >= len(plane):
        return _record(AS_IS, [plane.data])
    return _record(ZSTD, [body])


def decode(body: memoryview, count: int, itemsize: int, name: str) -> tuple[Array, memoryview]:
    """The plane of the record that ``body`` starts with, and what follows it.

    ``name`` is of scratch memory for the plane. ValueError where there is no such record.
    """
    mode, content, rest = _open(body)
    if mode == BYTEWISE and itemsize > 1:
        return _bytewise(content, count, itemsize, name), rest
    if mode == PACKED and itemsize == 1:
        return _unpacked(content, count, name), rest
    if mode == SPARSE and itemsize == 1:
        return _filled(content, count, name), rest
    return _simple(mode, content, count, itemsize, name), rest


def _open(body: memoryview) -> tuple[int, memoryview, memoryview]:
    if len(body) < _RECORD.size:
        raise ValueError("a plane is missing")
    mode, length = _RECORD.unpack_from(body)
    content, rest = body[_RECORD.size : _RECORD.size + length], body[_RECORD.size + length :]
    if len(content) != length:
        raise ValueError("a plane is cut off")
    return mode, content, rest


def _simple(mode: int, content: memoryview, count: int, itemsize: int, name: str) -> Array:
    if mode == AS_IS and len(content) == count * itemsize:
        if itemsize == 1:
            return np.frombuffer(content, np.uint8)
        plane = scratch.array(name, count, f"<u{itemsize}")
        plane.view(np.uint8)[:] = np.frombuffer(content, np.uint8)
        return plane
    plane = scratch.array(name, count, f"<u{itemsize}")
    if mode == CONSTANT and len(content) == itemsize and count:
        plane.fill(int.from_bytes(content, "little"))
        return plane
    if mode == ZSTD:
        zstd.decompress_into(content, plane.view(np.uint8).data)
        return plane
    raise ValueError("not a plane")


def _bytewise(body: memoryview, count: int, itemsize: int, name: str) -> Array:
    planes = []
    for i in range(itemsize):
        plane, body = decode(body, count, 1, f"{name} {i}")
        planes.append(plane)
    if body:
        raise ValueError("bytes behind a plane")
    words = scratch.array(name, count, f"<u{itemsize}")
    kernels.from_bytes(planes, words)
    return words


def _unpacked(content: memoryview, count: int, name: str) -> Array:
    if len(content) < _PACKED_HEAD.size:
        raise ValueError("a packed plane is cut off")
    bits, lowest = _PACKED_HEAD.unpack_from(content)
    if bits not in packing.BITS:
        raise ValueError("a packed plane of unknown kind")
    symbols, rest = _inner(
        content[_PACKED_HEAD.size :], packing.packed_size(count, bits), "symbols of"
    )
    plane = scratch.array(name, count)
    escaped = packing.unpack(symbols, bits, lowest, plane)
    escapes, rest = _inner(rest, len(escaped), "escapes of")
    if rest:
        raise ValueError("bytes behind a packed plane")
    plane[escaped] = escapes
    return plane


def _filled(content: memoryview, count: int, name: str) -> Array:
    if len(content) < _SPARSE_HEAD.size:
        raise ValueError("a sparse plane is cut off")
    common, length = _SPARSE_HEAD.unpack_from(content)
    if length > count:
        raise ValueError("a sparse plane of too many gaps")
    gaps, rest = _inner(content[_SPARSE_HEAD.size :], length, "symbols of")
    others, rest = _inner(rest, packing.elements_of(gaps), "escapes of")
    if rest:
        raise ValueError("bytes behind a sparse plane")
    plane = scratch.array(name, count)
    packing.from_gaps(gaps, others, common, plane)
    return plane


def _inner(body: memoryview, count: int, name: str) -> tuple[Array, memoryview]:
    mode, content, rest = _open(body)
    return _simple(mode, content, count, 1, name), rest
