"""tflite: the FlatBuffer files of TensorFlow Lite (LiteRT), read without a library.

A tensor that has a buffer with content is a payload of that content; of several tensors on one
buffer the first in natural order owns it and the others are views. Content that is not the packed
array (sparse tensors, strings, two-bit numbers) is bytes. Buffers of no tensor are literal.

Schema: tensorflow/compiler/mlir/lite/schema/schema.fbs. The numbers of fields are its order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

from git_nn.errors import LayoutError
from git_nn.formats.base import Source
from git_nn.formats.flatbuffer import FlatBuffer, Table
from git_nn.formats.tflite_operators import OPERATORS
from git_nn.objects.layout import Extent, Layout, Payload, View
from git_nn.objects.names import MAX_NAME_BYTES, natural_key
from git_nn.objects.tensor import MAX_RANK, Shape, contiguous_strides, dtype_bits, format_shape

NAME = "tflite"
VERSION = 1
SUFFIXES = (".tflite",)
ABOUT = "TensorFlow Lite models, quantised ones included"

IDENTIFIER = b"TFL3"
MANY = 50_000  # tensors of all subgraphs; operators that are counted
_SHOWN = 1000  # inputs, outputs, subgraphs and characters of a text that structure tells

# TensorType -> dtype; strings, resources, variants and 2-bit numbers have none
DTYPES = {
    0: "f32", 1: "f16", 2: "i32", 3: "u8", 4: "i64", 6: "bool", 7: "i16", 8: "c64", 9: "i8",
    10: "f64", 11: "c128", 12: "u64", 15: "u32", 16: "u16", 17: "i4", 18: "bf16", 20: "u4",
}  # fmt: skip

_CODES, _SUBGRAPHS, _DESCRIPTION, _BUFFERS, _METADATA = 1, 2, 3, 4, 6  # of the model
_TENSORS, _INPUTS, _OUTPUTS, _OPERATORS, _NAME = range(5)  # of a subgraph


@dataclass(frozen=True, slots=True)
class _Tensor:
    name: str
    dtype: str
    shape: Shape
    extent: Extent


def sniff(head: bytes) -> bool:
    return head[4:8] == IDENTIFIER


def layout(source: Source) -> Layout:
    shared: dict[Extent, list[_Tensor]] = {}
    for tensor in _tensors(FlatBuffer(source)):
        shared.setdefault(tensor.extent, []).append(tensor)
    payloads: list[Payload] = []
    views: list[View] = []
    for extent, found in shared.items():
        owner, *others = sorted(found, key=lambda tensor: natural_key(tensor.name))
        payloads.append(Payload(owner.name, owner.dtype, owner.shape, (extent,)))
        views += (
            View(t.name, t.dtype, t.shape, owner.name, 0, contiguous_strides(t.shape))
            for t in others
        )
    return Layout(NAME, VERSION, source.size, tuple(payloads), tuple(views))


def _tensors(file: FlatBuffer) -> Iterator[_Tensor]:
    """The tensors that have content, under names that are all different."""
    model = file.root()
    at, count = file.vector(model, _BUFFERS, 4, file.source.size)
    known: dict[int, Extent | None] = {}
    taken: Counter[str] = Counter()
    for tensor in _tables(file, model):
        number = file.scalar(tensor, 2, 4)
        if number not in known:
            if number >= count:
                raise LayoutError("a tensor has a buffer that is not there")
            slot = at + 4 * number
            known[number] = _content(file, slot + file.number(slot, 4))
        extent = known[number]
        if extent is not None:
            name = _free(file.text(tensor, 3, MAX_NAME_BYTES), taken)
            dtype, shape = _spec(file, tensor, extent.length)
            yield _Tensor(name, dtype, shape, extent)


def _tables(file: FlatBuffer, model: Table) -> Iterator[Table]:
    count = 0
    for subgraph in file.tables(model, _SUBGRAPHS, MANY):
        tables = file.tables(subgraph, _TENSORS, MANY)
        count += len(tables) + 1
        if count > MANY:
            raise LayoutError(f"more than {MANY} tensors")
        yield from tables


def _content(file: FlatBuffer, buffer: Table) -> Extent | None:
    """The bytes of a buffer; in files above 2 GB they stand behind the FlatBuffer."""
    offset = file.scalar(buffer, 1, 8)
    if offset > 1:
        length = file.scalar(buffer, 2, 8)
    else:
        offset, length = file.vector(buffer, 0, 1, file.source.size)
    return Extent(offset, length) if length else None


def _spec(file: FlatBuffer, tensor: Table, length: int) -> tuple[str, Shape]:
    """dtype and shape; those of plain bytes where they do not make ``length`` bytes."""
    dtype = DTYPES.get(file.scalar(tensor, 1, 1, signed=True), "")
    shape = file.integers(tensor, 0, MAX_RANK)
    if dtype and min(shape, default=0) >= 0 and dtype_bits(dtype) * prod(shape) == 8 * length:
        return dtype, shape
    return "u8", (length,)


def _free(name: str, taken: Counter[str]) -> str:
    """``name``, or the first of NAME~2, NAME~3, ... that is not taken."""
    free = name
    while free in taken:
        taken[name] += 1
        free = f"{name}~{taken[name]}"
    taken[free] = 1
    return free


# --- what the file says about the model ---------------------------------------------------


def structure(source: Source) -> dict[str, Any]:
    """Description, names of the metadata, and for each subgraph what goes in, out and on."""
    file = FlatBuffer(source)
    model = file.root()
    codes = [_operator(file, code) for code in file.tables(model, _CODES, MANY)]
    graphs: dict[str, Any] = {}
    subgraphs = file.tables(model, _SUBGRAPHS, MANY)[:_SHOWN]
    vectors = (_TENSORS, _INPUTS, _OUTPUTS, _OPERATORS)
    if sum(file.vector(each, i, 4, MANY)[1] for each in subgraphs for i in vectors) > 4 * MANY:
        raise LayoutError("the subgraphs are too large")
    for number, subgraph in enumerate(subgraphs):
        name = _shown(file.text(subgraph, _NAME, MAX_NAME_BYTES)) or str(number)
        content = _subgraph(file, subgraph, codes)
        graphs[name if name not in graphs else f"{name}#{number}"] = content
    metadata = file.tables(model, _METADATA, MANY)[:_SHOWN]
    return {
        "version": file.scalar(model, 0, 4),
        "description": _shown(file.text(model, _DESCRIPTION, file.source.size)),
        "metadata": [_shown(file.text(each, 0, MAX_NAME_BYTES)) for each in metadata],
        "subgraphs": graphs,
    }


def _operator(file: FlatBuffer, code: Table) -> str:
    """What an operator is called, with its version where that is not 1."""
    number = max(file.scalar(code, 3, 4, signed=True), file.scalar(code, 0, 1, signed=True))
    name = OPERATORS[number] if 0 <= number < len(OPERATORS) else f"operator {number}"
    custom = _shown(file.text(code, 1, MAX_NAME_BYTES))
    version = file.scalar(code, 2, 4, 1, signed=True)
    return (f"{name} {custom}" if custom else name) + (f" v{version}" if version != 1 else "")


def _subgraph(file: FlatBuffer, subgraph: Table, codes: list[str]) -> dict[str, Any]:
    tensors = file.tables(subgraph, _TENSORS, MANY)
    numbers = [file.scalar(each, 0, 4) for each in file.tables(subgraph, _OPERATORS, MANY)]
    if any(number >= len(codes) for number in numbers):
        raise LayoutError("an operator has a code that is not there")
    return {
        "inputs": dict(_ends(file, subgraph, _INPUTS, tensors)),
        "outputs": dict(_ends(file, subgraph, _OUTPUTS, tensors)),
        "operators": dict(Counter(codes[number] for number in numbers)),
    }


def _ends(
    file: FlatBuffer, subgraph: Table, index: int, tensors: list[Table]
) -> Iterator[tuple[str, str]]:
    for number in file.integers(subgraph, index, MANY)[:_SHOWN]:
        if 0 <= number < len(tensors):
            tensor = tensors[number]
            kind = file.scalar(tensor, 1, 1, signed=True)
            shape = file.integers(tensor, 7, MAX_RANK) or file.integers(tensor, 0, MAX_RANK)
            dtype = DTYPES.get(kind, f"type {kind}")
            name = _shown(file.text(tensor, 3, MAX_NAME_BYTES))
            yield name, f"{dtype} {format_shape(shape).replace('-1', '?')}"


def _shown(value: str) -> str:
    """Text that JSON can hold, not too long."""
    return value[:_SHOWN].encode("utf-8", "replace").decode()
