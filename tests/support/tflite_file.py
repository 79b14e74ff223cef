"""TensorFlow Lite files written by hand: a small writer of FlatBuffers, and the schema's fields."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

KINDS = {
    "f32": 0, "f16": 1, "i32": 2, "u8": 3, "i64": 4, "string": 5, "bool": 6, "i16": 7, "c64": 8,
    "i8": 9, "f64": 10, "c128": 11, "u64": 12, "u32": 15, "u16": 16, "i4": 17, "bf16": 18,
    "i2": 19, "u4": 20,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Number:
    code: str
    value: int


@dataclass(frozen=True, eq=False)
class Bytes:
    """A vector of bytes, or a string."""

    data: bytes


@dataclass(frozen=True, eq=False)
class Ints:
    values: Sequence[int]


@dataclass(frozen=True, eq=False)
class Tables:
    items: Sequence[Table]


@dataclass(frozen=True, eq=False)
class Table:
    fields: Mapping[int, Number | Bytes | Ints | Tables | Table]


class _Writer:
    """Parents before children, since references point forward; an object is written once."""

    def __init__(self, identifier: bytes) -> None:
        self.out = bytearray(bytes(4) + identifier)
        self.at: dict[int, int] = {}

    def refer(self, slot: int, thing: Bytes | Ints | Tables | Table) -> None:
        struct.pack_into("<I", self.out, slot, self.place(thing) - slot)

    def place(self, thing: Bytes | Ints | Tables | Table) -> int:
        if id(thing) not in self.at:
            self.out += bytes(-len(self.out) % 16)
            if isinstance(thing, Table):
                self._table(thing)
            elif isinstance(thing, Bytes):
                self._start(thing)
                self.out += struct.pack("<I", len(thing.data)) + thing.data + b"\0"
            elif isinstance(thing, Ints):
                self._start(thing)
                count = len(thing.values)
                self.out += struct.pack(f"<I{count}i", count, *thing.values)
            else:
                self._tables(thing)
        return self.at[id(thing)]

    def _start(self, thing: object) -> None:
        self.at[id(thing)] = len(self.out)

    def _tables(self, thing: Tables) -> None:
        self._start(thing)
        start = len(self.out) + 4
        self.out += struct.pack("<I", len(thing.items)) + bytes(4 * len(thing.items))
        for i, item in enumerate(thing.items):
            self.refer(start + 4 * i, item)

    def _table(self, thing: Table) -> None:
        count = max(thing.fields, default=-1) + 1
        offsets = {index: 8 + 8 * i for i, index in enumerate(thing.fields)}
        size = 8 + 8 * len(offsets)
        shape = [4 + 2 * count, size, *(offsets.get(i, 0) for i in range(count))]
        shape_at = len(self.out)
        self.out += struct.pack(f"<{len(shape)}H", *shape)
        self.out += bytes(-len(self.out) % 8)
        start = len(self.out)
        self._start(thing)
        self.out += struct.pack("<i", start - shape_at) + bytes(size - 4)
        for index, value in thing.fields.items():
            if isinstance(value, Number):
                struct.pack_into("<" + value.code, self.out, start + offsets[index], value.value)
            else:
                self.refer(start + offsets[index], value)


def flatbuffer(root: Table, identifier: bytes = b"TFL3") -> bytes:
    writer = _Writer(identifier)
    struct.pack_into("<I", writer.out, 0, writer.place(root))
    return bytes(writer.out)


def tensor(
    name: str, kind: str, shape: Sequence[int], buffer: int, signature: Sequence[int] = ()
) -> Table:
    fields: dict[int, Number | Bytes | Ints | Tables | Table] = {
        0: Ints(shape), 1: Number("b", KINDS[kind]), 2: Number("I", buffer),
        3: Bytes(name.encode()),
    }  # fmt: skip
    return Table({**fields, **({7: Ints(signature)} if signature else {})})


def buffer(data: bytes = b"") -> Table:
    return Table({0: Bytes(data)} if data else {})


def code(builtin: int, version: int = 1, custom: str = "") -> Table:
    fields: dict[int, Number | Bytes | Ints | Tables | Table] = {
        0: Number("b", min(builtin, 127)), 2: Number("i", version), 3: Number("i", builtin),
    }  # fmt: skip
    return Table({**fields, **({1: Bytes(custom.encode())} if custom else {})})


def subgraph(
    tensors: Sequence[Table],
    inputs: Sequence[int] = (),
    outputs: Sequence[int] = (),
    operators: Sequence[int] = (),
    name: str = "main",
) -> Table:
    steps = Tables([Table({0: Number("I", number)}) for number in operators])
    fields = {0: Tables(tensors), 1: Ints(inputs), 2: Ints(outputs), 3: steps}
    return Table({**fields, 4: Bytes(name.encode())})


def model(
    subgraphs: Sequence[Table],
    buffers: Sequence[Table],
    codes: Sequence[Table] = (),
    metadata: Sequence[str] = (),
) -> Table:
    named = [Table({0: Bytes(name.encode()), 1: Number("I", 0)}) for name in metadata]
    return Table(
        {
            0: Number("I", 3), 1: Tables(codes), 2: Tables(subgraphs), 3: Bytes(b"by hand"),
            4: Tables(buffers), 6: Tables(named),
        }
    )  # fmt: skip
