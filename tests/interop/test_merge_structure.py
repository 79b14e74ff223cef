"""Structural merges whose results the formats' own libraries load."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")

import h5py
import keras
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save

from git_nn.clean import clean
from git_nn.combine import Merged, merge
from git_nn.container import Sides
from git_nn.formats.base import BytesSource
from git_nn.merge.rules import Rules
from git_nn.model import open_pointer
from git_nn.store.memory import MemoryStore

pytestmark = [pytest.mark.interop, pytest.mark.filterwarnings("ignore")]


def merged(base: bytes, ours: bytes, theirs: bytes, out: Path) -> Merged:
    """The merge, written to ``out``."""
    store = MemoryStore()
    pointers = [clean(BytesSource(data), store).pointer for data in (base, ours, theirs)]
    done = merge(Sides(*pointers), Rules(), store, out.parent / "scratch")
    open_pointer(done.pointer, store).write(out)
    return done


def blocks(count: int) -> torch.nn.Module:
    torch.manual_seed(count)
    return torch.nn.Sequential(
        torch.nn.Embedding(9, 4), *(torch.nn.Linear(4, 4) for _ in range(count))
    )


def test_safetensors_loads_layers_metadata_and_a_cast_from_two_sides(tmp_path: Path) -> None:
    """Theirs trained in single precision; ours cast the model and put a block into it."""
    base = blocks(3).state_dict()
    theirs = {**base, "2.weight": base["2.weight"] * 1.5, "0.weight": base["0.weight"] + 1}
    wider = {
        f"{int(name[0]) + (int(name[0]) >= 2)}{name[1:]}": array for name, array in base.items()
    }
    fresh = {"2.weight": torch.eye(4), "2.bias": torch.ones(4)}
    moved = {**wider, **fresh}
    out = tmp_path / "out.safetensors"
    done = merged(
        save(base, {"format": "pt", "epoch": "1"}),
        save(moved, {"format": "pt", "epoch": "1", "depth": "4"}),
        save(theirs, {"format": "pt", "epoch": "2"}),
        out,
    )
    assert done.is_clean, done
    model = blocks(4)
    model.load_state_dict(load_file(out))
    expected = {**moved, "3.weight": theirs["2.weight"], "0.weight": theirs["0.weight"]}
    assert all(torch.equal(array, expected[name]) for name, array in model.state_dict().items())
    with safe_open(out, "pt") as file:
        assert file.metadata() == {"format": "pt", "epoch": "2", "depth": "4"}
    half = {name: array.to(torch.bfloat16) for name, array in base.items()}
    out = tmp_path / "half.safetensors"
    assert merged(save(base), save(half), save(theirs), out).is_clean
    found = load_file(out)
    assert all(torch.equal(a, theirs[n].to(torch.bfloat16)) for n, a in found.items())


def network(names: tuple[str, ...]) -> keras.Model:
    keras.utils.set_random_seed(3)
    layers = [keras.layers.Dense(4, name=name) for name in names]
    return keras.Sequential([keras.Input((4,)), *layers], name="network")


def saved(model: keras.Model, path: Path, **attributes: str) -> bytes:
    model.save_weights(path)
    with h5py.File(path, "r+") as file:
        for name, value in attributes.items():
            file.attrs[name] = value
    return path.read_bytes()


def test_keras_loads_weights_with_attributes_of_both_sides(tmp_path: Path) -> None:
    base, ours, theirs = (network(("dense", "dense_1")) for _ in range(3))
    ours.layers[0].kernel.assign(np.full((4, 4), 2.0))
    theirs.layers[1].kernel.assign(np.full((4, 4), 3.0))
    path = tmp_path / "m.weights.h5"
    files = [
        saved(model, path, **attributes)
        for model, attributes in (
            (base, {"run": "1", "note": "start"}),
            (ours, {"run": "2", "note": "start"}),
            (theirs, {"run": "3", "note": "end"}),
        )
    ]
    out = tmp_path / "out.weights.h5"
    done = merged(*files, out)
    assert done.notes == ("both sides changed run beside the tensors; ours is kept",)
    model = network(("dense", "dense_1"))
    model.load_weights(out)
    assert float(model.layers[0].kernel[0, 0]) == 2.0
    assert float(model.layers[1].kernel[0, 0]) == 3.0
    with h5py.File(out) as file:
        assert (file.attrs["run"], file.attrs["note"]) == ("2", "end")
