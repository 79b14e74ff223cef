"""Versions from Git as torch tensors and Keras models."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")  # before keras is imported

import keras
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import git_nn
from tests.support.git import Repo

pytestmark = [
    pytest.mark.interop,
    pytest.mark.filterwarnings("ignore"),  # of the frameworks, which are not ours to fix
]


@pytest.fixture
def here(tmp_path: Path) -> Repo:
    return Repo.create(tmp_path / "here", patterns=("*.h5", "*.keras", "*.safetensors", "*.pt"))


def test_every_dtype_of_torch_comes_as_torch_has_it(here: Repo) -> None:
    raw = torch.arange(256, dtype=torch.uint8).reshape(2, 128)
    kinds = [
        torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.int8, torch.uint8,
        torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32, torch.uint64,
        torch.float8_e4m3fn, torch.float8_e5m2, torch.complex64,
    ]  # fmt: skip
    state = {str(kind): raw.clone().view(kind) for kind in kinds} | {"bool": raw > 7}
    save_file(state, here.path / "m.safetensors")
    here.commit()
    found = git_nn.to_torch(git_nn.open(here.path, "HEAD", "m.safetensors"))
    assert set(found) == set(state)
    for name, tensor in state.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name].view(torch.uint8), tensor.contiguous().view(torch.uint8))
    found["torch.float32"].zero_()  # memory of its own
    again = git_nn.to_torch(git_nn.open(here.path, "HEAD", "m.safetensors"))
    assert again["torch.float32"].any()


def test_a_state_dict_loads_into_its_module(here: Repo) -> None:
    net = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    torch.save(net.state_dict(), here.path / "m.pt")
    here.commit()
    other = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    other.load_state_dict(git_nn.to_torch(git_nn.open(here.path, "HEAD", "m.pt")))
    x = torch.randn(5, 8)
    assert torch.equal(net(x), other(x))


@pytest.mark.parametrize("ending", [".h5", ".keras", ".weights.h5"])
def test_a_keras_model_comes_back_from_git(here: Repo, ending: str) -> None:
    def net() -> keras.Model:
        return keras.Sequential([keras.Input((8,)), keras.layers.Dense(4), keras.layers.Dense(2)])

    first, name = net(), f"m{ending}"
    x = np.random.default_rng(1).standard_normal((5, 8)).astype("f4")
    first.save_weights(here.path / name) if "weights" in ending else first.save(here.path / name)
    here.commit()
    (here.path / name).unlink()
    version = git_nn.open(here.path, "HEAD", name)
    again = git_nn.to_keras(version, net() if "weights" in ending else None)
    assert np.array_equal(np.asarray(first(x).detach()), np.asarray(again(x).detach()))


def test_what_keras_does_not_read_is_named(here: Repo) -> None:
    torch.save({"a": torch.ones(3)}, here.path / "m.pt")
    here.commit()
    with pytest.raises(ValueError, match="Keras reads no torch files"):
        git_nn.to_keras(git_nn.open(here.path, "HEAD", "m.pt"))
