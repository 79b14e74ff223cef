"""ONNX, TFLite and Core ML files whose messages, tables and records attack."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence

from tests.support import onnx_file
from tests.support.protobuf_file import field, message, varint

Row = Callable[[], bytes]


def _model(*graph: bytes) -> bytes:
    """A model around a graph with these fields."""
    named = field(2, "g") + b"".join(graph)
    return message((1, 8), (2, "hostile"), (7, named)) + field(8, field(2, 17))


def _tensors(*tensors: bytes) -> Row:
    return lambda: _model(*(field(5, each) for each in tensors))


def _nested(numbers: Sequence[int], levels: int, inner: bytes = b"") -> bytes:
    """A message in a message, so many levels; ``numbers`` are their fields in turn."""
    heads: list[bytes] = []
    length = len(inner)
    for i in reversed(range(levels)):
        head = varint(numbers[i % len(numbers)] << 3 | 2) + varint(length)
        heads.append(head)
        length += len(head)
    return b"".join(reversed(heads)) + inner


_make = onnx_file.tensor
_GOOD = field(5, _make("w", "f32", (4,), bytes(16)))

ONNX: Mapping[str, Row] = {
    "an endless varint": lambda: _model(_GOOD) + b"\x08" + b"\xff" * 100_000,
    "a varint for each byte": lambda: _model(_GOOD) + b"\x08\x01" * 500_000,
    "a length of 2**63": lambda: _model(_GOOD, b"\x2a" + b"\xff" * 8 + b"\x7f"),
    "a length of 2**31 - 1": lambda: _model(_GOOD, b"\x2a\xff\xff\xff\xff\x07"),
    "a field number of 0": lambda: _model(_GOOD, b"\x02\x00"),
    "groups 100,000 deep": lambda: _model(_GOOD) + b"\x0b" * 100_000,
    "graphs 50,000 deep": lambda: _model(_GOOD, _nested((1, 5, 6), 50_000)),
    "functions with graphs 20,000 deep": lambda: _model(_GOOD) + _nested((25, 7, 5, 6), 20_000),
    "sparse tensors": lambda: _model(
        _GOOD, field(15, field(1, _make("s", "f32", (4,), bytes(16))))
    ),
    "dimensions of 2**62": _tensors(_make("w", "f32", (2**62, 4), bytes(16))),
    "dimensions that overflow to 16": _tensors(_make("w", "f32", (2**62, 4, 4), bytes(16))),
    "negative dimensions": _tensors(_make("w", "f32", (-4,), bytes(16))),
    "two negative dimensions": _tensors(_make("w", "f32", (-2, -2), bytes(16))),
    "a rank of 100,000": _tensors(_make("w", "f32", (1,) * 100_000, bytes(4))),
    "an unknown dtype": _tensors(_make("w", 2**31 - 1, (4,), bytes(16))),
    "a dtype that is negative": _tensors(_make("w", -1, (4,), bytes(16))),
    "raw data twice": _tensors(_make("w", "f32", (4,), bytes(16), field(9, bytes(16)))),
    "raw and typed data": _tensors(_make("w", "f32", (4,), bytes(16), field(4, bytes(16)))),
    "a name twice": _tensors(*[_make("w", "f32", (4,), bytes(16))] * 2),
    "no name": _tensors(_make("", "f32", (4,), bytes(16))),
    "20,000 tensors of no bytes": _tensors(
        *(_make(str(i), "f32", (0,), b"") for i in range(20_000))
    ),
    "100,000 nodes": lambda: _model(_GOOD, *[field(1, field(4, "Add"))] * 100_000),
    "external data of /etc/passwd": _tensors(
        onnx_file.external("w", "f32", (4,), location="/etc/passwd", offset="0", length="16")
    ),
    "external data above the folder": _tensors(
        onnx_file.external("w", "f32", (4,), location="../../../../etc/passwd")
    ),
    "external data of itself": _tensors(
        onnx_file.external("w", "f32", (4,), location="model.onnx", offset="0", length="16")
    ),
    "external data of 5000 digits": _tensors(
        onnx_file.external("w", "f32", (4,), location="w", offset="9" * 5000, length="-1")
    ),
    "an unknown operator that names a module": lambda: _model(
        _GOOD, field(1, field(4, "PyOp") + field(7, "os.system"))
    ),
    "metadata of 1 MB": lambda: _model(_GOOD) + field(14, message((1, "a"), (2, "b" * 1_000_000))),
    "50,000 values of metadata": lambda: _model(_GOOD) + field(14, message((1, "a"))) * 50_000,
}


def _flatbuffer(*words: int, root: int = 8) -> bytes:
    """A TFLite file of these 32-bit words, which begin at offset 8."""
    return struct.pack("<I", root) + b"TFL3" + b"".join(struct.pack("<I", w % 2**32) for w in words)


def _table(*slots: int) -> bytes:
    """At 8 a vtable with these offsets of fields, at 32 the root table; 200 bytes behind it."""
    vtable = struct.pack("<2H", 4 + 2 * len(slots), 64) + struct.pack(f"<{len(slots)}H", *slots)
    return struct.pack("<I", 32) + b"TFL3" + vtable.ljust(24, b"\0") + struct.pack("<i", 24)


TFLITE: Mapping[str, Row] = {
    "a root beyond the file": lambda: _flatbuffer(0, 0, root=2**31),
    "a root at the file's own start": lambda: _flatbuffer(0, 0, root=0),
    "a vtable beyond the file": lambda: _flatbuffer(-(2**30), 0),
    "a vtable that is its own table": lambda: _flatbuffer(0, 8, 8, 8),
    "a vtable of 65,535 bytes": lambda: _flatbuffer(4, 0xFFFFFFFF),
    "a vector of 2**32 - 1 buffers": lambda: (
        _table(0, 0, 0, 0, 4) + struct.pack("<2I", 4, 2**32 - 1)
    ),
    "a vector of subgraphs that is the table": lambda: (
        _table(4, 4, 4, 4, 4) + struct.pack("<I", 2**32 - 4) + bytes(200)
    ),
    "every field one vector of itself": lambda: (
        _table(*[4] * 10)
        + struct.pack("<2I", 4, 40)
        + b"".join(struct.pack("<i", -4 * i) for i in range(40))
    ),
    "100,000 buffers that are one table": lambda: (
        _table(0, 0, 0, 0, 4)
        + struct.pack("<2I", 4, 100_000)
        + b"".join(struct.pack("<i", -8 - 4 * i) for i in range(100_000))
    ),
    "a text that leaves the file": lambda: _table(0, 0, 0, 4, 0) + struct.pack("<2I", 4, 2**31),
    "only the magic number": lambda: struct.pack("<I", 8) + b"TFL3",
    "zeros": lambda: struct.pack("<I", 8) + b"TFL3" + bytes(100_000),
    "ones": lambda: struct.pack("<I", 8) + b"TFL3" + b"\xff" * 100_000,
}


def _weights(*records: tuple[int, int, int], count: int | None = None) -> bytes:
    """Core ML's weight.bin: a head of 64 bytes, then for each blob a record and its bytes."""
    head = struct.pack("<II", len(records) if count is None else count, 2).ljust(64, b"\0")
    body = b""
    for kind, size, offset in records:
        body += struct.pack("<IIQQ", 0xDEADBEEF, kind, size, offset).ljust(64, b"\0") + bytes(64)
    return head + body


COREML: Mapping[str, Row] = {
    "a count of 2**32 - 1": lambda: _weights((1, 64, 128), count=2**32 - 1),
    "a count of nothing": lambda: _weights((1, 64, 128), count=0),
    "a blob of 2**64 - 1 bytes": lambda: _weights((1, 2**64 - 1, 128)),
    "a blob that overflows": lambda: _weights((1, 2**63, 2**63)),
    "a blob over the head": lambda: _weights((1, 64, 0)),
    "a blob over its own record": lambda: _weights((1, 128, 64)),
    "blobs that overlap": lambda: _weights((1, 64, 128), (1, 64, 160)),
    "one range for two blobs": lambda: _weights((1, 64, 128), (1, 64, 128)),
    "an odd size": lambda: _weights((2, 63, 128)),
    "an unknown kind": lambda: _weights((99, 64, 128)),
    "20,000 blobs of no bytes": lambda: (
        struct.pack("<II", 20_000, 2).ljust(64, b"\0")
        + struct.pack("<IIQQ", 0xDEADBEEF, 1, 0, 64).ljust(64, b"\0") * 20_000
    ),
    "a model 50,000 levels deep": lambda: field(1, 7) + _nested((500, 1, 2, 3), 50_000),
    "a program 20,000 levels deep": lambda: field(1, 7) + _nested((502, 2, 3), 20_000),
}
