"""The golden files: a small input of every format, and the pointer that it has for ever.

    python -m tests.golden.regenerate

writes the pointers anew and prints what changed. A change here is a change in everybody's
repository: it needs another layout version (docs/spec.md), never only another golden file.
An input is made once, where it is not there, since the next h5py or zlib may write other
bytes for the same arrays.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from difflib import unified_diff
from pathlib import Path

import h5py
import ml_dtypes
import numpy as np

from git_nn.beside import Folder
from git_nn.clean import clean
from git_nn.formats.base import BytesSource
from git_nn.objects.pointer import render
from git_nn.store.memory import MemoryStore
from tests.support import (
    coreml_file,
    flax_file,
    gguf_file,
    onnx_file,
    pickle_file,
    tensorflow_file,
    tflite_file,
)
from tests.support.models import safetensors_file
from tests.support.protobuf_file import field
from tests.support.torch_file import S, dumps, ordered, save, save_legacy, tensor

FOLDER = Path(__file__).parent

# No random numbers: a generator's stream may change with numpy.
KERNEL = (np.arange(12, dtype="<f4") / 7).reshape(3, 4)
HALF = np.arange(-3, 3).astype(ml_dtypes.bfloat16).reshape(2, 3)
# -0.0, -inf, a NaN with a payload, the smallest subnormal
ODD = np.array([0x80000000, 0xFF800000, 0x7FC12345, 1], dtype="<u4").view("<f4")
STEP = np.array(2**50 + 1, dtype="<i8")
CHUNKED = np.arange(35, dtype="<f4").reshape(5, 7) ** 3
BIG_ENDIAN = np.linspace(-1, 1, 5).astype(">f8")
BLOCKS = bytes(range(1, 37))  # two blocks of q4_0
NO_FORMAT = b"Nobody knows this format.\n" + bytes(range(256))


def _safetensors() -> bytes:
    tensors = {
        "layers.10.w": KERNEL,
        "layers.2.w": HALF,
        "odd\tname": ODD,
        "step": STEP,
        "empty": KERNEL[:0],
    }
    return safetensors_file(tensors, {"format": "pt"})


def _hdf5() -> bytes:
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        file["dense/kernel"] = KERNEL
        file["dense/bias"] = BIG_ENDIAN
        file["step"] = STEP
        file.create_dataset(
            "chunked", data=CHUNKED, chunks=(2, 4), shuffle=True, compression="gzip"
        )
        file.attrs["note"] = "golden"
    return out.getvalue()


def _torch() -> bytes:
    kernel, half, flat = (
        S(str(i), kind, array.tobytes())
        for i, (kind, array) in enumerate((("f32", KERNEL), ("bf16", HALF), ("f32", ODD)))
    )
    weights = {
        "kernel": tensor(kernel, (3, 4)),
        "tied": tensor(kernel, (3, 4)),
        "turned": tensor(kernel, (4, 3), (1, 4)),
        "half": tensor(half, (2, 3)),
        "part": tensor(flat, (2,), offset=1),
    }
    return save({"epoch": 3, "model": ordered(weights)}, root="tiny")


def _torch_legacy() -> bytes:
    kernel, flat = S("0", "f32", KERNEL.tobytes()), S("1", "f32", ODD.tobytes())
    weights = {"kernel": tensor(kernel, (3, 4)), "part": tensor(flat, (2,), offset=1)}
    return save_legacy({"epoch": 3, "model": ordered(weights)}, keys={"0": "942", "1": "17"})


def _pickle() -> bytes:
    arrays = {
        "kernel": pickle_file.array(KERNEL),
        "turned": pickle_file.array(np.asfortranarray(KERNEL * 2)),
        "bias": pickle_file.array(BIG_ENDIAN),
        "empty": pickle_file.array(KERNEL[:0]),
    }
    return dumps({"alpha": 0.5, "step": pickle_file.array(STEP), "coefs_": [ordered(arrays)]})


def _gguf() -> bytes:
    tensors: dict[str, gguf_file.Spec] = {
        "blk.10.w": ("f32", (3, 4), KERNEL.tobytes()),
        "blk.2.w": ("bf16", (2, 3), HALF.tobytes()),
        "blk.2.packed": ("q4_0", (2, 32), BLOCKS),
    }
    pairs = {"general.name": ("string", "golden"), "general.alignment": ("u32", 64)}
    return gguf_file.write(tensors, pairs, alignment=64)


def _flax() -> bytes:
    layers = {"layer_10": {"w": KERNEL}, "layer_2": {"w": HALF, "odd\tname": ODD}}
    return flax_file.to_bytes({"epoch": 3, "params": layers, "step": STEP, "empty": KERNEL[:0]})


def _keras() -> bytes:
    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        file["layers/dense/vars/0"] = KERNEL
        file["layers/dense/vars/1"] = BIG_ENDIAN
        file["layers/dense/vars"].attrs["name"] = "dense"
    members = {
        "metadata.json": b'{"keras_version": "3.15.1", "date_saved": "2026-11-21@08:00:00"}',
        "config.json": b'{"module": "keras", "class_name": "Sequential", "config": {}}',
        "model.weights.h5": weights.getvalue(),
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 11, 21, 8, 0, 0)), data)
    return out.getvalue()


def _npz() -> bytes:
    out = io.BytesIO()
    arrays = {
        "dense/kernel": KERNEL,
        "dense/bias": BIG_ENDIAN,
        "odd\tname": ODD,
        "step": STEP,
        "empty": KERNEL[:0],
    }
    np.savez(out, **arrays)
    return out.getvalue()


def _npy() -> bytes:
    out = io.BytesIO()
    np.save(out, np.asfortranarray(KERNEL))
    return out.getvalue()


def _onnx() -> bytes:
    constant = onnx_file.tensor("", "bf16", (2, 3), HALF.tobytes())
    node = onnx_file.node(
        "Constant", [], ["y"], onnx_file.attribute("value", 5, constant, 4), name="one"
    )
    weights = [
        onnx_file.tensor("layers.10.w", "f32", (3, 4), KERNEL.tobytes()),
        onnx_file.tensor("layers.2.w", "f32", (4,), None, field(4, ODD.tobytes())),
        onnx_file.tensor("layers.2.steps", "i64", (2,), None, onnx_file.packed(7, [1, 300])),
    ]
    return onnx_file.model(onnx_file.graph(weights, [node]))


def _tflite() -> bytes:
    tensors = [
        tflite_file.tensor("dense/kernel", "f32", (3, 4), 1),
        tflite_file.tensor("tied", "f32", (4, 3), 1),
        tflite_file.tensor("half", "bf16", (2, 3), 2),
        tflite_file.tensor("input", "f32", (1, 4), 0),
    ]
    buffers = [tflite_file.buffer(data) for data in (b"", KERNEL.tobytes(), HALF.tobytes())]
    return tflite_file.flatbuffer(tflite_file.model([tflite_file.subgraph(tensors)], buffers))


def _coreml() -> bytes:
    values = (("f32", KERNEL), ("bf16", HALF), ("i32", STEP))
    return coreml_file.weights([(kind, array.tobytes()) for kind, array in values])


def _shard() -> tuple[bytes, bytes]:
    """A shard of a TensorFlow checkpoint, and the index that tells what is in it."""
    (data,), index = tensorflow_file.checkpoint([{"layer/w": KERNEL, "half": HALF, "step": STEP}])
    return data, index


def _external() -> tuple[bytes, bytes]:
    """The external data of an ONNX model, and the model."""
    data = KERNEL.tobytes() + bytes(16) + ODD.tobytes()
    places = {"offset": "64", "length": "16"}
    tensors = [
        onnx_file.external("layers.10.w", "f32", (3, 4), location="apart.onnx.data", length="48"),
        onnx_file.external("layers.2.w", "f32", (4,), location="apart.onnx.data", **places),
    ]
    return data, onnx_file.model(onnx_file.graph(tensors))


INPUTS: Mapping[str, Callable[[], bytes]] = {
    "tiny.safetensors": _safetensors,
    "tiny.h5": _hdf5,
    "tiny.pt": _torch,
    "tiny.legacy.pt": _torch_legacy,
    "tiny.pkl": _pickle,
    "tiny.gguf": _gguf,
    "tiny.onnx": _onnx,
    "tiny.tflite": _tflite,
    "tiny.weight.bin": _coreml,
    "tiny.msgpack": _flax,
    "tiny.keras": _keras,
    "tiny.npz": _npz,
    "tiny.npy": _npy,
    "tiny.bin": lambda: NO_FORMAT,
    "told.data-00000-of-00001": lambda: _shard()[0],
    "apart.onnx.data": lambda: _external()[0],
}
# files that only describe one of the inputs
DESCRIPTIONS: Mapping[str, Callable[[], bytes]] = {
    "told.index": lambda: _shard()[1],
    "apart.onnx": lambda: _external()[1],
}


def regenerate(name: str) -> str:
    """Make the input where it is missing and its pointer; returns what changed, '' for nothing."""
    source, pointer = FOLDER / name, FOLDER / f"{name}.pointer"
    if not source.exists():
        source.write_bytes(INPUTS[name]())
    before = pointer.read_bytes().decode() if pointer.exists() else ""
    cleaned = clean(BytesSource(source.read_bytes()), MemoryStore(), beside=Folder(source))
    after = render(cleaned.pointer)
    pointer.write_bytes(after)
    lines = unified_diff(
        before.splitlines(keepends=True), after.decode().splitlines(keepends=True), name, name
    )
    return "".join(lines)


if __name__ == "__main__":
    for each, make in DESCRIPTIONS.items():
        if not (FOLDER / each).exists():
            (FOLDER / each).write_bytes(make())
    for each in INPUTS:
        print(regenerate(each) or f"{each}: unchanged")
