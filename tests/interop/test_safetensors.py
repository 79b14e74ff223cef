"""Files that the safetensors library writes, through git and back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save

from git_nn import api
from git_nn.formats import safetensors, table
from git_nn.formats.base import BytesSource, Plan
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
    model = api.open_model(repo.path, "model.safetensors", rev="HEAD")
    assert set(model) == set(tensors)
    for name, tensor in tensors.items():
        array = model[name]
        assert (array.shape, array.tobytes()) == (tuple(tensor.shape), raw(tensor)), name


def test_structure_is_the_metadata_that_the_library_reads(tmp_path: Path) -> None:
    data, _ = written("much metadata")
    (tmp_path / "m").write_bytes(data)
    with safe_open(tmp_path / "m", "pt") as file:
        assert table.structure("safetensors", BytesSource(data)) == {"metadata": file.metadata()}


def test_the_library_reads_what_compose_writes(tmp_path: Path) -> None:
    ours, theirs = layers(), every_dtype()
    (tmp_path / "ours").write_bytes(save(ours, {"format": "pt"}))
    (tmp_path / "theirs").write_bytes(save({**theirs, "scalar": torch.ones(7)}))
    merged = torch.full((6, 5), 0.25)
    plan = Plan(
        from_theirs=frozenset({*theirs, "scalar"}),
        removed=frozenset({"layers.3.weight", "é"}),
        replaced={"layers.4.weight": raw(merged)},
    )
    out = tmp_path / "out"
    safetensors.compose(tmp_path / "ours", tmp_path / "theirs", plan, out)
    found = load_file(out)
    wanted = {**ours, **theirs, "scalar": torch.ones(7), "layers.4.weight": merged}
    del wanted["layers.3.weight"], wanted["é"]
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape), name
        assert raw(found[name]) == raw(tensor), name
    with safe_open(out, "pt") as file:
        assert file.metadata() == {"format": "pt"}
    layout = table.detect(BytesSource(out.read_bytes()))
    assert layout.format == "safetensors"


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
