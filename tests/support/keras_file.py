"""Writes Keras files with h5py alone, laid out as Keras 3 saves a Sequential of Dense layers.

tests/interop/test_keras.py holds that Keras loads them. Equal arguments give equal bytes.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from typing import Any

import h5py
import numpy as np

KERAS_VERSION = "3.15.1"


@dataclass(frozen=True)
class Dense:
    """A layer: kernel of shape (inputs, units), bias of shape (units,)."""

    name: str
    kernel: np.ndarray
    bias: np.ndarray
    activation: str = "relu"

    @property
    def weights(self) -> dict[str, np.ndarray]:
        return {"kernel": self.kernel, "bias": self.bias}

    @property
    def config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "trainable": True,
            "dtype": _keras("DTypePolicy", "keras", name="float32"),
            "units": int(self.kernel.shape[1]),
            "activation": self.activation,
            "use_bias": True,
            "kernel_initializer": _keras("GlorotUniform", "keras.initializers", seed=None),
            "bias_initializer": _keras("Zeros", "keras.initializers"),
            "kernel_regularizer": None,
            "bias_regularizer": None,
            "kernel_constraint": None,
            "bias_constraint": None,
        }


@dataclass(frozen=True)
class Dropout:
    """A layer without weights."""

    name: str
    rate: float = 0.1

    @property
    def weights(self) -> dict[str, np.ndarray]:
        return {}

    @property
    def config(self) -> dict[str, Any]:
        dtype = _keras("DTypePolicy", "keras", name="float32")
        return {"name": self.name, "trainable": True, "dtype": dtype, "rate": self.rate,
                "seed": None, "noise_shape": None}  # fmt: skip


Layer = Dense | Dropout


def dense_layers(seed: int, *sizes: int) -> list[Layer]:
    """Layers dense, dense_1 ... of random weights, sizes[0] inputs to sizes[-1] outputs."""
    rng = np.random.default_rng(seed)
    return [
        Dense(
            f"dense_{i}" if i else "dense",
            (rng.standard_normal((inputs, units)) / np.sqrt(inputs)).astype("f4"),
            rng.standard_normal(units).astype("f4"),
            "softmax" if i == len(sizes) - 2 else "relu",
        )
        for i, (inputs, units) in enumerate(pairwise(sizes))
    ]


def tuned(layers: Sequence[Layer], seed: int, *names: str, scale: float = 1e-3) -> list[Layer]:
    """The same model after some more training: the weights of the named layers (all) moved."""
    rng = np.random.default_rng(seed)

    def moved(array: np.ndarray) -> np.ndarray:
        return (array + scale * rng.standard_normal(array.shape)).astype(array.dtype)

    return [
        replace(layer, kernel=moved(layer.kernel), bias=moved(layer.bias))
        if isinstance(layer, Dense) and layer.name in (names or (layer.name,))
        else layer
        for layer in layers
    ]


def adam_state(layers: Sequence[Layer], seed: int, *, model: str = "tiny") -> dict[str, np.ndarray]:
    """An Adam optimizer's variables, in Keras' order and under Keras' names."""
    rng = np.random.default_rng(seed)
    state: dict[str, np.ndarray] = {
        "adam/iteration": np.array(seed, "i4"),
        "adam/learning_rate": np.array(0.001, "f4"),
    }
    for layer in layers:
        for weight, array in layer.weights.items():
            for slot in ("momentum", "velocity"):
                values = np.abs(rng.standard_normal(array.shape)).astype("f4")
                state[f"adam/{model}_{layer.name}_{weight}_{slot}"] = values
    return state


def model_config(layers: Sequence[Layer], *, model: str = "tiny") -> dict[str, Any]:
    """What Keras writes into the attribute model_config."""
    inputs = next(layer.kernel.shape[0] for layer in layers if isinstance(layer, Dense))
    shape = [None, int(inputs)]
    first = {"batch_shape": shape, "dtype": "float32", "sparse": False, "ragged": False,
             "name": "input_layer", "optional": False}  # fmt: skip
    return {
        "class_name": "Sequential",
        "config": {
            "name": model,
            "trainable": True,
            "dtype": _keras("DTypePolicy", "keras", name="float32"),
            "layers": [
                {"class_name": "InputLayer", "config": first},
                *({"class_name": type(x).__name__, "config": x.config} for x in layers),
            ],
            "build_input_shape": shape,
        },
    }


def training_config() -> dict[str, Any]:
    adam = {
        "name": "adam", "learning_rate": 0.0010000000474974513, "weight_decay": None,
        "clipnorm": None, "global_clipnorm": None, "clipvalue": None, "use_ema": False,
        "ema_momentum": 0.99, "ema_overwrite_frequency": None, "loss_scale_factor": None,
        "gradient_accumulation_steps": None, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-07,
        "amsgrad": False,
    }  # fmt: skip
    name = {"name": "mean_squared_error", "reduction": "sum_over_batch_size"}
    loss = {"class_name": "MeanSquaredError", "config": name}
    return {
        "loss": loss, "loss_weights": None, "metrics": None, "weighted_metrics": None,
        "run_eagerly": False, "steps_per_execution": 1, "jit_compile": False,
        "optimizer_config": {"class_name": "Adam", "config": adam},
    }  # fmt: skip


def keras_file(
    layers: Sequence[Layer],
    *,
    model: str = "tiny",
    optimizer: Mapping[str, np.ndarray] | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> bytes:
    """What ``model.save("m.h5")`` writes; ``attributes`` are further ones of the root."""
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        file.attrs["keras_version"] = KERAS_VERSION
        file.attrs["backend"] = "torch"
        file.attrs["model_config"] = json.dumps(model_config(layers, model=model)).encode()
        if optimizer is not None:
            file.attrs["training_config"] = json.dumps(training_config()).encode()
        _write_layers(file.create_group("model_weights"), layers, model)
        if optimizer is not None:
            _write_variables(file.create_group("optimizer_weights"), optimizer)
        for name, value in (attributes or {}).items():
            file.attrs[name] = value
    return out.getvalue()


def _write_layers(group: h5py.Group, layers: Sequence[Layer], model: str) -> None:
    group.attrs["layer_names"] = [layer.name.encode() for layer in layers]
    group.attrs["backend"] = b"torch"
    group.attrs["keras_version"] = KERAS_VERSION.encode()
    for layer in sorted(layers, key=lambda layer: layer.name):
        variables = {f"{model}/{layer.name}/{k}": v for k, v in layer.weights.items()}
        _write_variables(group.create_group(layer.name), variables)
    _write_variables(group.create_group("top_level_model_weights"), {})


def _write_variables(group: h5py.Group, variables: Mapping[str, np.ndarray]) -> None:
    group.attrs["weight_names"] = [name.encode() for name in variables]
    for name, array in variables.items():
        dataset = group.create_dataset(name, array.shape, dtype=array.dtype)
        dataset[...] = array


def weights_file(
    layers: Sequence[Layer],
    *,
    model: str = "tiny",
    optimizer: Mapping[str, np.ndarray] | None = None,
) -> bytes:
    """What ``model.save_weights("m.weights.h5")`` writes."""
    out = io.BytesIO()
    used: dict[str, int] = {}
    with h5py.File(out, "w") as file:
        for layer in layers:
            kind = type(layer).__name__.lower()
            number = used[kind] = used.get(kind, -1) + 1
            path = f"layers/{kind}_{number}" if number else f"layers/{kind}"
            group = file.create_group(path).create_group("vars")
            group.attrs["name"] = layer.name
            for i, array in enumerate(layer.weights.values()):
                group[str(i)] = array
        if optimizer is not None:
            group = file.create_group("optimizer/vars")
            group.attrs["name"] = "adam"
            for i, array in enumerate(optimizer.values()):
                group[str(i)] = array
        file.create_group("vars").attrs["name"] = model
    return out.getvalue()


def archive_file(
    layers: Sequence[Layer],
    *,
    model: str = "tiny",
    optimizer: Mapping[str, np.ndarray] | None = None,
    saved: datetime = datetime(2026, 11, 20, 10, 30, 0),
    assets: Mapping[str, bytes] | None = None,
    weights: tuple[str, bytes] | None = None,
) -> bytes:
    """What ``model.save("m.keras")`` writes at the time ``saved``.

    ``assets`` are files below assets/; ``weights`` is another member in place of the usual one.
    """
    config: dict[str, Any] = model_config(layers, model=model)
    config = {"module": "keras", **config, "registered_name": None}
    config["config"]["dtype"]["shared_object_id"] = 140301532065808 + int(saved.timestamp())
    if optimizer is not None:
        config["compile_config"] = compile_config()
    date = f"{saved:%Y-%m-%d@%H:%M:%S}"
    members = {
        "metadata.json": json.dumps({"keras_version": KERAS_VERSION, "date_saved": date}).encode(),
        "config.json": json.dumps(config).encode(),
        **{f"assets/{name}": data for name, data in (assets or {}).items()},
    }
    name, content = weights or (
        "model.weights.h5", weights_file(layers, model=model, optimizer=optimizer)
    )  # fmt: skip
    members[name] = content
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, saved.timetuple()[:6]), data)
    return out.getvalue()


def compile_config() -> dict[str, Any]:
    """How Keras 3 says in config.json that the model was compiled."""
    training = training_config()
    adam = {"module": "keras.optimizers", **training.pop("optimizer_config")}
    return {**training, "optimizer": adam, "loss": "mse"}


def tensor_path(layer: str, weight: str, *, model: str = "tiny") -> str:
    """The name of a weight in a ``keras_file``, as a pointer has it."""
    return f"model_weights/{layer}/{model}/{layer}/{weight}"


def _keras(class_name: str, module: str, **config: Any) -> dict[str, Any]:
    return {"module": module, "class_name": class_name, "config": config, "registered_name": None}
