"""onnx: models written by hand from onnx.proto."""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Sequence

import pytest

from git_nn.formats import onnx, table
from git_nn.formats.base import BytesSource
from git_nn.objects.layout import Layout
from git_nn.objects.tensor import dtype_bits
from tests.contract.format_contract import FormatContract, Sample, Tensor, bounded_memory, survive
from tests.support.onnx_file import (
    KINDS,
    attribute,
    external,
    graph,
    model,
    node,
    packed,
    tensor,
    value,
)
from tests.support.protobuf_file import field, message


def content(length: int, seed: object = 0) -> bytes:
    return random.Random(str(seed)).randbytes(length)


def layout_of(data: bytes) -> Layout:
    layout = table.detect(BytesSource(data))
    assert layout.format == "onnx", layout.notes
    return layout


def names(data: bytes) -> list[str]:
    return [payload.name for payload in layout_of(data).payloads]


W = tensor("w", "f32", (2, 3), content(24))
FLOATS = struct.pack("<4f", 1, 2, 3, 4)
DOUBLES = struct.pack("<2d", 1, 2)


def every_dtype() -> Sample:
    known = {kind: dtype_bits(kind) for kind in KINDS if kind != "string"}
    tensors = {
        f"t.{kind}": Tensor(kind, (2, 4), content(bits, kind)) for kind, bits in known.items()
    }
    made = [tensor(name, t.dtype, t.shape, t.data) for name, t in tensors.items()]
    return Sample(model(graph(made)), tensors)


def typed_fields() -> Sample:
    """Lists of floats are arrays as they are; lists of varints are not."""
    made = [
        tensor("floats", "f32", (2, 2), None, field(4, FLOATS)),
        tensor("complex", "c64", (2,), None, field(4, FLOATS)),
        tensor("parts", "f32", (4,), None, field(4, FLOATS[:8]), field(4, FLOATS[8:])),
        tensor("doubles", "f64", (2,), None, field(10, DOUBLES)),
        tensor("integers", "i64", (3,), None, packed(7, [1, 2, -3])),
        tensor("half", "f16", (2,), None, packed(5, [15360, 16384])),
        tensor("texts", "string", (2,), None, field(6, "a"), field(6, "b")),
        tensor("one by one", "f32", (2,), None, field(4, 1.0), field(4, 2.0)),
        tensor("empty", "f32", (0, 4), None), tensor("none", "f32", (2,), None),
    ]  # fmt: skip
    return Sample(
        model(graph(made)),
        {
            "floats": Tensor("f32", (2, 2), FLOATS), "complex": Tensor("c64", (2,), FLOATS),
            "parts": Tensor("f32", (4,), FLOATS), "doubles": Tensor("f64", (2,), DOUBLES),
            "empty": Tensor("f32", (0, 4), b""),
        },
    )  # fmt: skip


def everywhere() -> Sample:
    """Tensors wherever a model may have them."""
    each = {name: content(24, name) for name in "abcdefghijkl"}

    def of(name: str, own: str = "") -> bytes:
        return tensor(own, "f32", (2, 3), each[name])

    branch = graph([of("a", "w")], [node("Constant", [], ["c"], attribute("value", 5, of("b"), 4))])
    nodes = [
        node("Constant", [], ["out"], attribute("value", 5, of("c"), 4)),
        node("If", ["x"], ["y"], attribute("then_branch", 6, branch, 5), name="choose"),
        node("Many", ["x"], ["z"], attribute("all", 10, of("d"), 9) + field(10, of("e"))),
        node("Loops", ["x"], ["v"], attribute("bodies", 11, graph([of("f", "w")]), 10)),
        node(
            "Sparse", [], ["s"], attribute("sparse", 22, field(1, of("g")) + field(2, of("h")), 11)
        ),
    ]
    sparse = field(1, of("i", "sp")) + field(2, of("j")) + field(3, 9)
    body = node("Constant", [], ["k"], attribute("value", 5, of("k"), 4))
    training = field(20, field(1, graph([of("l", "moment")])))
    function = field(25, field(1, "gelu") + field(7, body))
    data = model(graph([], nodes, sparse=[sparse]), training, function)
    named = {
        "choose.then_branch.w": "a", "choose.then_branch.c.value": "b", "out.value": "c",
        "z.all.0": "d", "z.all.1": "e", "v.bodies.0.w": "f", "s.sparse.": "g",
        "s.sparse..indices": "h", "sp": "i", "sp.indices": "j", "gelu.k.value": "k",
        "training.0.initialization.moment": "l",
    }  # fmt: skip
    return Sample(data, {name: Tensor("f32", (2, 3), each[key]) for name, key in named.items()})


class TestOnnx(FormatContract):
    name = "onnx"

    def samples(self) -> dict[str, Sample]:
        return {
            "every dtype": every_dtype(), "typed fields": typed_fields(),
            "everywhere": everywhere(), "no tensors": Sample(model(graph())),
            "scalar": Sample(
                model(graph([tensor("s", "i64", (), b"12345678")])),
                {"s": Tensor("i64", (), b"12345678")},
            ),
        }  # fmt: skip


def test_dims_may_be_packed() -> None:
    made = packed(1, [2, 3]) + field(2, 1) + field(8, "w") + field(9, content(24))
    assert [p.shape for p in layout_of(model(graph([made]))).payloads] == [(2, 3)]


def test_equal_names_are_told_apart() -> None:
    taken = tensor("w~2", "f32", (2, 3), content(24))
    assert names(model(graph([W, W, taken, W, taken]))) == ["w", "w~2", "w~2~2", "w~3", "w~2~3"]


def test_types_without_a_dtype_and_half_bytes_are_bytes() -> None:
    made = [tensor("i2", 26, (4,), b"x"), tensor("odd", "i4", (3,), b"xy")]
    found = layout_of(model(graph(made))).payloads
    assert [(p.name, p.dtype, p.shape) for p in found] == [("i2", "u8", (1,)), ("odd", "u8", (2,))]


def test_external_tensors_are_not_in_the_file() -> None:
    made = external("far", "f32", (2, 3), location="m.onnx.data", offset="0", length="24")
    assert names(model(graph([made, W]))) == ["w"]


def test_fields_that_are_newer_than_this_reader_are_literal() -> None:
    newer = field(40, "x")
    data = model(graph([W + newer], [node("N", [], ["y"]) + newer]) + newer, newer)
    assert names(data) == ["w"]


def test_structure() -> None:
    conv = node(
        "Conv", ["x", "w"], ["y"], attribute("kernel_shape", 8, 3, 7) + field(8, 3),
        attribute("alpha", 2, 0.1, 1), attribute("pads", 8, b"\1\1", 7),
        attribute("mode", 4, "same", 3), attribute("group", 3, 1, 2), name="conv1",
    )  # fmt: skip
    relu = node("Relu", ["y"], ["z"])
    main = graph(
        [W], [conv, relu], inputs=[value("x", 1, ["N", 3, 8])], outputs=[value("z", 10, [])]
    )
    found = table.structure("onnx", BytesSource(model(main, metadata={"author": "me"})))
    assert found == {
        "ir_version": 8, "producer_name": "git-nn", "producer_version": "1.0",
        "model_version": -1, "opset": {"ai.onnx": 17}, "metadata": {"author": "me"},
        "graph": {
            "name": "main", "inputs": {"x": "f32 Nx3x8"}, "outputs": {"z": "f16 scalar"},
            "nodes": {
                "conv1": {
                    "op_type": "Conv", "inputs": ["x", "w"], "outputs": ["y"],
                    "kernel_shape": [3, 3], "alpha": 0.1, "pads": [1, 1], "mode": "same",
                    "group": 1,
                },
                "z": {"op_type": "Relu", "inputs": ["y"], "outputs": ["z"]},
            },
        },
    }  # fmt: skip


def test_structure_is_bounded_and_does_not_need_the_payloads() -> None:
    nodes = [node("Relu", ["x"], [f"y{i}"], name="same") for i in range(6000)]
    long = node("Long", [], ["l"], attribute("list", 8, bytes(100), 7), name="n" * 5000)
    data = bytearray(model(graph([W], [long, *nodes])))
    found = onnx.structure(BytesSource(data))
    assert len(found["graph"]["nodes"]) == 5001
    assert found["graph"]["nodes"]["n" * 1000]["list"] == "100 items"
    (payload,) = layout_of(bytes(data)).payloads
    for extent in payload.extents:
        data[extent.offset : extent.stop] = bytes(extent.length)
    assert onnx.structure(BytesSource(data)) == found


def test_2000_tensors_are_read_in_time() -> None:
    made = [tensor(f"layer.{i}.weight", "f32", (2, 3), content(24)) for i in range(2000)]
    data = model(graph(made))
    started = time.process_time()
    assert len(layout_of(data).payloads) == 2000
    assert time.process_time() - started < 0.3


# -- what is no model

SAVED_MODEL = field(1, 1) + field(2, field(1, field(2, "serve")) + field(2, content(9000)))
OTHERS = {
    "a SavedModel of TensorFlow": SAVED_MODEL,
    "a frozen graph of TensorFlow": field(1, message((1, "x"), (2, "Placeholder"))) * 9,
    "a tensor": W,
    "a Core ML model": field(1, 4) + field(2, field(1, "input")) + field(500, content(99)),
    "text": b"\x08\x08 is a model, or so this text says\n" * 9,
    "a message without a graph": field(1, 8) + field(2, "x") + field(8, field(2, 17)),
    "an unknown field before the graph": field(1, 8) + field(50, "x") + field(7, graph([W])),
}


@pytest.mark.parametrize("label", OTHERS)
def test_other_messages_and_text_are_not_taken_for_models(label: str) -> None:
    layout = survive(OTHERS[label], label)
    assert (layout.format, layout.notes) == ("opaque", ())


def nested(depth: int) -> bytes:
    inner = graph([W])
    for _ in range(depth):
        inner = graph([], [node("If", [], ["y"], attribute("b", 6, inner, 5))])
    return model(inner)


def lying(*made: bytes) -> bytes:
    return model(graph(made))


def filled(unit: bytes, size: int = 1_000_000) -> bytes:
    return field(1, 8) + field(7, unit * (size // len(unit)))


LIES = {
    "two graphs": model(graph([W]), field(7, graph([W]))),
    "a field that leaves the file": model(graph([W]))[:-1],
    "bytes after the model": model(graph([W])) + b"\0",
    "a field of a far higher number": model(graph([W]), field(500, b"x")),
    "an endless varint": model(graph([W]), b"\xff" * 20),
    "data of another size": lying(tensor("w", "f32", (2, 3), content(25))),
    "a shape of 2**62": lying(tensor("w", "f32", (2**62, 2**62), content(24))),
    "a negative shape": lying(tensor("w", "f32", (-2, -3), content(24))),
    "a rank of 100": lying(tensor("w", "f32", (1,) * 100, content(4))),
    "raw bytes twice": lying(W + field(9, content(24))),
    "a name that is a number": lying(tensor("", "f32", (1,), content(4), field(8, 3))),
    "graphs nested 200 deep": nested(200),
    "graphs nested 3000 deep": nested(3000),
    "a name of a million bytes": lying(tensor("n" * 1_000_000, "f32", (1,), content(4))),
    "a node of a million bytes": model(
        graph([], [node("C", [], ["y" * 900_000], *[attribute("v", 5, W, 4)] * 2000)])
    ),
    "a million empty nodes": filled(b"\x0a\0"),
    "empty tensors": filled(b"\x2a\0", 150_000),
    "empty attributes": filled(b"\x0a\x02\x2a\0", 600_000),
    "numbers": filled(b"\x08\x01"),
    "names of 4000 bytes": filled(field(5, field(8, "n" * 4000))),
    "one name for all": filled(field(5, message((2, 1), (1, 0), (8, "n"))), 500_000),
    "100,001 tensors": filled(field(5, message((2, 1), (1, 0), (8, "n")))),
}  # fmt: skip
SOUND = {"empty tensors", "empty attributes", "names of 4000 bytes", "one name for all"}


@pytest.mark.parametrize("label", LIES)
def test_a_model_that_lies_is_survived(label: str) -> None:
    with bounded_memory():
        layout = survive(LIES[label], label)
        assert layout.format == ("onnx" if label in SOUND else "opaque"), layout.notes
        started = time.process_time()
        table.structure("onnx", BytesSource(LIES[label]))
        assert time.process_time() - started < 5


def test_graphs_may_be_nested_some_levels() -> None:
    (name,) = names(nested(20))
    assert name == "y.b." * 20 + "w"


# -- the data file beside a model


class Folder:
    """A folder that has one model (see formats.base.Beside)."""

    def __init__(self, name: str, model: bytes, called: str = "m.onnx") -> None:
        self.name, self.model, self.called = name, model, called

    def read(self, name: str) -> BytesSource | None:
        return BytesSource(self.model) if name == self.called else None


def described(data: bytes, tensors: Sequence[bytes], name: str = "m.onnx.data") -> Layout:
    return table.detect(BytesSource(data), Folder(name, model(graph(tensors))))


def far(name: str, dtype: str, shape: Sequence[int], offset: int, **more: str) -> bytes:
    return external(name, dtype, shape, location="m.onnx.data", offset=str(offset), **more)


def test_tensors_of_the_data_file_stand_where_the_model_says() -> None:
    data = content(24) + bytes(40) + content(16, 2)
    layout = described(
        data,
        [
            far("w", "f32", (2, 3), 0, length="24"), far("b", "i64", (2,), 64, checksum="x"),
            external("other", "f32", (9,), location="x.data"), W,
            far("nothing", "f32", (0, 3), 64, length="0"),
        ],
    )  # fmt: skip
    assert layout.format == "onnx-data", layout.notes
    found = {
        p.name: (p.dtype, p.shape, [(e.offset, e.length) for e in p.extents])
        for p in layout.payloads
    }
    assert found == {
        "w": ("f32", (2, 3), [(0, 24)]), "b": ("i64", (2,), [(64, 16)]),
        "nothing": ("f32", (0, 3), []),
    }  # fmt: skip


def test_tensors_of_one_range_are_views() -> None:
    made = [far(f"w{i}", "f32", (6,), 0, length="24") for i in (10, 9)]
    turned = far("x", "f32", (3, 2), 0, length="24")
    layout = described(content(24), [*made, turned])
    assert [p.name for p in layout.payloads] == ["w9"]
    assert {(v.name, v.payload, v.shape, v.strides) for v in layout.views} == {
        ("w10", "w9", (6,), (1,)), ("x", "w9", (3, 2), (2, 1)),
    }  # fmt: skip


@pytest.mark.parametrize(
    "name", ["m.onnx.data", "m.onnx_data", "m.data", "m.onnx.data_1", "m.onnx_data_12"]
)
def test_data_files_are_known_by_these_names(name: str) -> None:
    made = external("w", "f32", (2,), location=name)
    assert described(content(8), [made], name).format == "onnx-data"


def test_other_names_ask_for_no_model() -> None:
    for name in ("m.onnx", "weights.bin", "data", ".data", "m.datax", "m.onnx.data_x"):
        layout = described(content(8), [W], name)
        assert (layout.format, layout.notes) == ("opaque", ()), name


FAR = {
    "a range beyond the file": [far("w", "f32", (7,), 0, length="28")],
    "an offset of 10**18": [far("w", "f32", (6,), 10**18, length="24")],
    "an offset of 4000 digits": [far("w", "f32", (6,), int("9" * 4000), length="24")],
    "a negative offset": [far("w", "f32", (6,), -4, length="24")],
    "a length that is none": [far("w", "f32", (6,), 0, length="1e3")],
    "another size": [far("w", "f32", (5,), 0, length="24")],
    "ranges that overlap": [far(f"w{i}", "f32", (4,), i, length="16") for i in (0, 8)],
    "no tensor of it": [W],
    "a folder in its name": [external("w", "f32", (6,), location="./m.onnx.data")],
}  # fmt: skip


@pytest.mark.parametrize("label", FAR)
def test_a_description_that_lies_leaves_the_data_opaque(label: str) -> None:
    layout = described(content(24), FAR[label])
    assert layout.format == "opaque"
    assert len(layout.notes) == 1
    assert layout.notes[0].startswith("looks like onnx-data, but ")
