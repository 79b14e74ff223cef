"""Saving the same weights again, under another name and at another time, stores almost nothing.

Each test prints what the first save and the second took in the store (pytest -s shows it).
"""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "torch")  # before keras is imported

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from git_nn.clean import clean
from git_nn.formats.base import BytesSource
from git_nn.store.local import open_store

pytestmark = [
    pytest.mark.interop,
    pytest.mark.filterwarnings("ignore"),  # of the frameworks, which are not ours to fix
]

ROWS, COLUMNS, LAYERS = 256, 512, 6
NEW = 4 * 1024  # bytes that a second save may add to the store, whatever the format
Save = Callable[[Path, int], Path]


def weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        f"layer.{i}.{name}": (rng.standard_normal(shape) * 0.02).astype(np.float32)
        for i in range(LAYERS)
        for name, shape in (("weight", (ROWS, COLUMNS)), ("bias", (ROWS,)))
    }


def safetensors(folder: Path, turn: int) -> Path:
    from safetensors.numpy import save_file

    notes = {"epoch": "3", "format": "np", "note": "x", "zeta": "z"}
    keys = sorted(notes, reverse=bool(turn))  # the library writes them in no fixed order anyway
    save_file(weights(), path := folder / f"m{turn}.safetensors", {k: notes[k] for k in keys})
    return path


def torch_zip(folder: Path, turn: int) -> Path:
    import torch

    state = {name: torch.from_numpy(array) for name, array in weights().items()}
    torch.save({"epoch": 3, "model": state}, path := folder / f"checkpoint_number_{turn}.pt")
    return path


def torch_legacy(folder: Path, turn: int) -> Path:
    import torch

    state = {name: torch.from_numpy(array) for name, array in weights().items()}
    path = folder / f"old{turn}.pth"
    torch.save(state, path, _use_new_zipfile_serialization=False)
    return path


def keras_model() -> Any:
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(ROWS, name=f"dense_{i}") for i in range(LAYERS)]
    return keras.Sequential([keras.Input((COLUMNS,)), *layers])


def keras_as(ending: str) -> Save:
    def save(folder: Path, turn: int) -> Path:
        path = folder / f"m{turn}{ending}"
        model = keras_model()
        model.save_weights(path) if "weights" in ending else model.save(path)
        return path

    return save


def npz(folder: Path, turn: int) -> Path:
    np.savez(path := folder / f"m{turn}.npz", **weights())
    return path


def npz_compressed(folder: Path, turn: int) -> Path:
    np.savez_compressed(path := folder / f"m{turn}.npz", **weights())
    return path


def pickled(folder: Path, turn: int) -> Path:
    import pickle

    (path := folder / f"m{turn}.pkl").write_bytes(pickle.dumps(weights()))
    return path


def forest(folder: Path, turn: int) -> Path:
    """scikit-learn through joblib."""
    import joblib
    from sklearn.datasets import load_digits
    from sklearn.ensemble import RandomForestClassifier

    model = RandomForestClassifier(30, random_state=1).fit(*load_digits(return_X_y=True))
    joblib.dump(model, path := folder / f"m{turn}.joblib")
    return path


def onnx(folder: Path, turn: int) -> Path:
    from onnx import helper, numpy_helper, save

    tensors = [numpy_helper.from_array(array, name) for name, array in weights().items()]
    graph = helper.make_graph([], "g", [], [], tensors)
    model = helper.make_model(graph, producer_version=f"run {turn}", doc_string=f"turn {turn}")
    save(model, path := folder / f"m{turn}.onnx")
    return path


def gguf(folder: Path, turn: int) -> Path:
    from gguf import GGUFWriter

    writer = GGUFWriter(path := folder / f"m{turn}.gguf", "test")
    writer.add_name(f"run {turn}")
    for name, array in weights().items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def flax(folder: Path, turn: int) -> Path:
    from flax.serialization import to_bytes

    items = list(weights().items())
    random.Random(turn).shuffle(items)  # another order of the keys
    (path := folder / f"m{turn}.msgpack").write_bytes(to_bytes({"step": 3, "params": dict(items)}))
    return path


FORMATS: dict[str, tuple[str, Save]] = {
    "safetensors": ("safetensors", safetensors),
    "torch": ("torch", torch_zip),
    "torch-legacy": ("torch-legacy", torch_legacy),
    "keras .h5": ("hdf5", keras_as(".h5")),
    "keras .weights.h5": ("hdf5", keras_as(".weights.h5")),
    "keras .keras": ("keras", keras_as(".keras")),
    "npz": ("npz", npz),
    "npz compressed": ("npz", npz_compressed),
    "pickle": ("pickle", pickled),
    "joblib": ("pickle", forest),
    "onnx": ("onnx", onnx),
    "gguf": ("gguf", gguf),
    "flax": ("flax", flax),
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_second_save_of_the_same_weights_stores_almost_nothing(name: str, tmp_path: Path) -> None:
    layout, save = FORMATS[name]
    store = open_store(tmp_path / "nn")

    def size() -> int:
        return sum(path.stat().st_size for path in (tmp_path / "nn" / "packs").rglob("*.nnp"))

    sizes, pointer = [0], None
    for turn in (0, 1):
        (folder := tmp_path / str(turn)).mkdir()
        data = save(folder, turn).read_bytes()
        cleaned = clean(BytesSource(data), store, previous=pointer)
        pointer = cleaned.pointer
        assert pointer.format == layout, cleaned.notes
        sizes.append(size())
    first, second = sizes[1], sizes[2] - sizes[1]
    print(f"{name}: {len(data)} bytes, stored {first}; saved again, {second} bytes more")
    assert second <= NEW
