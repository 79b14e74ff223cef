"""structure of graphs: nodes that come, go and change, whatever an exporter calls them."""

from __future__ import annotations

import time
from typing import Any

from git_nn.differences.structure import compare, describe, layers
from git_nn.formats import onnx
from git_nn.formats.base import BytesSource
from tests.support.onnx_file import attribute, graph, model, node, tensor, value
from tests.support.protobuf_file import field, message

ONE = bytes(4)


def stride(step: int) -> bytes:
    return attribute("stride", 3, step, 2)


def structure(
    *nodes: bytes, inputs: tuple[str, ...] = ("x",), opset: bytes = b"", name: str = "main"
) -> dict[str, Any]:
    """What git-nn reads in an ONNX file with these nodes and the weights w1, w2."""
    weights = [tensor(each, "f32", (1,), ONE) for each in ("w1", "w2")]
    ends = [value(each, 1, ("N", 3)) for each in inputs]
    return onnx.structure(BytesSource(model(graph(weights, nodes, inputs=ends, name=name), opset)))


NET = (
    node("Conv", ["x", "w1"], ["a"], stride(1), name="conv1"),
    node("Relu", ["a"], ["b"], name="relu1"),
    node("Conv", ["b", "w2"], ["c"], stride(1), name="conv2"),
    node("Relu", ["c"], ["y"], name="relu2"),
)


def test_the_same_graph_has_no_lines() -> None:
    assert compare(structure(*NET), structure(*NET)) == ()
    assert layers(structure(*NET), structure(*NET)) == (0, 4)


def test_nodes_that_come_and_go() -> None:
    skip = node("Add", ["c", "a"], ["s"], name="skip")
    last = node("Relu", ["s"], ["y"], name="relu2")
    more = structure(*NET[:3], skip, last)
    assert compare(structure(*NET), more) == (
        "node skip (Add) added",
        "relu2: inputs c → s",
    )
    assert compare(more, structure(*NET)) == (
        "node skip (Add) removed",
        "relu2: inputs s → c",
    )
    assert layers(structure(*NET), more) == (2, 5)


def test_attributes_operators_and_wiring() -> None:
    wide = node("Conv", ["b", "w2"], ["c"], stride(2), name="conv2")
    assert compare(structure(*NET), structure(*NET[:2], wide, NET[3])) == ("conv2: stride 1 → 2",)
    gelu = node("Gelu", ["a"], ["b"], name="relu1")
    assert compare(structure(*NET), structure(NET[0], gelu, *NET[2:])) == ("relu1: Relu → Gelu",)
    bare = node("Conv", ["x", "w1"], ["a"], name="conv1")
    assert compare(structure(*NET), structure(bare, *NET[1:])) == ("conv1: stride 1 removed",)
    swapped = node("Conv", ["b", "w1"], ["c"], stride(1), name="conv2")
    assert compare(structure(*NET), structure(*NET[:2], swapped, NET[3])) == (
        "conv2: inputs b, w2 → b, w1",
    )


def test_a_graph_that_an_exporter_numbered_anew_is_the_same() -> None:
    numbered = (
        node("Conv", ["in", "w1"], ["11"], stride(1), name="Conv_0"),
        node("Relu", ["11"], ["12"], name="Relu_1"),
        node("Conv", ["12", "w2"], ["13"], stride(1), name="Conv_2"),
        node("Relu", ["13"], ["14"], name="Relu_3"),
    )
    before, after = structure(*NET), structure(*numbered, inputs=("in",))
    assert layers(before, after) == (0, 4)
    lines = compare(before, after)
    assert lines == ("graph.inputs.in: f32 Nx3 added", "graph.inputs.x: f32 Nx3 removed")


def test_one_more_node_that_moves_all_numbers_is_one_line() -> None:
    def chain(ops: list[str]) -> dict[str, Any]:
        names = ["x", *(str(100 + i) for i in range(len(ops)))]
        nodes = [node(op, [names[i]], [names[i + 1]]) for i, op in enumerate(ops)]
        return structure(*nodes)

    old = ["Relu", "Sin", "Exp", "Relu", "Tanh", "Abs"]
    lines = compare(chain(old), chain([*old[:3], "Cos", *old[3:]]))
    # the next node reads the new one, which is called as its own old input was
    assert lines == ("node 103 (Cos) added", "104: inputs 102 → 103")


def test_many_nodes_that_come_or_go_are_one_line() -> None:
    more = [node("Exp" if i % 3 else "Abs", ["y"], [f"z{i}"], name=f"n{i}") for i in range(20)]
    line = "20 nodes added, from n0 to n19: 13 Exp, 7 Abs"
    assert compare(structure(*NET), structure(*NET, *more)) == (line,)
    assert compare(structure(*NET, *more), structure(*NET)) == (line.replace("added", "removed"),)
    assert len(compare(structure(*NET), structure(*NET, *more[:12]))) == 12


def test_opset_and_the_ends_of_a_graph() -> None:
    ml = field(8, message((1, "ai.onnx.ml"), (2, 3)))
    assert compare(structure(*NET), structure(*NET, opset=ml, name="other")) == (
        "graph.name: main → other",
        "opset.ai.onnx.ml: 3 added",
    )
    newer = field(8, message((1, ""), (2, 18)))
    assert compare(structure(*NET), structure(*NET, opset=newer)) == ("opset.ai.onnx: 17 → 18",)


def test_a_description_has_a_line_for_each_node() -> None:
    lines = describe(structure(*NET))
    assert "graph.inputs.x: f32 Nx3" in lines
    assert lines[lines.index("  conv1: Conv stride=1, x, w1 → a") :][:2] == [
        "  conv1: Conv stride=1, x, w1 → a",
        "  relu1: Relu, a → b",
    ]


def test_thousands_of_nodes_are_matched_in_seconds() -> None:
    def wide(prefix: str, drop: set[int]) -> dict[str, Any]:
        nodes = {
            f"{prefix}{i}": {
                "op_type": ("MatMul", "Add", "Relu")[i % 3],
                "inputs": [f"{prefix}o{i - 1}"],
                "outputs": [f"{prefix}o{i}"],
            }
            for i in range(5000)
            if i not in drop
        }
        return {"graph": {"nodes": nodes}}

    begun = time.monotonic()
    assert len(compare(wide("a", {10, 4000}), wide("b", {100}))) <= 31
    assert layers(wide("a", set()), wide("b", {4000}))[1] == 5000
    assert time.monotonic() - begun < 5


def test_odd_values_are_no_graph() -> None:
    odd: list[Any] = [
        {"nodes": []}, {"nodes": {"a": 1}}, {"nodes": {"a": {"op_type": 3}}},
        {"nodes": {"a": {"op_type": "A", "inputs": [1], "outputs": None}}, "inputs": 3},
    ]  # fmt: skip
    for one in odd:
        for other in odd:
            assert isinstance(compare({"graph": one}, {"graph": other}), tuple)
        assert compare({"graph": one}, {"graph": one}) == ()
        assert isinstance(describe({"graph": one}), list)
