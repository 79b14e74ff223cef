"""arrays: payload bytes <-> numpy arrays, bit for bit.

Rules:
1. ``to_bytes(as_array(data, dtype, shape), dtype) == data`` for every dtype and every bit
   pattern: NaN payloads, -0.0 and booleans that are neither 0 nor 1 included. Sub-byte
   types are packed little-endian, the first element in the lowest bits.
2. A value that has to be rounded is rounded once, to nearest even (ml_dtypes goes from
   double through single, which rounds twice).
3. ml_dtypes is imported only for the types that numpy does not have.

A sub-byte array has one element per byte, of the ml_dtypes type. Block types (those of GGUF)
are no arrays: ``dequantise`` gives their values, and there is no way back.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from git_nn.objects.tensor import BLOCKS, Shape, dtype_bits, nbytes

Array = NDArray[Any]

BLOCK = 1 << 15  # elements widened to double at a time: they stay in the cache
DECODED = 1 << 16  # elements of block types decoded at a time; whole blocks of every type

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


def as_array(data: bytes | bytearray | memoryview, dtype: str, shape: Shape) -> Array:
    """The packed C-order ``data`` as a read-only array; whole-byte types are not copied."""
    bits = dtype_bits(dtype)
    kind = numpy_dtype(dtype)
    if bits >= 8:
        return np.frombuffer(data, dtype=kind).reshape(shape)
    codes = _unpack(np.frombuffer(data, dtype=np.uint8), bits)
    codes.flags.writeable = False
    return codes.view(kind).reshape(shape)


def dequantise(data: bytes, dtype: str, shape: Shape) -> NDArray[np.float32] | None:
    """The values of a tensor of a block type, in ``shape``; None for a type without a decoder.

    ValueError where ``data`` is not of the size that dtype and shape tell.
    """
    from gguf.constants import GGMLQuantizationType
    from gguf.quants import dequantize

    if len(data) != nbytes(dtype, shape):
        raise ValueError("the data and dtype x shape differ in size")
    elements, size = BLOCKS[dtype]
    kind = getattr(GGMLQuantizationType, dtype.upper(), None)  # an older library knows fewer
    if kind is None:
        return None
    values = np.empty(prod(shape), dtype=np.float32)
    packed = np.frombuffer(data, dtype=np.uint8)
    step = DECODED // elements
    for start in range(0, len(packed) // size, step):
        some = packed[start * size : (start + step) * size].reshape(1, -1)
        try:
            with np.errstate(all="ignore"):
                decoded = dequantize(some, kind)
        except NotImplementedError:
            return None
        values[start * elements : (start + step) * elements] = decoded.reshape(-1)
    values.flags.writeable = False
    return values.reshape(shape)


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
        if dtype == "bf16" and array.dtype == np.float64:
            return _singles_for_bf16(array).astype(kind)
        if dtype in _ML_DTYPES:
            return to_single_odd(array).astype(kind)
        return array.astype(kind)


def _singles_for_bf16(doubles: NDArray[np.float64]) -> NDArray[np.float32]:
    """Singles that round to bf16 as the doubles do: one on a tie is moved where it is inexact."""
    singles = doubles.astype(np.float32)
    ties = (singles.view(np.uint32) & 0xFFFF) == 0x8000
    if ties.any():
        ties &= singles != doubles
        places = np.nonzero(ties)
        singles[places] = to_single_odd(doubles[places])
    return singles


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


def as_float32(array: Array) -> NDArray[np.float32]:
    """The values of an array of f32 or bf16 as single precision, exactly."""
    if array.dtype.kind == "f":
        return array.astype(np.float32, copy=False)
    codes = np.left_shift(array.view(np.uint16), np.uint32(16), dtype=np.uint32)
    return codes.view(np.float32)


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
