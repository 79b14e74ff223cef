"""Writes TensorFlow checkpoints without TensorFlow: LevelDB tables and protobufs by hand."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import ml_dtypes
import numpy as np

# tensorflow/core/framework/types.proto
NUMBERS = {
    np.dtype(dtype): number
    for number, dtype in (
        (1, "f4"), (2, "f8"), (3, "i4"), (4, "u1"), (5, "i2"), (6, "i1"), (8, "c8"), (9, "i8"),
        (10, "?"), (14, ml_dtypes.bfloat16), (17, "u2"), (18, "c16"), (19, "f2"), (22, "u4"),
        (23, "u8"), (24, ml_dtypes.float8_e5m2), (25, ml_dtypes.float8_e4m3fn),
        (26, ml_dtypes.float8_e4m3fnuz), (28, ml_dtypes.float8_e5m2fnuz),
    )
}  # fmt: skip
STRING = 7


@dataclass(frozen=True)
class Strings:
    """A string tensor, as its bytes stand in the shard."""

    data: bytes


Value = np.ndarray | Strings


def checkpoint(
    shards: Iterable[Mapping[str, Value]], *, big_endian: bool = False, gap: bytes = b""
) -> tuple[list[bytes], bytes]:
    """The data shards with these tensors, in their order, and the index that describes them.

    ``gap`` stands between any two tensors.
    """
    files: list[bytes] = []
    rows: dict[bytes, bytes] = {}
    for number, tensors in enumerate(shards):
        data = b""
        for name, value in tensors.items():
            content = value.data if isinstance(value, Strings) else value.tobytes()
            kind = STRING if isinstance(value, Strings) else NUMBERS[value.dtype.newbyteorder("=")]
            shape = () if isinstance(value, Strings) else value.shape
            rows[name.encode()] = entry(kind, shape, number, len(data), len(content))
            data += content + gap
        files.append(data)
    return files, table({b"": header(len(files), big_endian=big_endian), **rows})


def varint(value: int) -> bytes:
    out = b""
    value %= 1 << 64
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def number(field: int, value: int) -> bytes:
    """A varint field; proto3 leaves zeros out."""
    return varint(field << 3) + varint(value) if value else b""


def message(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


def header(shards: int, *, big_endian: bool = False) -> bytes:
    return number(1, shards) + number(2, int(big_endian)) + message(3, number(1, 1))


def entry(
    kind: int, shape: tuple[int, ...], shard: int, offset: int, size: int, *, slices: int = 0
) -> bytes:
    dims = b"".join(message(2, number(1, dim)) for dim in shape)
    places = number(3, shard) + number(4, offset) + number(5, size)
    crc = b"\x35" + struct.pack("<I", 0x12345678)
    return number(1, kind) + message(2, dims) + places + crc + message(7, b"") * slices


def table(
    rows: Mapping[bytes, bytes], *, per_block: int = 7, interval: int = 4, compression: int = 0
) -> bytes:
    """A LevelDB table of these rows; checksums are zeros."""
    ordered = sorted(rows.items())
    out, handles = b"", {}
    for start in range(0, len(ordered), per_block):
        part = ordered[start : start + per_block]
        data = block(part, interval)
        handles[part[-1][0]] = varint(len(out)) + varint(len(data))
        out += data + bytes([compression]) + bytes(4)
    index = block(list(handles.items()), 1)
    meta = block([], 1)
    footer = varint(len(out)) + varint(len(meta))
    out += meta + bytes(5)
    footer += varint(len(out)) + varint(len(index))
    out += index + bytes([compression]) + bytes(4)
    return out + footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


def block(rows: list[tuple[bytes, bytes]], interval: int) -> bytes:
    out, restarts, last = b"", [0], b""
    for i, (key, value) in enumerate(rows):
        shared = 0
        if i % interval:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        elif i:
            restarts.append(len(out))
        out += varint(shared) + varint(len(key) - shared) + varint(len(value))
        out += key[shared:] + value
        last = key
    return out + b"".join(struct.pack("<I", at) for at in (*restarts, len(restarts)))
