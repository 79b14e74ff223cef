"""GGUF files written by hand from the specification (ggml/docs/gguf.md)."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

# name of a type -> number in the file, elements and bytes of a block
KINDS = {
    "f32": (0, 1, 4), "f16": (1, 1, 2), "q4_0": (2, 32, 18), "q8_0": (8, 32, 34),
    "q4_k": (12, 256, 144), "q8_k": (15, 256, 292), "i8": (24, 1, 1), "i16": (25, 1, 2),
    "i32": (26, 1, 4), "i64": (27, 1, 8), "f64": (28, 1, 8), "bf16": (30, 1, 2),
}  # fmt: skip
SCALARS = {
    "u8": (0, "B"), "i8": (1, "b"), "u16": (2, "H"), "i16": (3, "h"), "u32": (4, "I"),
    "i32": (5, "i"), "f32": (6, "f"), "bool": (7, "?"), "u64": (10, "Q"), "i64": (11, "q"),
    "f64": (12, "d"),
}  # fmt: skip

Spec = tuple[str | int, tuple[int, ...], bytes]  # type, row-major shape, content
Pairs = Mapping[str, tuple[str, Any]]  # key -> type, value or list of values


def text(value: str | bytes, order: str = "<") -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack(order + "Q", len(raw)) + raw


def pair(key: str, kind: str, value: Any, order: str = "<") -> bytes:
    number = 8 if kind == "string" else SCALARS[kind][0]
    if kind == "string":
        items = [text(item, order) for item in (value if isinstance(value, list) else [value])]
    else:
        values = value if isinstance(value, list) else [value]
        items = [struct.pack(order + SCALARS[kind][1], item) for item in values]
    head = text(key, order)
    if isinstance(value, list):
        return head + struct.pack(order + "IIQ", 9, number, len(value)) + b"".join(items)
    return head + struct.pack(order + "I", number) + b"".join(items)


def info(
    name: str | bytes, kind: int, shape: Sequence[int], offset: int, order: str = "<"
) -> bytes:
    dims = struct.pack(f"{order}I{len(shape)}Q", len(shape), *reversed(shape))
    return text(name, order) + dims + struct.pack(order + "IQ", kind, offset)


def write(
    tensors: Mapping[str, Spec],
    pairs: Pairs | None = None,
    *,
    version: int = 3,
    order: str = "<",
    alignment: int = 32,
) -> bytes:
    """A whole file; ``pairs`` must name an alignment other than 32."""
    pairs = pairs or {}
    head = b"GGUF" + struct.pack(order + "IQQ", version, len(tensors), len(pairs))
    head += b"".join(pair(key, *value, order) for key, value in pairs.items())
    data = b""
    for name, (kind, shape, content) in tensors.items():
        number = kind if isinstance(kind, int) else KINDS[kind][0]
        head += info(name, number, shape, len(data), order)
        data += content + bytes(-len(content) % alignment)
    return head + bytes(-len(head) % alignment) + data
