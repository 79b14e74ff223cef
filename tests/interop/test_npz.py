"""Files that numpy, JAX and PyTorch write through numpy, through git and back."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch

import git_nn
from git_nn.objects import pointer as pointers
from tests.support.git import Repo

pytestmark = [pytest.mark.interop, pytest.mark.filterwarnings("ignore")]


def arrays() -> dict[str, np.ndarray]:
    torch.manual_seed(0)
    linear = torch.nn.Linear(6, 4)
    return {
        **{f"linear/{name}": value.detach().numpy() for name, value in linear.named_parameters()},
        "turned": linear.weight.detach().numpy().T,
        "jax": np.asarray(jnp.linspace(0, 1, 12).reshape(3, 4)),
        "big": np.arange(5, dtype=">i4"),
        "scalar": np.array(2.5),
        "empty": np.zeros((0, 3), "f4"),
        "mask": np.array([True, False]),
    }


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_the_file_comes_back_and_every_array_is_numpys(
    repo: Repo, save: Callable[..., Any]
) -> None:
    repo.nn("track", "*.npz")
    path = repo.path / "m.npz"
    save(path, **arrays())
    data = path.read_bytes()
    repo.commit()
    assert pointers.parse(repo.blob("HEAD:m.npz")).format == "npz"
    path.unlink()
    repo.git("checkout", "--", "m.npz")
    assert path.read_bytes() == data
    assert repo.status() == ""
    model = git_nn.open(repo.path, "HEAD", "m.npz")
    assert set(model) == set(arrays())
    for name, array in arrays().items():
        assert (model[name].dtype, model[name].shape) == (array.dtype, array.shape), name
        assert model[name].tobytes() == array.tobytes(), name


def test_bfloat16_of_jax_is_bytes_as_it_is_for_numpy(repo: Repo) -> None:
    repo.nn("track", "*.npy")
    array = jnp.arange(12, dtype=jnp.bfloat16).reshape(3, 4)
    np.save(repo.path / "m.npy", np.asarray(array))
    repo.commit()
    (entry,) = pointers.parse(repo.blob("HEAD:m.npy")).stored.values()
    assert (entry.name, entry.dtype, entry.shape) == ("array", "u8", (3, 4, 2))
    model = git_nn.open(repo.path, "HEAD", "m.npy")
    assert model["array"].tobytes() == np.asarray(array).tobytes()
    back = np.load(io.BytesIO(repo.read("m.npy")))
    assert back.tobytes() == model["array"].tobytes()
