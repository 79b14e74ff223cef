"""structure: what is said of files of several formats, from their bytes."""

from __future__ import annotations

import struct
from collections import OrderedDict

from git_nn.differences.structure import compare, describe, layers
from git_nn.formats import gguf, safetensors, tflite, torch_zip
from git_nn.formats.base import BytesSource
from tests.support import gguf_file, tflite_file
from tests.support.models import normal, safetensors_file
from tests.support.torch_file import save


def test_key_values_of_gguf() -> None:
    def read(pairs: gguf_file.Pairs) -> dict[str, object]:
        content = {"w": ("f32", (2,), struct.pack("<2f", 1, 2))}
        return gguf.structure(BytesSource(gguf_file.write(content, pairs)))

    old = {"general.name": ("string", "tiny"), "llama.block_count": ("u32", 2),
           "tokens": ("string", ["a", "b"])}  # fmt: skip
    new = {"general.name": ("string", "tiny"), "llama.block_count": ("u32", 3),
           "rope": ("f32", 0.5), "tokens": ("string", ["a", "c"])}  # fmt: skip
    assert compare(read(old), read(new)) == (
        "llama.block_count: 2 → 3",
        "rope: 0.5 added",
        'tokens: ["a", "b"] → ["a", "c"]',
    )
    assert "llama.block_count: 2" in describe(read(old))


def test_operators_of_tflite_are_counted() -> None:
    def read(*operators: int) -> dict[str, object]:
        codes = [tflite_file.code(number) for number in (0, 3, 21)]  # ADD, CONV_2D, RELU6
        tensors = [tflite_file.tensor("x", "f32", (1, 3), 0)]
        graph = tflite_file.subgraph(tensors, [0], [0], operators)
        whole = tflite_file.model([graph], [tflite_file.buffer()], codes)
        return tflite.structure(BytesSource(tflite_file.flatbuffer(whole)))

    assert compare(read(1, 1, 2), read(1, 1, 1, 0)) == (
        "subgraphs.main.operators.ADD: 1 added",
        "subgraphs.main.operators.CONV_2D: 2 → 3",
        "subgraphs.main.operators.RELU6: 1 removed",
    )


def test_metadata_of_safetensors() -> None:
    def read(**metadata: str) -> dict[str, object]:
        data = safetensors_file({"w": normal(1, 2)}, metadata)
        return safetensors.structure(BytesSource(data))

    lines = compare(read(format="pt", epoch="3"), read(format="pt", epoch="4", lora="r8"))
    assert lines == ("metadata.epoch: 3 → 4", "metadata.lora: r8 added")
    assert layers(read(format="pt"), read(format="np")) == (0, 0)


def test_plain_values_of_a_torch_checkpoint() -> None:
    def read(epoch: int, rate: float) -> dict[str, object]:
        groups = [{"lr": rate, "params": [0, 1]}]
        found = {"epoch": epoch, "optimizer": OrderedDict(param_groups=groups)}
        return torch_zip.structure(BytesSource(save(found)))

    lines = compare(read(3, 0.1), read(4, 0.01))
    assert lines[0] == "epoch: 3 → 4"
    assert any(line.endswith("lr: 0.1 → 0.01") for line in lines)
    assert len(lines) == 2
