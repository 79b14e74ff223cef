"""Checkpoints and SavedModels that TensorFlow writes, through git and back.

TensorFlow itself is the independent reader.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import git_nn
from git_nn.beside import Folder
from git_nn.formats import table
from git_nn.formats.base import BytesSource
from git_nn.objects import pointer as pointers
from git_nn.objects.layout import Layout, check
from tests.contract.format_contract import reassemble
from tests.support.git import Repo

pytestmark = pytest.mark.interop

DTYPES = (
    "float32", "float64", "float16", "bfloat16", "int8", "int16", "int32", "int64",
    "uint8", "uint16", "uint32", "uint64", "bool", "complex64", "complex128",
)  # fmt: skip


class Model(tf.Module):
    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        random = np.random.default_rng(seed)
        self.kernel = tf.Variable(random.standard_normal((30, 20)).astype("f4"))
        self.layers = [tf.Variable(random.standard_normal(9).astype("f4")) for _ in range(12)]
        self.dtypes = {d: tf.Variable(tf.cast([[1, 0, 1], [0, 1, 1]], d)) for d in DTYPES}
        self.words = tf.Variable(["first", "second"])
        self.nothing = tf.Variable(np.zeros((0, 3), "f4"))

    @tf.function(input_signature=[tf.TensorSpec((None, 30), tf.float32)])
    def __call__(self, x: Any) -> Any:
        return x @ self.kernel


def partitioned(folder: Path) -> str:
    """A checkpoint of TensorFlow 1 with sliced variables."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        for name, shape, axis in (("rows", (7, 5), 0), ("columns", (4, 9), 1)):
            cut = v1.fixed_size_partitioner(3, axis=axis)
            v1.get_variable(name, shape, partitioner=cut, use_resource=False)
        v1.get_variable("whole", (4,))
        session.run(v1.global_variables_initializer())
        return str(v1.train.Saver(sharded=True).save(session, str(folder / "model.ckpt"), 100))


def detect(path: Path) -> tuple[Layout, bytes]:
    data = path.read_bytes()
    layout = table.detect(BytesSource(data), Folder(path))
    check(layout)
    assert reassemble(layout, data) == data
    return layout, data


def assert_tensors_are_those_of(reader: Any, layout: Layout, data: bytes) -> None:
    found = {
        payload.name: b"".join(data[e.offset : e.stop] for e in payload.extents)
        for payload in layout.payloads
    }
    names = {
        name for name, dtype in reader.get_variable_to_dtype_map().items() if dtype != tf.string
    }
    assert set(found) == names
    for payload in layout.payloads:
        array = reader.get_tensor(payload.name)
        assert payload.shape == np.shape(array)
        assert found[payload.name] == np.asarray(array).tobytes(), payload.name


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_tensor_of_a_checkpoint_is_what_tensorflow_reads(tmp_path: Path) -> None:
    prefix = tf.train.Checkpoint(model=Model()).save(str(tmp_path / "ckpt"))
    layout, data = detect(Path(prefix + ".data-00000-of-00001"))
    assert layout.format == "tensorflow"
    assert_tensors_are_those_of(tf.train.load_checkpoint(prefix), layout, data)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_slice_of_a_partitioned_variable_is_what_tensorflow_reads(tmp_path: Path) -> None:
    prefix = partitioned(tmp_path)
    layout, data = detect(Path(prefix + ".data-00000-of-00001"))
    reader = tf.train.load_checkpoint(prefix)
    slices = {
        "rows": ["0:3,0:5", "3:5,0:5", "5:7,0:5"],
        "columns": ["0:4,0:3", "0:4,3:6", "0:4,6:9"],
    }
    expected = {"whole": reader.get_tensor("whole")}
    for name, parts in slices.items():
        for part in parts:
            window = tuple(slice(*map(int, span.split(":"))) for span in part.split(","))
            expected[f"{name}[{part}]"] = reader.get_tensor(name)[window]
    assert {p.name for p in layout.payloads} == set(expected)
    for payload in layout.payloads:
        stored = b"".join(data[e.offset : e.stop] for e in payload.extents)
        assert stored == expected[payload.name].tobytes(), payload.name


def test_a_saved_model_comes_back_and_still_computes(repo: Repo) -> None:
    repo.nn("track", "*.data-*")
    model = Model()
    tf.saved_model.save(model, str(repo.path / "m"))
    shard = repo.path / "m/variables/variables.data-00000-of-00001"
    data = shard.read_bytes()
    repo.commit()
    pointer = pointers.parse(repo.blob("HEAD:m/variables/variables.data-00000-of-00001"))
    assert pointer.format == "tensorflow"
    shard.unlink()
    repo.git("checkout", "--", "m/variables")
    assert shard.read_bytes() == data
    assert repo.status() == ""
    x = np.ones((2, 30), "f4")
    loaded = tf.saved_model.load(str(repo.path / "m"))
    assert np.array_equal(loaded(x).numpy(), model(x).numpy())
    opened = git_nn.open(repo.path, "HEAD", "m/variables/variables.data-00000-of-00001")
    name = "kernel/.ATTRIBUTES/VARIABLE_VALUE"
    assert opened[name].tobytes() == model.kernel.numpy().tobytes()


def test_the_next_epoch_has_the_same_layout_and_the_same_save_the_same_bytes(
    tmp_path: Path,
) -> None:
    files = []
    for i, seed in enumerate((0, 0, 1)):
        prefix = str(tmp_path / f"{i}" / "ckpt")
        tf.train.Checkpoint(model=Model(seed)).write(prefix)
        files.append(detect(Path(prefix + ".data-00000-of-00001")))
    assert files[0] == files[1]
    assert files[0][0] == files[2][0]
    assert files[0][1] != files[2][1]
