"""Writes what flax.serialization.to_bytes writes, with the msgpack library and numpy alone."""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np


class Scalar:
    """A numpy scalar, which flax marks otherwise than an array without dimensions."""

    def __init__(self, value: Any) -> None:
        self.array = np.asarray(value)


def to_bytes(tree: Any) -> bytes:
    packed = msgpack.packb(tree, default=_extension, strict_types=True)
    assert isinstance(packed, bytes)
    return packed


def ndarray(shape: Any, dtype: Any, data: Any, kind: int = 1) -> msgpack.ExtType:
    """An array as the file has it; the arguments may lie."""
    return msgpack.ExtType(kind, msgpack.packb((shape, dtype, data), use_bin_type=True))


def chunked(array: np.ndarray, size: int) -> dict[str, Any]:
    """As flax keeps arrays of more than 2**30 bytes, here in chunks of ``size`` elements."""
    flat = array.reshape(-1)
    starts = range(0, flat.size, size)
    return {
        "__msgpack_chunked_array__": True,
        "shape": {str(i): dim for i, dim in enumerate(array.shape)},
        "chunks": {str(i): flat[start : start + size] for i, start in enumerate(starts)},
    }


def _extension(value: Any) -> Any:
    match value:
        case np.ndarray():
            return ndarray(value.shape, value.dtype.name, value.tobytes("C"))
        case Scalar():
            return ndarray((), value.array.dtype.name, value.array.tobytes(), kind=3)
        case complex():
            return msgpack.ExtType(2, msgpack.packb((value.real, value.imag)))
        case tuple():
            return list(value)
    raise TypeError(value)
