"""arrays: payload bytes <-> numpy arrays, bit for bit.

Rules:
1. ``to_bytes(as_array(data, dtype, shape), dtype) == data`` for every dtype and every bit
   pattern: NaN payloads, -0.0 and booleans that are neither 0 nor 1 included. Sub-byte
   types are packed little-endian, the first element in the lowest bits.
2. A value that has to be rounded is rounded once, to nearest even (ml_dtypes goes from
   double through single, which rounds twice).
3. ml_dtypes is imported only for the types that numpy does not have.

A sub-byte array has one element per byte, of the ml_dtypes type. How a container's own
form of a payload becomes the packed array is specified in docs/spec-hdf5-form.md.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from itertools import accumulate, pairwise, product
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from git_nn.objects.tensor import Shape, dtype_bits, nbytes

Array = NDArray[Any]

BLOCK = 1 << 15  # elements widened to double at a time: they stay in the cache
MAX_CHUNK = 1 << 32  # bytes of one HDF5 chunk; the file format has no larger ones

_NUMPY = {
    "f64": "f8", "f32": "f4", "f16": "f2",
    "i64": "i8", "i32": "i4", "i16": "i2", "i8": "i1",
    "u64": "u8", "u32": "u4", "u16": "u2", "u8": "u1",
    "bool": "?", "c64": "c8", "c128": "c16",
}  # fmt: skip

_ML_DTYPES = {
    "bf16": "bfloat16",
    "f8_e4m3": "float8_e4m3", "f8_e4m3fn": "float8_e4m3fn", "f8_e4m3fnuz": "float8_e4m3fnuz",
    "f8_e5m2": "float8_e5m2", "f8_e5m2fnuz": "float8_e5m2fnuz", "f8_e8m0": "float8_e8m0fnu",
    "f6_e2m3": "float6_e2m3fn", "f6_e3m2": "float6_e3m2fn", "f4_e2m1": "float4_e2m1fn",
    "i4": "int4", "u4": "uint4",
}  # fmt: skip


def numpy_dtype(dtype: str) -> np.dtype[Any]:
    """The numpy type of one element; sub-byte types take a byte each."""
    base = dtype.removesuffix("be")
    code: Any = f"{'>' if base != dtype else '<'}{_NUMPY[base]}" if base in _NUMPY else None
    if code is None:
        import ml_dtypes

        code = getattr(ml_dtypes, _ML_DTYPES[dtype])
    kind: np.dtype[Any] = np.dtype(code)
    return kind


def as_array(data: bytes, dtype: str, shape: Shape) -> Array:
    """The packed C-order ``data`` as a read-only array; whole-byte types are not copied."""
    bits = dtype_bits(dtype)
    kind = numpy_dtype(dtype)
    if bits >= 8:
        return np.frombuffer(data, dtype=kind).reshape(shape)
    codes = _unpack(np.frombuffer(data, dtype=np.uint8), bits)
    codes.flags.writeable = False
    return codes.view(kind).reshape(shape)


def to_bytes(array: Array, dtype: str) -> bytes:
    """``array`` as packed C-order bytes of ``dtype``; another type is converted by ``cast``."""
    kind = numpy_dtype(dtype)
    if array.dtype != kind:
        array = cast(array, dtype)
    bits = dtype_bits(dtype)
    if bits >= 8:
        return array.tobytes()
    return _pack(np.ascontiguousarray(array).reshape(-1).view(np.uint8), bits)


def cast(array: Array, dtype: str) -> Array:
    """``array`` in ``dtype``: rounded once, to nearest even; an infinity where it is too large.

    Integers are rounded to nearest even and held at the ends of the range.
    """
    kind = numpy_dtype(dtype)
    if array.dtype == kind:
        return array
    with np.errstate(all="ignore"):
        if kind.kind in "iu" or dtype in ("i4", "u4"):
            return _to_integers(array, dtype, kind)
        if array.dtype.kind == "c" and kind.kind != "c":
            array = array.real
        if dtype in _ML_DTYPES:
            return to_single_odd(array).astype(kind)
        return array.astype(kind)


def to_single_odd(array: Array) -> NDArray[np.float32]:
    """``array`` in single precision, rounded to odd: a further rounding is then the only one.

    Where a double is inexact it is cut towards zero and its last bit is set, so that no
    value comes to stand on a tie between two values of a narrower type.
    """
    if array.dtype.itemsize <= 2 or array.dtype == np.float32:
        return array.astype(np.float32)
    double = array.astype(np.float64)
    single = double.astype(np.float32)
    reached = np.abs(single.astype(np.float64))
    over = reached > np.abs(double)
    codes = single.view(np.uint32) - over.astype(np.uint32)
    codes |= (over | (reached < np.abs(double))).astype(np.uint32)
    return codes.view(np.float32)


def _to_integers(array: Array, dtype: str, kind: np.dtype[Any]) -> Array:
    bits = dtype_bits(dtype)
    signed = dtype.startswith("i")
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    if array.dtype.kind in "iu":
        reach = np.iinfo(array.dtype)
        whole = np.clip(array, max(low, int(reach.min)), min(high, int(reach.max)))
    else:
        values = np.rint(array.real.astype(np.float64))
        inside = (values >= low) & (values < float(high + 1))
        whole = np.where(inside, values, 0).astype(np.int64 if signed else np.uint64)
        whole[values >= float(high + 1)] = high
        whole[values < low] = low
    return whole.astype(np.int8).astype(kind) if bits == 4 else whole.astype(kind)


def _unpack(packed: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """One code per byte from codes of ``bits`` bits, the first in the lowest bits."""
    if bits == 4:
        return np.stack((packed & 0xF, packed >> 4), axis=1).reshape(-1)
    each = np.unpackbits(packed, bitorder="little").reshape(-1, bits)
    return np.packbits(each, axis=1, bitorder="little")[:, 0]


def _pack(codes: NDArray[np.uint8], bits: int) -> bytes:
    if bits == 4:
        return ((codes[0::2] & 0xF) | (codes[1::2] << 4)).astype(np.uint8).tobytes()
    each = np.unpackbits(codes.reshape(-1, 1), axis=1, bitorder="little")[:, :bits]
    packed = np.packbits(each.reshape(-1), bitorder="little")
    return bytes(packed)


def as_float64(array: Array) -> Array:
    """The values as double (complex ones as complex double); exact but for 64-bit integers."""
    if array.dtype.kind == "b":
        array = np.not_equal(array.view(np.uint8), 0)
    with np.errstate(all="ignore"):
        wide: Array = array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)
    return wide


def blocks(*arrays: Array) -> Iterator[tuple[Array, ...]]:
    """Arrays of one shape, flat in C order, side by side in blocks of BLOCK elements."""
    flat = [array.reshape(-1) for array in arrays]
    for start in range(0, flat[0].size, BLOCK):
        yield tuple(array[start : start + BLOCK] for array in flat)


def element_bits(array: Array) -> Array:
    """The bits of each element as unsigned integers; a row of two for complex double."""
    flat = np.ascontiguousarray(array).reshape(-1)
    if flat.dtype.itemsize == 16:
        return flat.view(np.uint64).reshape(-1, 2)
    return flat.view(f"u{flat.dtype.itemsize}")


_FORM = re.compile(r"h5\[([1-9][0-9]*(?:x[1-9][0-9]*)*)((?:;[a-z0-9]+)*)\]\Z")


def decode_form(
    form: str, dtype: str, shape: Shape, part_lengths: list[int], data: bytes
) -> bytes | None:
    """The packed C-order bytes of a payload that its container keeps in ``form``.

    ``part_lengths`` are the lengths of the stored chunks in ``data``. None where the form
    or a filter is not known, or the bytes are not what the form says: never a guess.
    """
    if not form:
        return data if len(data) == nbytes(dtype, shape) else None
    match = _FORM.match(form)
    if match is None or dtype_bits(dtype) < 8 or sum(part_lengths) != len(data):
        return None
    chunk = tuple(int(dim) for dim in match[1].split("x"))
    filters = match[2].split(";")[1:]
    ends = list(accumulate(part_lengths, initial=0))
    parts = [memoryview(data)[start:stop] for start, stop in pairwise(ends)]
    return _join_chunks(chunk, filters, dtype, shape, parts)


def _join_chunks(
    chunk: Shape, filters: list[str], dtype: str, shape: Shape, parts: list[memoryview]
) -> bytes | None:
    size = nbytes(dtype, chunk)
    counts = [-(-dim // step) for dim, step in zip(shape, chunk, strict=False)]
    if len(chunk) != len(shape) or len(parts) != prod(counts) or size > MAX_CHUNK:
        return None
    kind = np.dtype(f"V{dtype_bits(dtype) // 8}")
    joined = np.empty(shape, dtype=kind)
    for place, part in zip(product(*map(range, counts)), parts, strict=True):
        raw = _unfilter(bytes(part), filters, kind.itemsize, size)
        if raw is None:
            return None
        origin = [at * step for at, step in zip(place, chunk, strict=True)]
        room = tuple(slice(at, at + step) for at, step in zip(origin, chunk, strict=True))
        kept = tuple(slice(dim - at) for dim, at in zip(shape, origin, strict=True))
        joined[room] = np.frombuffer(raw, dtype=kind).reshape(chunk)[kept]
    return joined.tobytes()


def _unfilter(data: bytes, filters: list[str], width: int, size: int) -> bytes | None:
    """Undo ``filters``, the last one first; None unless ``size`` bytes come out."""
    result: bytes | None = data
    for i in reversed(range(len(filters))):
        if result is None:
            return None
        match filters[i]:
            case "deflate":
                result = _inflate(result, size + 4 * filters[:i].count("fletcher32"))
            case "shuffle":
                result = _unshuffle(result, width)
            case "fletcher32":
                result = _strip_fletcher32(result)
            case _:
                return None
    return result if result is not None and len(result) == size else None


def _inflate(data: bytes, limit: int) -> bytes | None:
    stream = zlib.decompressobj()
    try:
        raw = stream.decompress(data, limit + 1)
    except zlib.error:
        return None
    return raw if stream.eof and not stream.unused_data and len(raw) <= limit else None


def _unshuffle(data: bytes, width: int) -> bytes:
    whole = len(data) // width * width
    planes = np.frombuffer(data, dtype=np.uint8, count=whole).reshape(width, -1)
    return planes.T.tobytes() + data[whole:]


def _strip_fletcher32(data: bytes) -> bytes | None:
    """``data`` without its checksum; None where it does not hold (old files swap its bytes)."""
    if len(data) < 4:
        return None
    raw, stored = data[:-4], data[-4:]
    padded = np.frombuffer(raw + b"\0" * (len(raw) % 2), dtype=">u2")
    first = second = 0
    for start in range(0, len(padded), 1 << 16):  # sums of a block stay below 2**48
        block = padded[start : start + (1 << 16)].astype(np.uint64)
        weights = np.arange(len(block), 0, -1, dtype=np.uint64)
        second = (second + first * len(block) + int((block * weights).sum())) % 65535
        first = (first + int(block.sum())) % 65535
    for order in ("<u2", ">u2"):
        low, high = (int(word) for word in np.frombuffer(stored, dtype=order))
        if (low % 65535, high % 65535) == (first, second):
            return raw
    return None
