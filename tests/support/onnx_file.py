"""ONNX models written by hand from onnx.proto."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.support.protobuf_file import field, message, varint

KINDS = {
    "f32": 1, "u8": 2, "i8": 3, "u16": 4, "i16": 5, "i32": 6, "i64": 7, "string": 8, "bool": 9,
    "f16": 10, "f64": 11, "u32": 12, "u64": 13, "c64": 14, "c128": 15, "bf16": 16,
    "f8_e4m3fn": 17, "f8_e4m3fnuz": 18, "f8_e5m2": 19, "f8_e5m2fnuz": 20, "u4": 21, "i4": 22,
    "f4_e2m1": 23, "f8_e8m0": 24,
}  # fmt: skip


def tensor(
    name: str, dtype: str | int, shape: Sequence[int], raw: bytes | None, *more: bytes
) -> bytes:
    """A TensorProto; ``more`` are further fields, the typed data of one without raw bytes."""
    kind = dtype if isinstance(dtype, int) else KINDS[dtype]
    dims = b"".join(field(1, dim) for dim in shape)
    content = b"" if raw is None else field(9, raw)
    return dims + field(2, kind) + (field(8, name) if name else b"") + content + b"".join(more)


def external(name: str, dtype: str, shape: Sequence[int], **entries: str) -> bytes:
    pairs = (field(13, message((1, key), (2, value))) for key, value in entries.items())
    return tensor(name, dtype, shape, None, *pairs, field(14, 1))


def attribute(name: str, number: int, value: int | float | str | bytes, kind: int) -> bytes:
    return message((1, name), (number, value), (20, kind))


def node(
    op: str, inputs: Sequence[str], outputs: Sequence[str], *attributes: bytes, name: str = ""
) -> bytes:
    return (
        b"".join(field(1, each) for each in inputs)
        + b"".join(field(2, each) for each in outputs)
        + (field(3, name) if name else b"")
        + field(4, op)
        + b"".join(field(5, each) for each in attributes)
    )


def value(name: str, kind: int, dims: Sequence[int | str]) -> bytes:
    """A ValueInfoProto of a tensor."""
    shape = b"".join(field(1, field(1 if isinstance(dim, int) else 2, dim)) for dim in dims)
    return message((1, name), (2, field(1, message((1, kind), (2, shape)))))


def graph(
    initializers: Sequence[bytes] = (),
    nodes: Sequence[bytes] = (),
    *,
    name: str = "main",
    inputs: Sequence[bytes] = (),
    outputs: Sequence[bytes] = (),
    sparse: Sequence[bytes] = (),
) -> bytes:
    return (
        b"".join(field(1, each) for each in nodes)
        + field(2, name)
        + b"".join(field(5, each) for each in initializers)
        + b"".join(field(11, each) for each in inputs)
        + b"".join(field(12, each) for each in outputs)
        + b"".join(field(15, each) for each in sparse)
    )


def model(content: bytes, *more: bytes, metadata: Mapping[str, str] | None = None) -> bytes:
    """A ModelProto around a graph; ``more`` are fields that follow."""
    pairs = (field(14, message((1, k), (2, v))) for k, v in (metadata or {}).items())
    opset = field(8, message((1, ""), (2, 17)))
    head = message((1, 8), (2, "git-nn"), (3, "1.0"), (5, -1), (7, content))
    return head + opset + b"".join(pairs) + b"".join(more)


def packed(number: int, values: Sequence[int]) -> bytes:
    return field(number, b"".join(varint(each) for each in values))
