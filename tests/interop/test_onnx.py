"""Models that onnx and torch write, read by the onnx library and by git-nn, and through Git."""

from __future__ import annotations

import io
import warnings
from functools import cache
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import git_nn
from git_nn.formats import table
from git_nn.formats.base import BytesSource
from git_nn.objects import pointer as pointers
from tests.contract.format_contract import FormatContract, Sample, Tensor
from tests.support.git import Repo

pytestmark = [
    pytest.mark.interop,
    pytest.mark.filterwarnings("ignore"),  # of the frameworks, which are not ours to fix
]

KINDS = {
    "f32": np.float32, "f64": np.float64, "f16": np.float16, "i8": np.int8, "i16": np.int16,
    "i32": np.int32, "i64": np.int64, "u8": np.uint8, "u16": np.uint16, "u32": np.uint32,
    "u64": np.uint64, "bool": np.bool_, "c64": np.complex64, "c128": np.complex128,
    "bf16": ml_dtypes.bfloat16, "f8_e4m3fn": ml_dtypes.float8_e4m3fn,
    "f8_e5m2": ml_dtypes.float8_e5m2, "f8_e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
    "f8_e5m2fnuz": ml_dtypes.float8_e5m2fnuz, "i4": ml_dtypes.int4, "u4": ml_dtypes.uint4,
    "f4_e2m1": ml_dtypes.float4_e2m1fn,
}  # fmt: skip
AS_THEY_ARE = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.COMPLEX64)  # lists of floats
OF_PROTO = {helper.np_dtype_to_tensor_dtype(np.dtype(kind)): name for name, kind in KINDS.items()}


def array(kind: str, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(3, 4)) * 3
    return np.abs(values).astype(KINDS[kind]) if kind[0] == "u" else values.astype(KINDS[kind])


def whole(*tensors: onnx.TensorProto, nodes: tuple[onnx.NodeProto, ...] = ()) -> onnx.ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])
    relu = helper.make_node("Relu", ["x"], ["y"], name="relu")
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])
    graph = helper.make_graph([*nodes, relu], "g", [x], [y], list(tensors))
    return helper.make_model(graph, producer_name="test")


def every_dtype(seed: int = 0) -> onnx.ModelProto:
    return whole(*(numpy_helper.from_array(array(kind, seed), f"t.{kind}") for kind in KINDS))


def typed() -> onnx.ModelProto:
    """The fields that helper.make_tensor fills, most of which are varints."""
    kinds = (
        *AS_THEY_ARE, TensorProto.INT64, TensorProto.FLOAT16, TensorProto.BFLOAT16,
        TensorProto.UINT64, TensorProto.STRING,
    )  # fmt: skip
    return whole(
        *(
            helper.make_tensor(f"t{kind}", kind, [3], [b"a"] * 3 if kind == 8 else [1, 2, 300])
            for kind in kinds
        )
    )


def control_flow() -> onnx.ModelProto:
    def branch(name: str, seed: int) -> onnx.GraphProto:
        out = helper.make_tensor_value_info(f"{name}.out", TensorProto.FLOAT, [3, 4])
        constant = helper.make_node(
            "Constant", [], [f"{name}.c"], value=numpy_helper.from_array(array("f32", seed))
        )
        add = helper.make_node("Add", [f"{name}.c", f"{name}.w"], [f"{name}.out"])
        weight = numpy_helper.from_array(array("f32", seed + 10), f"{name}.w")
        return helper.make_graph([constant, add], name, [], [out], [weight])

    node = helper.make_node(
        "If", ["cond"], ["z"], name="choose", then_branch=branch("a", 1), else_branch=branch("b", 2)
    )
    return whole(numpy_helper.from_array(np.array(True), "cond"), nodes=(node,))


class Network(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv = torch.nn.Conv2d(1, 4, 3)
        self.norm = torch.nn.BatchNorm2d(4)
        self.head = torch.nn.Linear(4 * 6 * 6, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.norm(self.conv(x))).flatten(1))


@cache
def exported(*, dynamo: bool) -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings(action="ignore"):
        torch.onnx.export(
            Network().eval(), (torch.zeros(1, 1, 8, 8),), out, dynamo=dynamo, verbose=False
        )
    return out.getvalue()


def packed(tensor: onnx.TensorProto) -> bytes:
    """The packed little-endian bytes of a tensor, from the values that the library decodes."""
    values = numpy_helper.to_array(tensor)
    if OF_PROTO[tensor.data_type] in ("i4", "u4", "f4_e2m1"):
        codes = values.reshape(-1).view(np.uint8) & 15
        return (codes[0::2] | codes[1::2] << 4).tobytes()
    return values.tobytes()


def initializers(data: bytes, kinds: tuple[int, ...] = tuple(OF_PROTO)) -> dict[str, Tensor]:
    """Those of the data types ``kinds``, as the library reads them."""
    graph = onnx.load_from_string(data).graph
    return {
        t.name: Tensor(OF_PROTO[t.data_type], tuple(t.dims), packed(t))
        for t in graph.initializer
        if t.data_type in kinds
    }


class TestTheLibrary(FormatContract):
    name = "onnx"
    truncations = 40
    mutations = 40

    def samples(self) -> dict[str, Sample]:
        floats = typed().SerializeToString()
        plain = initializers(floats, AS_THEY_ARE)
        flow = control_flow()
        branches = {}
        for attribute in flow.graph.node[0].attribute:
            graph = attribute.g
            name = f"choose.{attribute.name}."
            weight, constant = graph.initializer[0], graph.node[0].attribute[0].t
            branches[name + weight.name] = Tensor("f32", (3, 4), packed(weight))
            branches[f"{name}{graph.name}.c.value"] = Tensor("f32", (3, 4), packed(constant))
        files = {
            "every dtype": every_dtype().SerializeToString(),
            "torch": exported(dynamo=True),
            "torch script": exported(dynamo=False),
        }
        samples = {
            label: Sample(data, initializers(data), only=False) for label, data in files.items()
        }
        samples["typed fields"] = Sample(floats, plain)
        samples["control flow"] = Sample(
            flow.SerializeToString(), {"cond": Tensor("bool", (), b"\1"), **branches}
        )
        return samples


def test_the_weights_of_torch_have_their_names(tmp_path: Path) -> None:
    found = {p.name: p for p in table.detect(BytesSource(exported(dynamo=True))).payloads}
    assert {"head.weight", "head.bias"} <= set(found)
    assert found["head.weight"].shape == (10, 144)


def test_saving_other_values_changes_no_literal_byte() -> None:
    first, second = (every_dtype(seed).SerializeToString() for seed in (0, 1))
    layouts = [table.detect(BytesSource(data)) for data in (first, second)]
    assert layouts[0] == layouts[1]
    extents = [e for p in layouts[0].payloads for e in p.extents]
    kept = [bytearray(data) for data in (first, second)]
    for extent in extents:
        for data in kept:
            data[extent.offset : extent.stop] = bytes(extent.length)
    assert kept[0] == kept[1]


def test_structure_is_what_the_library_reads() -> None:
    model = onnx.load_from_string(exported(dynamo=True))
    found = table.structure("onnx", BytesSource(exported(dynamo=True)))
    assert found["ir_version"] == model.ir_version
    assert found["producer_name"] == model.producer_name
    assert found["opset"] == {o.domain or "ai.onnx": o.version for o in model.opset_import}
    for node in model.graph.node:
        shown = found["graph"]["nodes"][node.name]
        assert (shown["op_type"], shown["inputs"]) == (node.op_type, list(node.input))
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.INTS:
                assert shown[attribute.name] == list(attribute.ints)
            elif attribute.type == onnx.AttributeProto.FLOAT:
                assert np.float32(shown[attribute.name]) == np.float32(attribute.f)
    assert found["graph"]["inputs"] == {"x": "f32 1x1x8x8"}


def save_apart(folder: Path, model: onnx.ModelProto, data: str) -> None:
    onnx.save_model(
        model, folder / "m.onnx", save_as_external_data=True, location=data, size_threshold=0
    )


def test_a_model_and_its_data_file_go_through_git(repo: Repo) -> None:
    repo.nn("track", "*.onnx", "*.onnx.data")
    save_apart(repo.path, every_dtype(), "m.onnx.data")
    before = {name: repo.read(name) for name in ("m.onnx", "m.onnx.data")}
    repo.commit()
    formats = {name: pointers.parse(repo.blob(f"HEAD:{name}")).format for name in before}
    assert formats == {"m.onnx": "onnx", "m.onnx.data": "onnx-data"}
    model = git_nn.open(repo.path, "HEAD", "m.onnx.data")
    assert set(model) == {f"t.{kind}" for kind in KINDS}
    for kind in KINDS:
        assert model[f"t.{kind}"].tobytes() == array(kind).tobytes(), kind
    for name in before:
        (repo.path / name).unlink()
    repo.git("checkout", "--", ".")
    assert {name: repo.read(name) for name in before} == before
    assert repo.status() == ""
    back = onnx.load(repo.path / "m.onnx")
    wanted = initializers(every_dtype().SerializeToString())
    assert {t.name: packed(t) for t in back.graph.initializer} == {
        name: tensor.data for name, tensor in wanted.items()
    }


def test_what_torch_exports_with_external_data_is_split(tmp_path: Path) -> None:
    torch.onnx.export(
        Network().eval(), (torch.zeros(1, 1, 8, 8),), tmp_path / "net.onnx",
        dynamo=True, external_data=True, verbose=False,
    )  # fmt: skip
    written = [path.name for path in tmp_path.iterdir()]
    assert sorted(written) == ["net.onnx", "net.onnx.data"]

    class Folder:
        name = "net.onnx.data"

        def read(self, name: str) -> BytesSource | None:
            path = tmp_path / name
            return BytesSource(path.read_bytes()) if path.exists() else None

    data = (tmp_path / "net.onnx.data").read_bytes()
    layout = table.detect(BytesSource(data), Folder())
    assert layout.format == "onnx-data", layout.notes
    found = {p.name: b"".join(data[e.offset : e.stop] for e in p.extents) for p in layout.payloads}
    tensors = onnx.load(tmp_path / "net.onnx").graph.initializer
    assert found == {t.name: packed(t) for t in tensors if t.name in found}
    assert "head.weight" in found
