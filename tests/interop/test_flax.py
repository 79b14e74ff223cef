"""Files that Flax writes, through git and back; Flax itself is the independent reader."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import serialization
from flax.traverse_util import flatten_dict

import git_nn
from git_nn.formats import table
from git_nn.formats.base import BytesSource
from git_nn.objects import pointer as pointers
from tests.contract.format_contract import FormatContract, Sample, Tensor
from tests.support.git import Repo

pytestmark = pytest.mark.interop

DTYPES = {
    "float64": "f64", "float32": "f32", "float16": "f16", "bfloat16": "bf16", "int32": "i32",
    "int8": "i8", "uint8": "u8", "bool": "bool", "complex64": "c64", "int64": "i64",
    "float8_e4m3fn": "f8_e4m3fn", "float8_e5m2": "f8_e5m2",
}  # fmt: skip


class Network(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.relu(nn.Conv(4, (3, 3))(x))
        x = nn.BatchNorm(use_running_average=False)(x)
        return nn.Dense(5)(x.reshape((x.shape[0], -1)))


def variables(seed: int = 0) -> dict[str, Any]:
    return dict(Network().init(jax.random.PRNGKey(seed), jnp.ones((1, 8, 8, 3))))


def train_state() -> dict[str, Any]:
    momentum = jax.tree_util.tree_map(jnp.zeros_like, variables()["params"])
    return {
        **variables(), "step": 12, "opt_state": ({"count": jnp.int32(3), "mu": momentum}, {}),
        "rate": np.float32(1e-3), "scalar": np.array(2.5),
    }  # fmt: skip


def many_dtypes() -> dict[str, Any]:
    return {d: np.arange(6).reshape(2, 3).astype(jnp.dtype(d)) for d in DTYPES}


FILES = {"variables": variables, "train state": train_state, "dtypes": many_dtypes}


def read_back(data: bytes) -> dict[str, Tensor]:
    """What flax itself restores, by the names of flatten_dict."""
    found = {}
    for name, value in flatten_dict(serialization.msgpack_restore(data), sep="/").items():
        if isinstance(value, np.ndarray | np.generic):
            array = np.asarray(value)
            found[name] = Tensor(DTYPES[array.dtype.name], array.shape, array.tobytes())
    return found


class TestFlaxItself(FormatContract):
    name = "flax"
    truncations = mutations = 50

    def samples(self) -> dict[str, Sample]:
        files = {label: serialization.to_bytes(make()) for label, make in FILES.items()}
        return {label: Sample(data, read_back(data)) for label, data in files.items()}


def test_arrays_in_chunks_are_what_flax_joins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serialization, "MAX_CHUNK_SIZE", 500)
    data = serialization.to_bytes(variables())
    assert b"__msgpack_chunked_array__" in data
    layout = table.detect(BytesSource(data))
    expected = read_back(data)
    assert {payload.name for payload in layout.payloads} == set(expected)
    for payload in layout.payloads:
        stored = b"".join(data[e.offset : e.stop] for e in payload.extents)
        found = Tensor(payload.dtype, payload.shape, stored)
        assert found == expected[payload.name], payload.name
    assert max(len(payload.extents) for payload in layout.payloads) > 1


def test_a_state_saved_again_is_the_same_file_and_an_epoch_the_same_layout() -> None:
    first, again, next_epoch = (serialization.to_bytes(variables(seed)) for seed in (0, 0, 1))
    assert first == again
    layouts = [table.detect(BytesSource(data)) for data in (first, next_epoch)]
    assert layouts[0] == layouts[1]


def test_the_file_comes_back_and_its_tensors_are_those_of_flax(repo: Repo) -> None:
    repo.nn("track", "*.msgpack")
    data = serialization.to_bytes(train_state())
    path = repo.write("state.msgpack", data)
    repo.commit()
    assert pointers.parse(repo.blob("HEAD:state.msgpack")).format == "flax"
    path.unlink()
    repo.git("checkout", "--", "state.msgpack")
    assert path.read_bytes() == data
    assert repo.status() == ""
    model = git_nn.open(repo.path, "HEAD", "state.msgpack")
    assert {name: model[name].tobytes() for name in model} == {
        name: tensor.data for name, tensor in read_back(data).items()
    }
