"""tflite: files written by hand from the schema."""

from __future__ import annotations

import random
import struct
import time

import pytest

from git_nn.formats import table, tflite
from git_nn.formats.base import BytesSource
from git_nn.objects.layout import Layout, View
from git_nn.objects.tensor import dtype_bits
from tests.contract.format_contract import FormatContract, Sample, Tensor, bounded_memory, survive
from tests.support.tflite_file import (
    KINDS,
    Number,
    Table,
    Tables,
    buffer,
    code,
    flatbuffer,
    model,
    subgraph,
    tensor,
)


def content(length: int, seed: object = 0) -> bytes:
    return random.Random(str(seed)).randbytes(length)


def layout_of(data: bytes) -> Layout:
    layout = table.detect(BytesSource(data))
    assert layout.format == "tflite", layout.notes
    return layout


def every_dtype() -> Sample:
    kinds = [kind for kind in KINDS if kind not in ("string", "i2")]
    tensors = {f"t.{k}": Tensor(k, (2, 4), content(dtype_bits(k), k)) for k in kinds}
    made = [tensor(name, t.dtype, t.shape, i + 1) for i, (name, t) in enumerate(tensors.items())]
    made += [tensor("x", "f32", (1, 4), 0), tensor("y", "f32", (1, 4), len(tensors) + 1)]
    buffers = [buffer(), *(buffer(t.data) for t in tensors.values()), buffer()]
    return Sample(flatbuffer(model([subgraph(made)], buffers)), tensors)


def large() -> Sample:
    """Above 2 GB the content of buffers stands behind the FlatBuffer."""
    kernel, bias = content(24), content(12, 1)

    def made(start: int) -> bytes:
        places = [(start, 24), (start + 32, 12)]
        buffers = [Table({1: Number("Q", at), 2: Number("Q", size)}) for at, size in places]
        tensors = [tensor("kernel", "f32", (2, 3), 1), tensor("bias", "f32", (3,), 2)]
        return flatbuffer(model([subgraph(tensors)], [Table({1: Number("Q", 1)}), *buffers]))

    data = made(len(made(2)))
    return Sample(
        data + kernel + bytes(8) + bias,
        {"kernel": Tensor("f32", (2, 3), kernel), "bias": Tensor("f32", (3,), bias)},
    )


def shared() -> Sample:
    raw = content(24)
    made = [tensor("b", "f32", (3, 2), 1), tensor("a", "f32", (6,), 1), tensor("c", "i8", (24,), 1)]
    return Sample(
        flatbuffer(model([subgraph(made)], [buffer(), buffer(raw)])),
        {
            "a": Tensor("f32", (6,), raw), "b": Tensor("f32", (3, 2), raw),
            "c": Tensor("i8", (24,), raw),
        },
    )  # fmt: skip


class TestTflite(FormatContract):
    name = "tflite"

    def samples(self) -> dict[str, Sample]:
        return {
            "every dtype": every_dtype(), "large": large(), "shared buffer": shared(),
            "no tensors": Sample(flatbuffer(model([subgraph([])], [buffer()]))),
        }  # fmt: skip


def test_tensors_on_one_buffer_are_views_of_the_first() -> None:
    layout = layout_of(shared().data)
    assert [payload.name for payload in layout.payloads] == ["a"]
    assert layout.views == (
        View("b", "f32", (3, 2), "a", 0, (2, 1)), View("c", "i8", (24,), "a", 0, (1,)),
    )  # fmt: skip


def test_buffers_that_share_their_content_are_one_payload() -> None:
    first, second = content(24, 1), content(24, 2)
    made = [tensor("a", "f32", (6,), 0), tensor("b", "f32", (6,), 1)]
    data = flatbuffer(model([subgraph(made)], [buffer(first), buffer(second)]))
    vectors = [data.index(raw) - 4 for raw in (first, second)]
    (slot,) = (
        at
        for at in range(0, len(data) - 4, 4)
        if at + struct.unpack_from("<I", data, at)[0] == vectors[0]
    )
    layout = layout_of(aimed(data, slot, vectors[1] - slot))
    assert [payload.name for payload in layout.payloads] == ["a"]
    assert [view.name for view in layout.views] == ["b"]


def test_content_that_is_no_packed_array_is_bytes() -> None:
    made = [
        tensor("sparse", "f32", (100, 100), 1), tensor("text", "string", (2,), 2),
        tensor("two bits", "i2", (12,), 3), tensor("odd", "i4", (3,), 4),
        tensor("unknown size", "f32", (-1, 3), 5),
    ]  # fmt: skip
    buffers = [buffer(), *(buffer(content(n)) for n in (24, 25, 3, 2, 12))]
    found = {
        p.name: (p.dtype, p.shape)
        for p in layout_of(flatbuffer(model([subgraph(made)], buffers))).payloads
    }
    assert found == {
        "sparse": ("u8", (24,)), "text": ("u8", (25,)), "two bits": ("u8", (3,)),
        "odd": ("u8", (2,)), "unknown size": ("u8", (12,)),
    }  # fmt: skip


def test_equal_names_in_several_subgraphs_are_told_apart() -> None:
    graphs = [subgraph([tensor("w", "f32", (2,), i)]) for i in (1, 2)]
    layout = layout_of(flatbuffer(model(graphs, [buffer(), buffer(b"1" * 8), buffer(b"2" * 8)])))
    assert [payload.name for payload in layout.payloads] == ["w", "w~2"]


def test_structure() -> None:
    made = [
        tensor("x", "f32", (1, 4), 0, (-1, 4)), tensor("w", "i8", (4, 2), 1),
        tensor("y", "f32", (1, 2), 0),
    ]  # fmt: skip
    codes = [code(9), code(3, 2), code(32, custom="Mine"), code(207), code(9999)]
    graph = subgraph(made, [0], [2], [0, 1, 0, 2, 3, 4])
    data = flatbuffer(model([graph], [buffer(), buffer(content(8))], codes, ["min_runtime"]))
    assert table.structure("tflite", BytesSource(data)) == {
        "version": 3, "description": "by hand", "metadata": ["min_runtime"],
        "subgraphs": {
            "main": {
                "inputs": {"x": "f32 ?x4"}, "outputs": {"y": "f32 1x2"},
                "operators": {
                    "FULLY_CONNECTED": 2, "CONV_2D v2": 1, "CUSTOM Mine": 1,
                    "STABLEHLO_SHIFT_LEFT": 1, "operator 9999": 1,
                },
            }
        },
    }  # fmt: skip


def test_2000_tensors_are_read_in_time() -> None:
    made = [tensor(f"layer/{i}/kernel", "f32", (2, 3), i + 1) for i in range(2000)]
    buffers = [buffer(), *(buffer(content(24, i)) for i in range(2000))]
    data = flatbuffer(model([subgraph(made)], buffers))
    started = time.process_time()
    assert len(layout_of(data).payloads) == 2000
    assert time.process_time() - started < 0.3


# -- files that lie


def one(**changed: Table) -> bytes:
    return flatbuffer(model([subgraph([changed.get("tensor", tensor("w", "f32", (2,), 1))])],
                            [buffer(), changed.get("buffer", buffer(content(8)))]))  # fmt: skip


def aimed(data: bytes, at: int, value: int) -> bytes:
    return data[:at] + struct.pack("<I", value) + data[at + 4 :]


def repeated() -> bytes:
    """A megabyte of references to one tensor, in a thousand references to one subgraph."""
    same = tensor("w", "f32", (2,), 1)
    graph = subgraph([same] * 240_000)
    return flatbuffer(model([graph] * 1000, [buffer(), buffer(content(8))]))


def many_operators() -> bytes:
    graph = subgraph([tensor("w", "f32", (2,), 1)], operators=[0])
    step = Tables([Table({0: Number("I", 0)})] * 49_000)
    graph = Table({**graph.fields, 3: step})
    return flatbuffer(model([graph] * 1000, [buffer(), buffer(content(8))], [code(0)]))


LIES = {
    "only an identifier": b"\0\0\0\0TFL3",
    "a root beyond the file": aimed(one(), 0, 2**31),
    "a root in itself": aimed(one(), 0, 0),
    "a root of ones": aimed(one(), 0, 2**32 - 1),
    "a buffer that is not there": one(tensor=tensor("w", "f32", (2,), 7)),
    "content beyond the file": one(buffer=Table({1: Number("Q", 4000), 2: Number("Q", 2**60)})),
    "content over the header": one(buffer=Table({1: Number("Q", 2**63), 2: Number("Q", 8)})),
    "a rank of 1000": one(tensor=tensor("w", "f32", (1,) * 1000, 1)),
    "a name of a million bytes": one(tensor=tensor("w" * 1_000_000, "f32", (2,), 1)),
    "references without end": repeated(),
}
HARMLESS = {
    "a shape of 2**31 - 1": one(tensor=tensor("w", "f32", (2**31 - 1,) * 60, 1)),
    "operators without end": many_operators(),
}


@pytest.mark.parametrize("label", [*LIES, *HARMLESS])
def test_a_file_that_lies_is_survived(label: str) -> None:
    data = {**LIES, **HARMLESS}[label]
    with bounded_memory():
        assert survive(data, label).format == ("opaque" if label in LIES else "tflite")
        started = time.process_time()
        table.structure("tflite", BytesSource(data))
        assert time.process_time() - started < 5


def test_the_file_of_these_lies_is_fine_when_it_does_not_lie() -> None:
    assert [payload.shape for payload in layout_of(one()).payloads] == [(2,)]
    assert tflite.sniff(one())
    assert not tflite.sniff(b"TFL3")
