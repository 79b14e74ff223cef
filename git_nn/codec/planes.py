"""Codecs 2 to 4: words as planes, each plane coded as it deserves (docs/spec-store.md, 6).

Trained weights have few different exponents and random mantissas, so the exponent plane
is worth a Huffman coder and the rest is stored as it is. A sample decides; a wrong
decision costs space or time only.
"""

from __future__ import annotations

import struct

import numpy as np

from git_nn.codec import kernels, zstd
from git_nn.codec.kernels import Array

Buffer = bytes | bytearray | memoryview

_RECORD = struct.Struct("<BI")
_AS_IS, _ZSTD, _CONSTANT, _BYTEWISE = range(4)

_SLICES, _SLICE = 8, 4096
_RANDOM, _REGULAR = 7.9, 1.0  # bits per byte


def encode(data: Buffer, width: int) -> bytes:
    """Planes of the words of ``data``, then the bytes that fill no word."""
    count = len(data) // width
    planes = kernels.split(np.frombuffer(data, f"<u{width}", count))
    tail = memoryview(data)[count * width :]
    return b"".join([*(piece for plane in planes for piece in _record(plane)), tail])


def _record(plane: Array) -> tuple[bytes, Buffer]:
    mode, body = _encode_plane(plane)
    if mode != _CONSTANT and len(body) >= plane.nbytes:
        mode, body = _AS_IS, plane.view(np.uint8).data
    return _RECORD.pack(mode, len(body)), body


def _encode_plane(plane: Array) -> tuple[int, Buffer]:
    sample = _sample(plane)
    if len(plane) and (sample == plane[0]).all() and (plane == plane[0]).all():
        return _CONSTANT, plane[:1].tobytes()
    bits = [_entropy(part) for part in _bytes_of(sample)]
    if not bits or min(bits) > _RANDOM:
        return _AS_IS, plane.view(np.uint8).data
    if plane.itemsize > 1:
        records = [_record(part) for part in kernels.to_bytes(plane)]
        return _BYTEWISE, b"".join(piece for record in records for piece in record)
    preset = zstd.FAST if bits[0] < _REGULAR else zstd.HUFFMAN
    return _ZSTD, zstd.compress(plane.data, preset)


def _sample(plane: Array) -> Array:
    if len(plane) <= _SLICES * _SLICE:
        return plane
    starts = np.linspace(0, len(plane) - _SLICE, _SLICES).astype(int)
    return np.concatenate([plane[start : start + _SLICE] for start in starts])


def _bytes_of(sample: Array) -> list[Array]:
    if not len(sample):
        return []
    return [sample] if sample.itemsize == 1 else kernels.to_bytes(sample)


def _entropy(values: Array) -> float:
    """Bits per byte of an order-0 model."""
    counts = np.bincount(values, minlength=256)
    share = counts[counts > 0] / len(values)
    return float(-(share * np.log2(share)).sum())


def decode(body: Buffer, rawlen: int, width: int) -> memoryview:
    """The inverse of ``encode``; ValueError where ``body`` is not its result."""
    count = rawlen // width
    rest = memoryview(body)
    planes = []
    for itemsize in kernels.ITEMS[width]:
        plane, rest = _decode_plane(rest, count, itemsize)
        planes.append(plane)
    if len(rest) != rawlen % width:
        raise ValueError("planes of another length")
    out = np.empty(rawlen, np.uint8)
    kernels.merge(planes, out[: count * width].view(f"<u{width}"))
    if rest:
        out[count * width :] = np.frombuffer(rest, np.uint8)
    return out.data


def _decode_plane(body: memoryview, count: int, itemsize: int) -> tuple[Array, memoryview]:
    """The plane that ``body`` starts with, and what follows it."""
    if len(body) < _RECORD.size:
        raise ValueError("a plane is missing")
    mode, length = _RECORD.unpack_from(body)
    content, rest = body[_RECORD.size : _RECORD.size + length], body[_RECORD.size + length :]
    if len(content) != length:
        raise ValueError("a plane is cut off")
    if mode == _CONSTANT and length == itemsize and count:
        value = np.frombuffer(content, f"<u{itemsize}")
        return np.broadcast_to(value, (count,)), rest
    if mode == _BYTEWISE and itemsize > 1:
        return _decode_bytewise(content, count, itemsize), rest
    if mode == _ZSTD:
        return np.frombuffer(zstd.decompress(content, count * itemsize), f"<u{itemsize}"), rest
    if mode == _AS_IS and length == count * itemsize:
        aligned = content if itemsize == 1 else bytes(content)
        return np.frombuffer(aligned, f"<u{itemsize}"), rest
    raise ValueError("not a plane")


def _decode_bytewise(body: memoryview, count: int, itemsize: int) -> Array:
    planes = []
    for _ in range(itemsize):
        plane, body = _decode_plane(body, count, 1)
        planes.append(plane)
    if body:
        raise ValueError("bytes behind a plane")
    return kernels.from_bytes(planes)
