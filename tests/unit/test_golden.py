"""The golden pointers are what docs/spec.md says of their inputs, and clean gives them.

The expected text is put together here from numpy's bytes, the libraries blake3, msgpack, h5py and
zipfile, and the specification; nothing of git_nn takes part in it.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from itertools import pairwise

import h5py
import msgpack
import numpy as np
import pytest
from blake3 import blake3

from git_nn import smudge
from git_nn.beside import Folder
from git_nn.clean import clean
from git_nn.formats import table
from git_nn.formats.base import BytesSource
from git_nn.objects import pointer as pointers
from git_nn.store.memory import MemoryStore
from tests.golden.regenerate import (
    BIG_ENDIAN,
    BLOCKS,
    CHUNKED,
    DESCRIPTIONS,
    FOLDER,
    HALF,
    INPUTS,
    KERNEL,
    NO_FORMAT,
    ODD,
    STEP,
)

COMMENT = (
    "# weights of a neural network; to get them: "
    "pip install git-nn && git nn install && git nn pull"
)
FORMS = {
    ("tiny.h5", "chunked"): "h5[2x4;shuffle;deflate]", ("tiny.npy", "array"): "fortran",
    ("tiny.pkl", "coefs_.0.turned"): "fortran",
}  # fmt: skip
CHECKED = {"tiny.keras": ".h5", "tiny.npz": ".npy"}  # whose CRC-32s follow from payloads
Payload = list[bytes]  # the parts in which the file has it
Run = bytes | list[int] | list[list[int]]


def source(name: str) -> bytes:
    return (FOLDER / name).read_bytes()


def golden(name: str) -> bytes:
    return (FOLDER / f"{name}.pointer").read_bytes()


def chunks() -> Payload:
    """The stored chunks of ``chunked`` in tiny.h5, which hold the array."""
    with h5py.File(io.BytesIO(source("tiny.h5"))) as file:
        read = file["chunked"].id.read_direct_chunk
        parts = [bytes(read((row, column))[1]) for row in (0, 2, 4) for column in (0, 4)]
    planes = np.frombuffer(zlib.decompress(parts[0]), "u1").reshape(4, 8)
    first = np.ascontiguousarray(planes.T).view("<f4").reshape(2, 4)
    assert first.tobytes() == np.ascontiguousarray(CHUNKED[:2, :4]).tobytes()
    return parts


def computed(name: str) -> dict[int, tuple[int, Run]]:
    """Where a zip file has numbers that follow from payloads: offset -> length, run."""
    if name in CHECKED:
        return checked(name, CHECKED[name])
    if name != "tiny.pt":
        return {}
    data = source(name)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members, entry = archive.infolist(), archive.start_dir
    found: dict[int, tuple[int, Run]] = {}
    spans: list[list[int]] = []
    for member in members:
        lengths = struct.unpack_from("<2H", data, member.header_offset + 26)
        start = member.header_offset + 30 + sum(lengths)
        stop = start + member.file_size
        is_id = member.filename.endswith("serialization_id")
        if is_id or "/data/" in member.filename:
            for slot in (stop + 4, entry + 16):  # the descriptor, the directory
                assert struct.unpack_from("<I", data, slot) == (member.CRC,)
                found[slot] = (4, [start, stop])
        if is_id:
            found[start + 20] = (20, list(spans))
        spans.append([start, stop])
        entry += 46 + len(member.filename)
    return found


def checked(name: str, suffix: str) -> dict[int, tuple[int, Run]]:
    """The CRC-32s of the members called so: in the local header and in the directory."""
    data = source(name)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members, entry = archive.infolist(), archive.start_dir
    found: dict[int, tuple[int, Run]] = {}
    for member in members:
        start = member.header_offset + 30
        start += sum(struct.unpack_from("<2H", data, member.header_offset + 26))
        for slot in (member.header_offset + 14, entry + 16):
            assert struct.unpack_from("<I", data, slot) == (member.CRC,)
            if member.filename.endswith(suffix):
                found[slot] = (4, [start, start + member.file_size])
        entry += 46 + len(member.filename)
    return found


def skeleton(name: str, payloads: dict[str, Payload]) -> bytes:
    """Part 2 of the specification: names, and runs that cover the file."""
    data = source(name)
    placed = computed(name)
    used = [tensor for tensor, parts in payloads.items() if any(parts)]
    for index, tensor in enumerate(used):
        done = 0
        for part in payloads[tensor]:
            assert data.count(part) == 1
            placed[data.index(part)] = (len(part), [index, done, len(part)])
            done += len(part)
    ends = [(0, 0), *((at, at + length) for at, (length, _) in sorted(placed.items()))]
    runs: list[Run] = []
    for (_, start), (stop, _) in pairwise([*ends, (len(data), len(data))]):
        runs += [data[start:stop]] if stop > start else []
        runs += [placed[stop][1]] if stop in placed else []
    return bytes(msgpack.packb([1, used, runs]))


def text(name: str, layout: str, tensors: dict[str, tuple[str, Payload | str]]) -> bytes:
    """Part 1 of the specification: the pointer; a tensor's value ends with an oid or is a view."""
    payloads = {k.replace("%09", "\t"): v for k, (_, v) in tensors.items() if isinstance(v, list)}
    packed = skeleton(name, payloads)
    lines = ["git-nn pointer 1", COMMENT, f"layout {layout} 1"]
    lines.append(f"skeleton {blake3(packed).hexdigest()} {len(packed)}")
    for tensor, (spec, content) in tensors.items():
        value = content
        if isinstance(content, list):
            value = blake3(b"".join(content)).hexdigest()
            form = FORMS.get((name, tensor))
            value += f" {sum(map(len, content))} {form}" if form else ""
        lines += ["", f"tensor {tensor}", f"  {spec} {value}"]
    return "\n".join([*lines, ""]).encode()


def expected(name: str) -> bytes:  # noqa: C901, PLR0912 - one case for each file
    kernel, half, odd, step = ([array.tobytes()] for array in (KERNEL, HALF, ODD, STEP))
    match name:
        case "tiny.safetensors":
            return text(name, "safetensors", {
                "empty": ("f32 0x4", [b""]), "layers.2.w": ("bf16 2x3", half),
                "layers.10.w": ("f32 3x4", kernel), "odd%09name": ("f32 4", odd),
                "step": ("i64 scalar", step),
            })  # fmt: skip
        case "tiny.h5":
            return text(name, "hdf5", {
                "chunked": ("f32 5x7", chunks()), "dense/bias": ("f64be 5", [BIG_ENDIAN.tobytes()]),
                "dense/kernel": ("f32 3x4", kernel), "step": ("i64 scalar", step),
            })  # fmt: skip
        case "tiny.pt":
            return text(name, "torch", {
                "model.half": ("bf16 2x3", half), "model.kernel": ("f32 3x4", kernel),
                "model.part": ("f32 2", "view 1 1 of storage:2"),
                "model.tied": ("f32 3x4", "view 0 4x1 of model.kernel"),
                "model.turned": ("f32 4x3", "view 0 1x4 of model.kernel"),
                "storage:2": ("f32 4", odd),
            })  # fmt: skip
        case "tiny.tflite":
            return text(name, "tflite", {
                "dense/kernel": ("f32 3x4", kernel), "half": ("bf16 2x3", half),
                "tied": ("f32 4x3", "view 0 3x1 of dense/kernel"),
            })  # fmt: skip
        case "tiny.weight.bin":
            return text(name, "coreml", {
                "blob.0": ("f32 12", kernel), "blob.1": ("bf16 6", half), "blob.2": ("i32 2", step),
            })  # fmt: skip
        case "tiny.onnx":
            return text(name, "onnx", {
                "layers.2.w": ("f32 4", odd), "layers.10.w": ("f32 3x4", kernel),
                "one.value": ("bf16 2x3", half),
            })  # fmt: skip
        case "tiny.legacy.pt":
            return text(name, "torch-legacy", {
                "model.kernel": ("f32 3x4", kernel),
                "model.part": ("f32 2", "view 1 1 of storage:1"), "storage:1": ("f32 4", odd),
            })  # fmt: skip
        case "tiny.pkl":
            return text(name, "pickle", {
                "coefs_.0.bias": ("f64be 5", [BIG_ENDIAN.tobytes()]),
                "coefs_.0.empty": ("f32 0x4", [b""]), "coefs_.0.kernel": ("f32 3x4", kernel),
                "coefs_.0.turned": ("f32 3x4", [(KERNEL * 2).T.tobytes()]),
                "step": ("i64 scalar", step),
            })  # fmt: skip
        case "tiny.gguf":
            return text(name, "gguf", {
                "blk.2.packed": ("q4_0 2x32", [BLOCKS]), "blk.2.w": ("bf16 2x3", half),
                "blk.10.w": ("f32 3x4", kernel),
            })  # fmt: skip
        case "tiny.msgpack":
            return text(name, "flax", {
                "empty": ("f32 0x4", [b""]), "params/layer_2/odd%09name": ("f32 4", odd),
                "params/layer_2/w": ("bf16 2x3", half), "params/layer_10/w": ("f32 3x4", kernel),
                "step": ("i64 scalar", step),
            })  # fmt: skip
        case "tiny.keras":
            return text(name, "keras", {
                "layers/dense/vars/0": ("f32 3x4", kernel),
                "layers/dense/vars/1": ("f64be 5", [BIG_ENDIAN.tobytes()]),
            })  # fmt: skip
        case "tiny.npz":
            return text(name, "npz", {
                "dense/bias": ("f64be 5", [BIG_ENDIAN.tobytes()]),
                "dense/kernel": ("f32 3x4", kernel),
                "empty": ("f32 0x4", [b""]), "odd%09name": ("f32 4", odd),
                "step": ("i64 scalar", step),
            })  # fmt: skip
        case "tiny.npy":
            return text(name, "npy", {"array": ("f32 3x4", [KERNEL.T.tobytes()])})
        case "told.data-00000-of-00001":
            return text(name, "tensorflow", {
                "half": ("bf16 2x3", half), "layer/w": ("f32 3x4", kernel),
                "step": ("i64 scalar", step),
            })  # fmt: skip
        case "apart.onnx.data":
            return text(name, "onnx-data", {
                "layers.2.w": ("f32 4", odd), "layers.10.w": ("f32 3x4", kernel),
            })  # fmt: skip
    return text(name, "opaque", {})


@pytest.mark.parametrize("name", INPUTS)
def test_the_golden_pointer_follows_from_the_specification(name: str) -> None:
    assert golden(name).decode() == expected(name).decode()


@pytest.mark.parametrize("name", INPUTS)
def test_clean_gives_the_golden_pointer_and_smudge_the_input(name: str) -> None:
    store = MemoryStore()
    cleaned = clean(BytesSource(source(name)), store, beside=Folder(FOLDER / name))
    assert pointers.render(cleaned.pointer) == golden(name)
    assert cleaned.notes == ()
    pointer = pointers.parse(golden(name))
    frame = smudge.load_skeleton(pointer, store)
    sink = smudge.MemorySink(bytearray(frame.size))
    smudge.write_file(pointer, frame, store, sink)
    assert sink.data == source(name)


@pytest.mark.parametrize("name", INPUTS)
def test_parsing_and_rendering_keeps_the_golden_pointer(name: str) -> None:
    assert pointers.render(pointers.parse(golden(name))) == golden(name)


def test_the_inputs_are_those_that_their_builders_describe() -> None:
    """HDF5 is the library's, so its arrays count; zipfile writes as its version does."""
    for name in INPUTS.keys() - {"tiny.h5", "tiny.keras", "tiny.npz"}:
        assert source(name) == INPUTS[name]()
    for name, make in DESCRIPTIONS.items():
        assert source(name) == make()
    assert datasets(source("tiny.h5")) == {
        name: (array.dtype.str, array.tobytes())
        for name, array in {
            "dense/kernel": KERNEL, "dense/bias": BIG_ENDIAN, "step": STEP, "chunked": CHUNKED,
        }.items()
    }  # fmt: skip
    with zipfile.ZipFile(io.BytesIO(source("tiny.keras"))) as archive:
        assert datasets(archive.read("model.weights.h5")) == {
            "layers/dense/vars/0": (KERNEL.dtype.str, KERNEL.tobytes()),
            "layers/dense/vars/1": (BIG_ENDIAN.dtype.str, BIG_ENDIAN.tobytes()),
        }
    assert source("tiny.bin") == NO_FORMAT


def datasets(data: bytes) -> dict[str, tuple[str, bytes]]:
    """dtype and bytes of every dataset of an HDF5 file."""
    found: dict[str, tuple[str, bytes]] = {}

    def visit(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = (item.dtype.str, item[()].tobytes())

    with h5py.File(io.BytesIO(data)) as file:
        file.visititems(visit)
    return found


def test_every_format_has_a_golden_pointer() -> None:
    layouts = {golden(name).splitlines()[2].split()[1] for name in INPUTS}
    assert layouts == {name.encode() for name in (*table.FORMATS, *table.DESCRIBED, "opaque")}
