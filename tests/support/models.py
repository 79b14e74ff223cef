"""Tiny weight files made without git_nn, so that what it says can be checked against them.

safetensors files are written and read here with struct and json; HDF5 files with h5py.
Equal arguments give equal bytes.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Mapping
from typing import Any

import h5py
import ml_dtypes
import numpy as np

Raw = tuple[str, tuple[int, ...], bytes]  # a safetensors dtype, a shape, packed bytes
Tensor = np.ndarray | Raw

_DTYPES: dict[str, Any] = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E5M2": ml_dtypes.float8_e5m2,
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?", "C64": "<c8",
}  # fmt: skip
_WORDS = {np.dtype(dtype): word for word, dtype in _DTYPES.items()}


def normal(seed: int, *shape: int, dtype: Any = np.float32) -> np.ndarray:
    """The same normally distributed array for the same arguments."""
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def safetensors_file(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> bytes:
    """A safetensors file with ``tensors`` in the order given, header padded to 8 bytes."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata is not None else {}
    payloads: list[bytes] = []
    at = 0
    for name, tensor in tensors.items():
        dtype, shape, data = _raw(tensor)
        header[name] = {
            "dtype": dtype,
            "shape": list(shape),
            "data_offsets": [at, at + len(data)],
        }
        payloads.append(data)
        at += len(data)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(payloads)


def _raw(tensor: Tensor) -> Raw:
    if isinstance(tensor, tuple):
        return tensor
    return _WORDS[tensor.dtype], tensor.shape, np.ascontiguousarray(tensor).tobytes()


def read_safetensors(data: bytes) -> dict[str, Raw]:
    """The tensors of a safetensors file; an AssertionError where it breaks the format's rules."""
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    body = data[8 + length :]
    found: dict[str, Raw] = {}
    end = 0
    for name, spec in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        start, stop = spec["data_offsets"]
        assert start == end <= stop <= len(body), f"{name}: hole or overlap"
        found[name] = (spec["dtype"], tuple(spec["shape"]), body[start:stop])
        end = stop
    assert end == len(body), "bytes after the last tensor"
    return found


def safetensors_metadata(data: bytes) -> dict[str, str] | None:
    """``__metadata__`` of a safetensors file."""
    (length,) = struct.unpack_from("<Q", data)
    found: dict[str, str] | None = json.loads(data[8 : 8 + length]).get("__metadata__")
    return found


def safetensors_arrays(data: bytes) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file as arrays."""
    return {
        name: np.frombuffer(raw, dtype=_DTYPES[dtype]).reshape(shape)
        for name, (dtype, shape, raw) in read_safetensors(data).items()
    }


def h5_file(
    tensors: Mapping[str, np.ndarray],
    attributes: Mapping[str, Mapping[str, Any]] | None = None,
    **options: Any,
) -> bytes:
    """An HDF5 file with a dataset per tensor, named by path such as ``dense/kernel``.

    ``attributes`` are by the path of a group or dataset ("/" for the file). ``options`` are
    those of h5py's create_dataset (chunks, compression, shuffle ...) and go to every
    dataset that has dimensions.
    """
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        for name, array in tensors.items():
            file.create_dataset(name, data=array, **(options if array.shape else {}))
        for path, values in (attributes or {}).items():
            for key, value in values.items():
                file[path].attrs[key] = value
    return out.getvalue()


def h5_arrays(data: bytes) -> dict[str, np.ndarray]:
    """Every dataset of an HDF5 file, by path."""
    found: dict[str, np.ndarray] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]

    with h5py.File(io.BytesIO(data), "r") as file:
        file.visititems(visit)
    return found
