"""bridges: tensors as the frameworks have them; each is imported by the call that needs it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from git_nn.tensors import Tensor, Tensors

# types that numpy does not have -> (the same bits as numpy has them, torch's name)
_TORCH = {
    "bf16": ("<u2", "bfloat16"),
    "f8_e4m3fn": ("u1", "float8_e4m3fn"), "f8_e4m3fnuz": ("u1", "float8_e4m3fnuz"),
    "f8_e5m2": ("u1", "float8_e5m2"), "f8_e5m2fnuz": ("u1", "float8_e5m2fnuz"),
    "f8_e8m0": ("u1", "float8_e8m0fnu"),
}  # fmt: skip


def to_torch(tensors: Tensors) -> dict[str, Any]:
    """A state dict of torch tensors, on the CPU, each with memory of its own; needs torch.

    Quantised blocks come as float32. ValueError for a dtype that torch does not have.
    """
    return {name: _to_torch(tensors[name]) for name in tensors}


def _to_torch(tensor: Tensor) -> Any:
    import torch  # type: ignore[import-not-found, unused-ignore]

    array = tensor.numpy()
    bits, name = _TORCH.get(tensor.type, ("", ""))
    if name and hasattr(torch, name):
        flat = torch.from_numpy(array.view(bits).copy())
        return flat.view(getattr(torch, name))
    native = array.astype(array.dtype.newbyteorder("="), copy=True)
    try:
        return torch.from_numpy(native)
    except TypeError as error:
        raise ValueError(f"torch has no dtype for {tensor.type}") from error


def to_keras(tensors: Tensors, model: Any = None) -> Any:
    """The Keras model that the file holds; or ``model`` with the file's weights loaded.

    Needs keras, which reads the very bytes of the file. It runs no code from the file
    unless Keras was told to (keras.config.enable_unsafe_deserialization).
    """
    import keras  # type: ignore[import-not-found, unused-ignore]

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"model{_keras_suffix(tensors)}"
        tensors.write(path)
        if model is None:
            return keras.saving.load_model(path, compile=False)
        model.load_weights(path)
        return model


def _keras_suffix(tensors: Tensors) -> str:
    """Keras tells what a file is by its name."""
    if tensors.pointer.format == "keras":
        return ".keras"
    if tensors.pointer.format != "hdf5":
        raise ValueError(f"Keras reads no {tensors.pointer.format} files")
    structure = tensors.structure()
    legacy = "model_config" in structure or "layer_names" in structure
    return ".h5" if legacy else ".weights.h5"
