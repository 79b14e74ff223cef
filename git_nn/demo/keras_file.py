"""Write and read a network as Keras keeps a whole model in one ``.h5`` file."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np

from git_nn.demo.network import HIDDEN, LAYERS, SIDE, Weights


def save(path: Path, weights: Weights) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(_config())
        file.attrs["keras_version"] = "3.8.0"
        file.attrs["backend"] = "numpy"
        root = file.create_group("model_weights")
        root.attrs["layer_names"] = np.array([layer.encode() for layer in LAYERS])
        for layer in LAYERS:
            group = root.create_group(layer)
            names = [f"{layer}/kernel", f"{layer}/bias"]
            group.attrs["weight_names"] = np.array([name.encode() for name in names])
            for name in names:
                group.create_dataset(name, data=weights[name])


def load(path: Path) -> Weights:
    with h5py.File(path, "r") as file:
        root = file["model_weights"]
        return {
            f"{layer}/{kind}": root[layer][layer][kind][()]
            for layer in LAYERS
            for kind in ("kernel", "bias")
        }


def _config() -> dict[str, object]:
    units = {"dense": HIDDEN, "dense_1": HIDDEN, "head": 10}
    layers: list[dict[str, object]] = [
        {
            "class_name": "InputLayer",
            "config": {"batch_shape": [None, SIDE * SIDE], "name": "input"},
        }
    ]
    for layer in LAYERS:
        activation = "softmax" if layer == "head" else "relu"
        config = {"name": layer, "units": units[layer], "activation": activation}
        layers.append({"class_name": "Dense", "config": config})
    return {"class_name": "Sequential", "config": {"name": "digits", "layers": layers}}
