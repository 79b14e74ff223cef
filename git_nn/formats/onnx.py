"""onnx: a model of the ONNX standard, one message of Protocol Buffers; read without a library.

The payloads are raw bytes of tensors, and lists of floats whose packed form is the array. Tensors
in other fields (varints, texts) are literal. Those that stand in another file are in none of
this one's payloads: that file is ``onnx-data``. There is no magic number, so content is taken for
ONNX only where it begins as a model does and is one message from end to end.
"""

from __future__ import annotations

from math import prod
from typing import Any

from git_nn.errors import LayoutError
from git_nn.formats.base import BytesSource, Source
from git_nn.formats.onnx_structure import model
from git_nn.formats.onnx_walk import GRAPH, tensors
from git_nn.formats.protobuf import BYTES, VARINT, Buffered, Field, fields
from git_nn.objects.layout import Extent, Layout, Payload
from git_nn.objects.tensor import Shape, dtype_bits

NAME = "onnx"
VERSION = 1
SUFFIXES = (".onnx",)
ABOUT = "ONNX models; big ones with a data file beside them"

_NEWEST = 63  # ir_version; it was 13 in 2026
_VARINTS = frozenset({1, 5})  # ir_version, model_version
_HIGHEST = 63  # field of a model; the highest that is in use is 26
_FIRST = frozenset({2, 3, 4, 5, 6})  # what a writer puts between ir_version and the graph
_PRODUCER = 2
_LONGEST = 4096  # bytes of its name; a SavedModel has its whole graph in this field


def sniff(head: bytes) -> bool:
    """An ir_version, who wrote it, then a graph; a SavedModel of TensorFlow has no graph."""
    if len(head) < 4 or head[0] != 8 or not 1 <= head[1] <= _NEWEST:
        return False
    at = 2
    try:
        for field in fields(BytesSource(head), at, len(head)):
            if field.number == GRAPH and field.wire == BYTES:
                return True
            if field.number not in _FIRST or not _is_known(field):
                return False
            at = field.stop
    except LayoutError:  # the field does not end here
        return head[at : at + 1] == bytes([GRAPH << 3 | BYTES])
    return False


def layout(source: Source) -> Layout:
    ahead = Buffered(source)
    _check_model(ahead)
    found = tuple(
        payload(tensor.name, tensor.dtype, tensor.shape, tensor.data)
        for tensor in tensors(ahead)
        if tensor.data is not None
    )
    return Layout(NAME, VERSION, source.size, found)


def payload(name: str, dtype: str, shape: Shape, extents: tuple[Extent, ...]) -> Payload:
    """The payload of a tensor; bytes where its dtype is unknown or does not fill whole bytes."""
    if not dtype or dtype_bits(dtype) * prod(shape) % 8:
        return Payload(name, "u8", (sum(extent.length for extent in extents),), extents)
    return Payload(name, dtype, shape, extents)


def _check_model(source: Source) -> None:
    """Raise unless the file is one message with the fields of a model, and one graph."""
    graphs = 0
    for field in fields(source, 0, source.size):
        if not _is_known(field):
            raise LayoutError(f"field {field.number} is not one of a model")
        graphs += field.number == GRAPH
    if graphs != 1:
        raise LayoutError(f"it has {graphs} graphs")


def _is_known(field: Field) -> bool:
    if field.number == _PRODUCER and field.stop - field.start > _LONGEST:
        return False
    wire = VARINT if field.number in _VARINTS else BYTES
    return field.number <= _HIGHEST and field.wire == wire


def structure(source: Source) -> dict[str, Any]:
    return model(Buffered(source))
