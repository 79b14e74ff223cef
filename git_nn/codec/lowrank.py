"""Codec 10: a change of low rank, predicted exactly (docs/spec-codecs.md, section 7).

A float prediction would differ between machines. Here the factors are integers and their
sums of products stay below 2^53, so that float64 matrix products are exact in whatever
order a BLAS adds; what follows are single IEEE operations.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from git_nn.codec import delta, kernels, records, scratch
from git_nn.codec.scratch import Array

Buffer = bytes | bytearray | memoryview

TYPES = ("", "bf16", "f16", "f32")
MOST_SCALE = 250
EXACT = 2**53
_HEAD = struct.Struct("<BBBII")
_BLOCK = 128 * 1024  # words predicted at a time
_TINY = 2.0**-120  # below this, how an f32 is made may depend on the processor's mode


class Decoder(Protocol):
    """``table.decode``, which stands above this module."""

    def __call__(self, codec: int, body: Buffer, rawlen: int, base: Buffer | None) -> Buffer: ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where ``count`` words of a segment stand in their matrix."""

    columns: int
    first: int
    count: int

    def __post_init__(self) -> None:
        if not 0 <= self.first < self.columns:
            raise ValueError("a segment that begins outside of its matrix")

    @property
    def rows(self) -> int:
        return -(-(self.first + self.count) // self.columns)


@dataclass(frozen=True, slots=True)
class Factors:
    """``left`` (rank, rows), ``right`` (rank, columns), i64 with values of 32 bits; 2^-scale."""

    left: Array
    right: Array
    scale: int

    def __post_init__(self) -> None:
        pairs = zip(_largest(self.left), _largest(self.right), strict=True)
        bound = sum(a * b for a, b in pairs)
        if not 0 <= self.scale <= MOST_SCALE or bound >= EXACT:
            raise ValueError("factors whose products are not exact")


def _largest(numbers: Array) -> list[int]:
    return [int(size) for size in np.abs(numbers).max(axis=1, initial=0)]


def width_of(dtype: str) -> int:
    """Bytes of a word of ``dtype``, one of TYPES."""
    return 4 if dtype == "f32" else 2


def floats_of(words: Array, dtype: str) -> Array:
    """The values of unsigned ``words``, f64."""
    if dtype == "bf16":
        words = words.astype("<u4") << 16
    values: Array = words.view("<f2" if dtype == "f16" else "<f4").astype("<f8")
    return values


def _rounded(values: Array, dtype: str) -> Array:
    """The words of ``dtype`` nearest to f64 ``values``, by way of f32."""
    values[np.abs(values) < _TINY] = 0
    with np.errstate(over="ignore"):
        single: Array = values.astype("<f4").view("<u4")
        if dtype == "f32":
            return single
        if dtype == "f16":
            half: Array = single.view("<f4").astype("<f2").view("<u2")
            return half
    nearest: Array = ((single + 0x7FFF + (single >> 16 & 1)) >> 16).astype("<u2")
    return nearest


def predict(base: Buffer, dtype: str, place: Place, factors: Factors) -> memoryview:
    """The bytes that the factors make of ``base``."""
    out = np.frombuffer(base, np.uint8).copy()
    words = out[: place.count * width_of(dtype)].view(f"<u{width_of(dtype)}")
    for at, product in _products(place, factors):
        old = words[at]
        with np.errstate(invalid="ignore"):
            values = floats_of(old, dtype)
            finite = np.isfinite(values)
            np.copyto(old, _rounded(values + product, dtype), where=finite)
    return out.data


def _products(place: Place, factors: Factors) -> Iterator[tuple[slice, Array]]:
    left, right = factors.left.T.astype("<f8"), factors.right.astype("<f8")
    left *= 2.0**-factors.scale
    step = max(1, _BLOCK // place.columns)
    for row in range(0, place.rows, step):
        product = (left[row : row + step] @ right).reshape(-1)
        start = row * place.columns - place.first
        stop = min(start + len(product), place.count)
        yield slice(max(start, 0), stop), product[max(-start, 0) : stop - start]


def encode(dtype: str, place: Place, factors: Factors, codec: int, rest: Buffer) -> bytes:
    """The body; ``rest`` is one of ``codec`` against the prediction."""
    head = _HEAD.pack(
        TYPES.index(dtype), len(factors.left), factors.scale, place.columns, place.first
    )
    return b"".join([head, _record(factors.left), _record(factors.right), bytes([codec]), rest])


def _record(numbers: Array) -> bytes:
    flat = numbers.reshape(-1).astype("<i4")
    zigzag = (flat << 1 ^ flat >> 31).view("<u4")
    planes = [scratch.array(f"plane {i}", len(flat)) for i in range(4)]
    kernels.to_bytes(zigzag, planes)
    return b"".join(piece for plane in planes for piece in records.encode(plane, thorough=True))


def decode(body: Buffer, rawlen: int, base: Buffer, inner: Decoder) -> Buffer:
    """The raw bytes; ValueError where ``body`` is not valid."""
    if len(body) < _HEAD.size:
        raise ValueError("a low-rank delta is cut off")
    kind, rank, scale, columns, first = _HEAD.unpack_from(body)
    if not 0 < kind < len(TYPES) or not rank or not columns:
        raise ValueError("a low-rank delta of unknown kind")
    dtype = TYPES[kind]
    place = Place(columns, first, rawlen // width_of(dtype))
    if rank * (place.rows + columns) > place.count:
        raise ValueError("a low-rank delta of more factors than words")
    left, rest = _numbers(memoryview(body)[_HEAD.size :], rank, place.rows)
    right, rest = _numbers(rest, rank, columns)
    if not rest or rest[0] not in (delta.CODEC, delta.PARTITIONED):
        raise ValueError("a low-rank delta without its rest")
    prediction = predict(base, dtype, place, Factors(left, right, scale))
    return inner(rest[0], rest[1:], rawlen, prediction)


def _numbers(body: memoryview, rank: int, count: int) -> tuple[Array, memoryview]:
    planes = []
    for i in range(4):
        plane, body = records.decode(body, rank * count, 1, f"plane {i}")
        planes.append(plane)
    zigzag = np.empty(rank * count, "<u4")
    kernels.from_bytes(planes, zigzag)
    signed = (zigzag >> 1).view("<i4") ^ -(zigzag & 1).view("<i4")
    return signed.astype("<i8").reshape(rank, count), body
