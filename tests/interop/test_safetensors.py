"""Files that the safetensors library writes, through git and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import deserialize, safe_open
from safetensors.torch import load_file, save

import git_nn
from git_nn.formats import table
from git_nn.formats.base import BytesSource
from git_nn.objects import pointer as pointers
from tests.contract.format_contract import FormatContract, Sample, Tensor
from tests.interop.test_torch import DTYPES, raw
from tests.support.git import Repo

pytestmark = pytest.mark.interop

# complex128 is the only one that the library cannot write
WRITABLE = {dtype: name for dtype, name in DTYPES.items() if dtype is not torch.complex128}


def every_dtype() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {f"t.{name}": (torch.rand(3, 4) * 50).to(dtype) for dtype, name in WRITABLE.items()}


def layers() -> dict[str, torch.Tensor]:
    torch.manual_seed(2)
    weights = {f"layers.{i}.weight": torch.randn(6, 5) for i in range(12)}
    return {**weights, "scalar": torch.tensor(1.5), "empty": torch.empty(0, 3), "é": torch.ones(1)}


FILES = {
    "every dtype": (every_dtype, None),
    "layers": (layers, None),
    "metadata": (layers, {"format": "pt"}),
    "much metadata": (layers, {"format": "pt", "epoch": "3", "notes": '{"é": [1, 2]}\n'}),
    "nothing": (dict, None),
}


def written(label: str) -> tuple[bytes, dict[str, torch.Tensor]]:
    make, metadata = FILES[label]
    tensors = make()
    return save(tensors, metadata), tensors


class TestTheLibrary(FormatContract):
    """The contract again, over files of the real library, which is the independent reader."""

    name = "safetensors"

    def samples(self) -> dict[str, Sample]:
        samples = {}
        for label in FILES:
            data, tensors = written(label)
            expected = {
                name: Tensor(DTYPES[tensor.dtype], tuple(tensor.shape), raw(tensor))
                for name, tensor in tensors.items()
            }
            samples[label] = Sample(data, expected)
        return samples


@pytest.mark.parametrize("label", FILES)
def test_the_file_comes_back_byte_for_byte(repo: Repo, label: str) -> None:
    data, tensors = written(label)
    path = repo.write("model.safetensors", data)
    repo.commit()
    assert pointers.parse(repo.blob("HEAD:model.safetensors")).format == "safetensors"
    assert repo.status() == ""
    path.unlink()
    repo.git("checkout", "--", "model.safetensors")
    assert path.read_bytes() == data
    assert repo.status() == ""
    back = load_file(path)
    assert back.keys() == tensors.keys()
    assert all(raw(back[name]) == raw(tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize("label", FILES)
def test_every_tensor_of_the_pointer_is_the_librarys_own(repo: Repo, label: str) -> None:
    data, tensors = written(label)
    repo.write("model.safetensors", data)
    repo.commit()
    model = git_nn.open(repo.path, "HEAD", "model.safetensors")
    assert set(model) == set(tensors)
    for name, tensor in tensors.items():
        array = model[name]
        assert (array.shape, array.tobytes()) == (tuple(tensor.shape), raw(tensor)), name


def test_structure_is_the_metadata_that_the_library_reads(tmp_path: Path) -> None:
    data, _ = written("much metadata")
    (tmp_path / "m").write_bytes(data)
    with safe_open(tmp_path / "m", "pt") as file:
        assert table.structure("safetensors", BytesSource(data)) == {"metadata": file.metadata()}


def test_added_removed_and_resized_tensors_merge(repo: Repo) -> None:
    base = layers()
    repo.write("model.safetensors", save(base, {"format": "pt"}))
    repo.commit("base")
    repo.git("switch", "-q", "-c", "theirs")
    grown = {**base, "layers.5.weight": torch.ones(9, 9), "new": torch.zeros(2)}
    del grown["scalar"]
    repo.write("model.safetensors", save(grown, {"format": "pt"}))
    repo.commit("theirs")
    repo.git("switch", "-q", "main")
    changed = {**base, "layers.7.weight": base["layers.7.weight"] * 2}
    repo.write("model.safetensors", save(changed, {"format": "pt"}))
    repo.commit("ours")
    repo.git("merge", "-q", "-m", "merged", "theirs")
    found = load_file(repo.path / "model.safetensors")
    wanted = {**grown, "layers.7.weight": changed["layers.7.weight"]}
    assert found.keys() == wanted.keys()
    assert all(raw(found[name]) == raw(tensor) for name, tensor in wanted.items())
    assert repo.status() == ""


def test_packed_nibbles_are_counted_in_elements(repo: Repo) -> None:
    codes = torch.arange(32, dtype=torch.uint8).reshape(4, 8)
    data = save({"w": codes.view(torch.float4_e2m1fn_x2)})
    (payload,) = table.detect(BytesSource(data)).payloads
    assert (payload.dtype, payload.shape) == ("f4_e2m1", (4, 16))
    path = repo.write("model.safetensors", data)
    repo.commit()
    path.unlink()
    repo.git("checkout", "--", "model.safetensors")
    assert path.read_bytes() == data
    assert repo.status() == ""


@pytest.mark.parametrize(("kind", "dtype"), [("F6_E2M3", "f6_e2m3"), ("F6_E3M2", "f6_e3m2")])
def test_six_bit_numbers_are_what_the_library_reads(kind: str, dtype: str) -> None:
    """torch has no such type, so the file is written by hand and read by the library."""
    packed = bytes(range(24))
    header = json.dumps({"w": {"dtype": kind, "shape": [4, 8], "data_offsets": [0, 24]}}).encode()
    header += b" " * (-len(header) % 8)
    data = len(header).to_bytes(8, "little") + header + packed
    ((name, spec),) = deserialize(data)
    (payload,) = table.detect(BytesSource(data)).payloads
    assert (payload.name, list(payload.shape), payload.dtype) == (name, spec["shape"], dtype)
    (extent,) = payload.extents
    assert data[extent.offset : extent.stop] == bytes(spec["data"])
    assert spec["dtype"] == kind


def quantised() -> dict[str, torch.Tensor]:
    """One layer as GPTQ, AWQ and bitsandbytes pack it, and a LoRA adapter of it."""
    torch.manual_seed(4)

    def integers(*shape: int, dtype: torch.dtype = torch.int32) -> torch.Tensor:
        return torch.randint(0, 127, shape).to(dtype)

    state = list(b'{"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [64, 32]}')
    return {
        "gptq.qweight": integers(8, 32), "gptq.qzeros": integers(1, 4),
        "gptq.scales": torch.rand(1, 32).half(), "gptq.g_idx": integers(64),
        "awq.qweight": integers(64, 4), "awq.qzeros": integers(1, 4),
        "awq.scales": torch.rand(1, 32).half(),
        "bnb.weight": integers(1024, 1, dtype=torch.uint8),
        "bnb.weight.absmax": torch.rand(32), "bnb.weight.quant_map": torch.rand(16),
        "bnb.weight.quant_state.bitsandbytes__nf4": torch.tensor(state, dtype=torch.uint8),
        "base_model.model.q_proj.lora_A.weight": torch.rand(8, 64).bfloat16(),
        "base_model.model.q_proj.lora_B.weight": torch.zeros(32, 8).bfloat16(),
    }  # fmt: skip


def test_quantised_weights_and_adapters_are_ordinary_tensors(repo: Repo) -> None:
    tensors = quantised()
    repo.write("adapter_model.safetensors", save(tensors, {"format": "pt"}))
    repo.commit()
    model = git_nn.open(repo.path, "HEAD", "adapter_model.safetensors")
    assert set(model) == set(tensors)
    for name, tensor in tensors.items():
        assert (model[name].shape, model[name].tobytes()) == (tuple(tensor.shape), raw(tensor))
    before = pointers.parse(repo.blob("HEAD:adapter_model.safetensors"))
    tensors["gptq.scales"] = tensors["gptq.scales"] * 2
    repo.write("adapter_model.safetensors", save(tensors, {"format": "pt"}))
    repo.commit()
    after = pointers.parse(repo.blob("HEAD:adapter_model.safetensors"))
    assert before.skeleton == after.skeleton
    assert {n for n in before.stored if before.stored[n] != after.stored[n]} == {"gptq.scales"}


def test_the_index_of_a_sharded_model_is_left_to_git(repo: Repo) -> None:
    names = sorted(layers())
    shards = {f"model-0000{i + 1}-of-00002.safetensors": names[i::2] for i in range(2)}
    for shard, held in shards.items():
        repo.write(shard, save({name: layers()[name] for name in held}))
    index = {"metadata": {"total_size": 1}, "weight_map": {
        name: shard for shard, held in shards.items() for name in held
    }}  # fmt: skip
    text = json.dumps(index, indent=2).encode()
    repo.write("model.safetensors.index.json", text)
    repo.commit()
    assert repo.blob("HEAD:model.safetensors.index.json") == text
    found = {
        name: shard
        for shard in shards
        for name in pointers.parse(repo.blob(f"HEAD:{shard}")).stored
    }
    assert found == index["weight_map"]


def test_a_save_with_metadata_in_another_order_stores_the_header_again(repo: Repo) -> None:
    metadata = {f"key {i}": str(i) for i in range(8)}
    skeletons = set()
    entries = set()
    for _ in range(40):  # the library's order is that of a hash map with a random seed
        repo.write("m.safetensors", save(layers(), metadata))
        repo.git("add", "m.safetensors")
        pointer = pointers.parse(repo.blob(":m.safetensors"))
        skeletons.add(pointer.skeleton)
        entries.add(pointer.entries)
        if len(skeletons) > 1:
            break
    assert len(entries) == 1
    assert len(skeletons) == 2
