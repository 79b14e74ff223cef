"""What an ONNX model says of itself: who wrote it, opsets, inputs and outputs, and its nodes.

Plain JSON values and bounded: NODES nodes, ITEMS items of a list, TEXT characters. A node is called
by its name or else by its first output, so that another node before it changes nothing.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Any

from git_nn.formats.base import Source
from git_nn.formats.onnx_walk import DTYPES, GRAPH, collect, entry, text
from git_nn.formats.protobuf import BYTES, Field, signed, varints
from git_nn.objects.tensor import MAX_RANK

NODES = 5000
ITEMS = 50
TEXT = 1000

_TEXTS = {2: "producer_name", 3: "producer_version", 4: "domain", 6: "doc_string"}


def model(source: Source) -> dict[str, Any]:
    """The structure of the model that fills ``source``; LayoutError where it is broken."""
    whole = Field(1, BYTES, 0, 0, source.size)
    found = collect(source, whole, 1, 5, GRAPH, 8, 14, *_TEXTS)
    result: dict[str, Any] = {
        name: _shown(text(source, found[number]))
        for number, name in _TEXTS.items()
        if found[number]
    }
    for number, name in ((1, "ir_version"), (5, "model_version")):
        if found[number]:
            result[name] = signed(found[number][-1].value)
    result["opset"] = dict(_opset(source, field) for field in found[8])
    result["metadata"] = {
        _shown(key): _shown(value)
        for key, value in (entry(source, field) for field in found[14][:NODES])
    }
    for graph in found[GRAPH]:
        result["graph"] = _graph(source, graph)
    return result


def _opset(source: Source, message: Field) -> tuple[str, int]:
    found = collect(source, message, 1, 2)
    version = signed(found[2][-1].value) if found[2] else 0
    return _shown(text(source, found[1])) or "ai.onnx", version


def _graph(source: Source, graph: Field) -> dict[str, Any]:
    found = collect(source, graph, 1, 2, 11, 12)
    nodes: dict[str, Any] = {}
    for number, node in enumerate(found[1][:NODES]):
        name, content = _node(source, node)
        nodes[name if name and name not in nodes else f"{name}#{number}"] = content
    if len(found[1]) > NODES:
        nodes["..."] = f"and {len(found[1]) - NODES} more"
    return {
        "name": _shown(text(source, found[2])),
        "inputs": dict(_value(source, field) for field in found[11][:NODES]),
        "outputs": dict(_value(source, field) for field in found[12][:NODES]),
        "nodes": nodes,
    }


def _node(source: Source, node: Field) -> tuple[str, dict[str, Any]]:
    found = collect(source, node, 1, 2, 3, 4, 5, 7)
    outputs = [_shown(text(source, [field])) for field in found[2][:ITEMS]]
    content: dict[str, Any] = {}
    for attribute in found[5][:ITEMS]:
        content.update(_attribute(source, attribute))
    content["op_type"] = _shown(text(source, found[4]))
    if found[7]:
        content["domain"] = _shown(text(source, found[7]))
    content["inputs"] = [_shown(text(source, [field])) for field in found[1][:ITEMS]]
    content["outputs"] = outputs
    return _shown(text(source, found[3])) or (outputs[0] if outputs else ""), content


def _attribute(source: Source, attribute: Field) -> Iterator[tuple[str, Any]]:
    """Its name and value where that is a number, a text or a list of them; else nothing."""
    found = collect(source, attribute, 1, 2, 3, 4, 7, 8, 9)
    name = _shown(text(source, found[1]))
    if found[2]:
        yield name, _float(found[2][-1].value)
    elif found[3]:
        yield name, signed(found[3][-1].value)
    elif found[4]:
        yield name, _shown(text(source, found[4]))
    elif found[7]:
        yield name, _listed([_float(value) for value in _numbers(source, found[7], 4)])
    elif found[8]:
        yield name, _listed([signed(value) for value in _numbers(source, found[8], 0)])
    elif found[9]:
        yield name, _listed([_shown(text(source, [field])) for field in found[9]])


def _numbers(source: Source, found: list[Field], size: int) -> Iterator[int]:
    """The bits of a repeated number, packed or not; ``size`` is 4 for floats, 0 for varints."""
    for field in found:
        if field.wire != BYTES:
            yield field.value
        elif size:
            data = source.read(field.start, field.stop - field.start)
            yield from struct.unpack(f"<{len(data) // size}I", data)
        else:
            yield from varints(source, field.start, field.stop)


def _float(bits: int) -> float | str:
    """A single-precision number in as few digits as tell it from others; JSON has no NaN."""
    raw = struct.pack("<I", bits & 0xFFFF_FFFF)
    (value,) = struct.unpack("<f", raw)
    if not math.isfinite(value):
        return str(value)
    shorter = (float(f"{value:.{digits}g}") for digits in range(6, 10))
    return next((each for each in shorter if struct.pack("<f", each) == raw), value)


def _listed(values: list[Any]) -> list[Any] | str:
    return values if len(values) <= ITEMS else f"{len(values)} items"


def _value(source: Source, message: Field) -> tuple[str, str]:
    """Name and type of an input or output, such as ``f32 Nx3x224x224``."""
    found = collect(source, message, 1, 2)
    name = _shown(text(source, found[1]))
    for kind in found[2][-1:]:
        for tensor in collect(source, kind, 1)[1][-1:]:
            held = collect(source, tensor, 1, 2)
            number = held[1][-1].value if held[1] else 0
            dims = [_dim(source, d) for s in held[2] for d in collect(source, s, 1)[1][:MAX_RANK]]
            shape = "x".join(dims) if held[2] else "?"
            return name, f"{DTYPES.get(number, f'type {number}')} {shape or 'scalar'}"
    return name, "?"


def _dim(source: Source, message: Field) -> str:
    found = collect(source, message, 1, 2)
    return str(signed(found[1][-1].value)) if found[1] else _shown(text(source, found[2])) or "?"


def _shown(value: str) -> str:
    """Text that JSON can hold, not too long."""
    return value[:TEXT].encode("utf-8", "replace").decode()
