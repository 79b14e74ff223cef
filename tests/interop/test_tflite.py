"""Files of the TensorFlow Lite converter, read by its interpreter and by git-nn, through Git."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from functools import cache

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema

import git_nn
from git_nn.formats import table
from git_nn.formats.base import BytesSource
from git_nn.formats.tflite_operators import OPERATORS
from git_nn.objects import pointer as pointers
from tests.contract.format_contract import FormatContract, Sample, Tensor
from tests.support.git import Repo

pytestmark = [
    pytest.mark.interop,
    pytest.mark.filterwarnings("ignore"),  # of the frameworks, which are not ours to fix
]

KINDS = {
    np.dtype(kind): name
    for name, kind in {
        "f32": np.float32, "f16": np.float16, "i32": np.int32, "u8": np.uint8, "i64": np.int64,
        "bool": np.bool_, "i16": np.int16, "i8": np.int8, "f64": np.float64,
        "i4": ml_dtypes.int4,
    }.items()
}  # fmt: skip


class Network(tf.Module):
    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        rng = np.random.default_rng(seed)
        self.kernel = tf.Variable(rng.normal(size=(3, 3, 1, 8)).astype("f4"))
        self.dense = tf.Variable(rng.normal(size=(8 * 36, 32)).astype("f4"))
        self.bias = tf.Variable(rng.normal(size=32).astype("f4"))

    @tf.function(input_signature=[tf.TensorSpec((1, 8, 8, 1), tf.float32, name="image")])
    def __call__(self, image: tf.Tensor) -> tf.Tensor:
        found = tf.nn.relu(tf.nn.conv2d(image, self.kernel, 1, "VALID"))
        return tf.matmul(tf.reshape(found, (1, -1)), self.dense) + self.bias


def converter(seed: int = 0) -> tf.lite.TFLiteConverter:
    network = Network(seed)
    function = network.__call__.get_concrete_function()
    return tf.lite.TFLiteConverter.from_concrete_functions([function], network)


def plain(made: tf.lite.TFLiteConverter) -> None:
    pass


def dynamic(made: tf.lite.TFLiteConverter) -> None:
    made.optimizations = [tf.lite.Optimize.DEFAULT]


def half(made: tf.lite.TFLiteConverter) -> None:
    dynamic(made)
    made.target_spec.supported_types = [tf.float16]


def integer(made: tf.lite.TFLiteConverter) -> None:
    dynamic(made)
    rng = np.random.default_rng(0)
    made.representative_dataset = lambda: (
        [rng.normal(size=(1, 8, 8, 1)).astype("f4")] for _ in range(4)
    )
    made.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]


def buffers_apart(made: tf.lite.TFLiteConverter) -> None:
    """As files above 2 GB are written: the content of buffers behind the FlatBuffer."""
    made._experimental_use_buffer_offset = True


HOW: dict[str, Callable[[tf.lite.TFLiteConverter], None]] = {
    "plain": plain, "dynamic": dynamic, "half": half, "integer": integer,
    "buffers apart": buffers_apart,
}  # fmt: skip


@cache
def converted(label: str, seed: int = 0) -> bytes:
    made = converter(seed)
    HOW[label](made)
    return bytes(made.convert())


def constants(data: bytes) -> dict[str, Tensor]:
    """The tensors that have content, as the library's own schema and interpreter have them."""
    model = schema.Model.GetRootAs(data, 0)
    graph = model.Subgraphs(0)
    interpreter = tf.lite.Interpreter(
        model_content=data, experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )  # fmt: skip
    interpreter.allocate_tensors()
    found = {}
    for number in range(graph.TensorsLength()):
        tensor = graph.Tensors(number)
        buffer = model.Buffers(tensor.Buffer())
        if buffer.DataLength() or buffer.Offset() > 1:
            values = np.asarray(interpreter.get_tensor(number))
            name = tensor.Name().decode()
            found[name] = Tensor(KINDS[values.dtype], values.shape, values.tobytes())
    return found


class TestTheLibrary(FormatContract):
    name = "tflite"
    truncations = 40
    mutations = 40

    def samples(self) -> dict[str, Sample]:
        return {label: Sample(converted(label), constants(converted(label))) for label in HOW}


def test_quantised_weights_are_what_the_interpreter_has() -> None:
    found = {t.dtype for t in constants(converted("integer")).values()}
    assert {"i8", "i32"} <= found
    assert "f16" in {t.dtype for t in constants(converted("half")).values()}


def test_converting_other_weights_changes_no_literal_byte() -> None:
    layouts = [table.detect(BytesSource(converted("plain", seed))) for seed in (0, 1)]
    assert layouts[0] == layouts[1]


def test_structure_is_what_the_library_reads() -> None:
    data = converted("dynamic")
    found = table.structure("tflite", BytesSource(data))
    interpreter = tf.lite.Interpreter(model_content=data)
    (graph,) = found["subgraphs"].values()
    assert list(graph["inputs"]) == [each["name"] for each in interpreter.get_input_details()]
    assert list(graph["inputs"].values()) == ["f32 1x8x8x1"]
    assert list(graph["outputs"]) == [each["name"] for each in interpreter.get_output_details()]
    names = [each["op_name"] for each in interpreter._get_ops_details()]
    counted = {name: names.count(name) for name in set(names) if name != "DELEGATE"}
    shown = {name.split(" v")[0]: count for name, count in graph["operators"].items()}
    assert shown == counted


def test_operators_have_the_librarys_numbers() -> None:
    known = {
        number: name for name, number in vars(schema.BuiltinOperator).items() if name[0] != "_"
    }
    assert dict(enumerate(OPERATORS)).items() <= known.items()


@pytest.mark.parametrize("label", HOW)
def test_the_file_goes_through_git(repo: Repo, label: str) -> None:
    data = converted(label)
    repo.nn("track", "*.tflite")
    path = repo.write("model.tflite", data)
    repo.commit()
    assert pointers.parse(repo.blob("HEAD:model.tflite")).format == "tflite"
    path.unlink()
    repo.git("checkout", "--", "model.tflite")
    assert path.read_bytes() == data
    assert repo.status() == ""
    model = git_nn.open(repo.path, "HEAD", "model.tflite")
    assert {name: model[name].tobytes() for name in model} == {
        name: tensor.data for name, tensor in constants(data).items()
    }


def test_merged_weights_run(repo: Repo) -> None:
    """Two branches that changed different tensors: the file of the merge holds both."""
    repo.nn("track", "*.tflite")
    base, other = converted("plain"), converted("plain", 1)
    kept, changed = constants(base), constants(other)
    first, second, *_ = sorted(name for name in kept if kept[name] != changed[name])

    def mixed(*taken: str) -> bytes:
        data = io.BytesIO(base)
        for payload in table.detect(BytesSource(base)).payloads:
            for extent in payload.extents if payload.name in taken else ():
                data.seek(extent.offset)
                data.write(other[extent.offset : extent.stop])
        return data.getvalue()

    path = repo.write("model.tflite", base)
    repo.commit("base")
    repo.git("switch", "-q", "-c", "theirs")
    repo.write("model.tflite", mixed(first))
    repo.commit("theirs")
    repo.git("switch", "-q", "main")
    repo.write("model.tflite", mixed(second))
    repo.commit("ours")
    repo.git("merge", "-q", "-m", "merged", "theirs")
    assert path.read_bytes() == mixed(first, second)
    tf.lite.Interpreter(model_content=path.read_bytes()).allocate_tensors()
