"""Writing safetensors without the library: a header in JSON, then the payloads."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SIZES = {"BF16": 2, "F32": 4}


def header(tensors: Iterable[tuple[str, str, tuple[int, ...]]]) -> bytes:
    """The head of a file with tensors of (name, dtype, shape), in this order."""
    at, table = 0, {"__metadata__": {"format": "pt"}}
    for name, dtype, shape in tensors:
        end = at + SIZES[dtype] * math.prod(shape)
        table[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(table, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def write_safetensors(path: Path, tensors: Mapping[str, NDArray[np.float32]]) -> None:
    with path.open("wb") as file:
        file.write(header((name, "F32", array.shape) for name, array in tensors.items()))
        for array in tensors.values():
            file.write(np.ascontiguousarray(array).data)
