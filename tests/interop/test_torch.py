"""Files that torch writes, through git and back, and what the pointer says about them."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import git_nn
from git_nn.formats import table
from git_nn.formats.base import BytesSource
from git_nn.formats.pickle_ops import scan
from git_nn.objects import pointer as pointers
from git_nn.objects.layout import Payload
from tests.contract.format_contract import FormatContract, Sample, Tensor
from tests.support import torch_file
from tests.support.git import Repo
from tests.support.torch_file import archive

pytestmark = pytest.mark.interop

DTYPES = {
    torch.float64: "f64", torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16",
    torch.float8_e4m3fn: "f8_e4m3fn", torch.float8_e5m2: "f8_e5m2",
    torch.float8_e4m3fnuz: "f8_e4m3fnuz", torch.float8_e5m2fnuz: "f8_e5m2fnuz",
    torch.float8_e8m0fnu: "f8_e8m0",
    torch.int64: "i64", torch.int32: "i32", torch.int16: "i16", torch.int8: "i8",
    torch.uint64: "u64", torch.uint32: "u32", torch.uint16: "u16", torch.uint8: "u8",
    torch.bool: "bool", torch.complex64: "c64", torch.complex128: "c128",
}  # fmt: skip


class Net(torch.nn.Module):
    """Tied weights, a buffer, normalisation and a list of modules."""

    def __init__(self) -> None:
        super().__init__()
        self.emb = torch.nn.Embedding(11, 6)
        self.blocks = torch.nn.ModuleList([torch.nn.Linear(6, 6) for _ in range(3)])
        self.norm = torch.nn.BatchNorm1d(6)
        self.out = torch.nn.Linear(6, 11, bias=False)
        self.out.weight = self.emb.weight
        self.register_buffer("mask", torch.full((3, 3), float("-inf")).triu(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.emb(x)
        for block in self.blocks:
            x = torch.relu(block(x))
        return self.out(self.norm(x))


def trained(steps: int = 2) -> tuple[Net, torch.optim.Optimizer]:
    torch.manual_seed(3)
    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        net(torch.randint(0, 11, (8,))).square().mean().backward()
        optimizer.step()
    return net, optimizer


def state_dict() -> Any:
    return trained()[0].state_dict()


def checkpoint() -> Any:
    net, optimizer = trained()
    return {
        "epoch": 2, "model": net.state_dict(), "optimizer": optimizer.state_dict(),
        "best": 0.25, "classes": {0: "cat", 1: "dog"},
    }  # fmt: skip


def views() -> Any:
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    flat = torch.randn(30)
    return {
        "base": base, "transposed": base.t(), "rows": base[1:3], "steps": base[::2, 1::2],
        "same": base.view(-1), "expanded": torch.randn(1, 3).expand(5, 3),
        "channels_last": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
        "first": flat[:10].view(2, 5), "second": flat[10:], "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 4), "bf16": torch.randn(8).to(torch.bfloat16)[1:7:2],
    }  # fmt: skip


def dtypes() -> Any:
    return {
        str(dtype): torch.randint(0, 2, (2, 3)).to(dtype)
        if dtype is torch.bool
        else (torch.rand(2, 3) * 100).to(dtype)
        for dtype in DTYPES
    }


def parameters() -> Any:
    net, _ = trained()
    return {"list": [*net.parameters()], "tuple": (torch.ones(2), {"deep": torch.zeros(3)})}


WRITERS = [state_dict, checkpoint, views, dtypes, parameters]


def walk(value: Any, path: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Tensors of a loaded checkpoint by path: told by torch alone."""
    prefix = f"{path}." if path else ""
    if isinstance(value, torch.Tensor):
        yield path, value.detach()
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from walk(item, f"{prefix}{key}")
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from walk(item, f"{prefix}{i}")


def raw(tensor: torch.Tensor) -> bytes:
    flat = tensor.contiguous().reshape(-1)
    return bytes(flat.view(torch.uint8).numpy()) if flat.numel() else b""


def saved(value: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def loaded(data: bytes) -> Any:
    return torch.load(io.BytesIO(data), weights_only=True)


def expected(data: bytes) -> dict[str, Tensor]:
    return {
        name: Tensor(DTYPES[tensor.dtype], tuple(tensor.shape), raw(tensor))
        for name, tensor in walk(loaded(data))
    }


class TestTorchItself(FormatContract):
    """The contract again, over files of the real library, which is the independent reader."""

    name = "torch"
    truncations = 100
    mutations = 100

    def samples(self) -> dict[str, Sample]:
        files = {write.__name__: saved(write()) for write in WRITERS}
        return {label: Sample(data, expected(data), only=False) for label, data in files.items()}


@pytest.mark.parametrize("write", WRITERS)
def test_the_file_comes_back_byte_for_byte(repo: Repo, write: Callable[[], Any]) -> None:
    path = repo.path / "model.pt"
    torch.save(write(), path)
    data = path.read_bytes()
    repo.commit()
    assert pointers.parse(repo.blob("HEAD:model.pt")).format == "torch"
    assert repo.status() == ""
    path.unlink()
    repo.git("checkout", "--", "model.pt")
    assert path.read_bytes() == data
    assert repo.status() == ""
    before = dict(walk(loaded(data)))
    after = dict(walk(torch.load(path, weights_only=True)))
    assert before.keys() == after.keys()
    assert all(raw(before[name]) == raw(after[name]) for name in before)


@pytest.mark.parametrize("write", WRITERS)
def test_every_tensor_of_the_pointer_is_torchs_own(repo: Repo, write: Callable[[], Any]) -> None:
    torch.save(write(), repo.path / "model.pt")
    data = repo.read("model.pt")
    repo.commit()
    tensors = git_nn.open(repo.path, "HEAD", "model.pt")
    wanted = expected(data)
    assert {name for name in tensors if not name.startswith("storage:")} == set(wanted)
    for name, tensor in wanted.items():
        array = tensors[name]
        assert (array.shape, array.tobytes()) == (tensor.shape, tensor.data), name


def test_tied_weights_are_stored_once() -> None:
    layout = table.detect(BytesSource(saved(state_dict())))
    assert "emb.weight" in {payload.name for payload in layout.payloads}
    assert {view.name: view.payload for view in layout.views} == {"out.weight": "emb.weight"}


def test_a_whole_module_has_the_names_of_its_state_dict(repo: Repo) -> None:
    net, _ = trained()
    torch.save(net, repo.path / "model.pt")
    data = repo.read("model.pt")
    repo.commit()
    (repo.path / "model.pt").unlink()
    repo.git("checkout", "--", "model.pt")
    assert repo.read("model.pt") == data
    layout = table.detect(BytesSource(data))
    found = {tensor.name for tensor in (*layout.payloads, *layout.views)}
    assert found == set(net.state_dict())
    tensors = git_nn.open(repo.path, "HEAD", "model.pt")
    for name, tensor in net.state_dict().items():
        assert tensors[name].tobytes() == raw(tensor), name


def test_torchscript_files_are_read_by_name(tmp_path: Path) -> None:
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    path = tmp_path / "script.pt"
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        torch.jit.script(net).save(str(path))
    data = path.read_bytes()
    layout = table.detect(BytesSource(data))
    assert layout.format == "torch"
    found = {payload.name: payload for payload in layout.payloads}
    assert set(found) == set(net.state_dict())
    for name, tensor in net.state_dict().items():
        assert stored(found[name], data) == raw(tensor)


def stored(payload: Payload, data: bytes) -> bytes:
    return b"".join(data[extent.offset : extent.stop] for extent in payload.extents)


def test_the_literal_bytes_of_two_epochs_are_the_same(
    tmp_path: Path,
) -> None:
    files = []
    for steps in (2, 3):
        torch.save(trained(steps)[0].state_dict(), tmp_path / "model.pt")
        files.append((tmp_path / "model.pt").read_bytes())
    first, second = (table.detect(BytesSource(data)) for data in files)
    assert first == second
    covered = bytearray(first.size)
    for extent in (extent for payload in first.payloads for extent in payload.extents):
        covered[extent.offset : extent.stop] = b"\1" * extent.length
    for checksum in first.checksums:
        covered[checksum.offset : checksum.offset + 4] = b"\1" * 4
    for chain in first.chains:
        covered[chain.offset : chain.offset + 20] = b"\1" * 20
    assert files[0] != files[1]
    assert [i for i, c in enumerate(covered) if not c and files[0][i] != files[1][i]] == []


def test_other_weights_merge_layer_by_layer(repo: Repo) -> None:
    path = repo.path / "model.pt"
    base = trained()[0].state_dict()
    torch.save(base, path)
    repo.commit("base")
    ours = {**base, "blocks.0.weight": base["blocks.0.weight"] + 1}
    theirs = {**base, "blocks.2.bias": base["blocks.2.bias"] - 2}
    repo.git("switch", "-q", "-c", "theirs")
    torch.save(type(base)(theirs), path)
    repo.commit("theirs")
    repo.git("switch", "-q", "main")
    torch.save(type(base)(ours), path)
    repo.commit("ours")
    repo.git("merge", "-q", "-m", "merged", "theirs")
    merged = torch.load(path, weights_only=True)
    for name, tensor in base.items():
        wanted = ours if name == "blocks.0.weight" else theirs
        assert raw(merged[name]) == raw(wanted.get(name, tensor)), name
    assert repo.status() == ""
    with zipfile.ZipFile(path) as file:
        assert file.testzip() is None


def test_only_data_is_safe() -> None:
    assert scan(BytesSource(saved(checkpoint()))) == []
    assert scan(BytesSource(saved(views()))) == []
    assert scan(BytesSource(saved(dtypes()))) == []
    found = scan(BytesSource(saved(trained()[0])))
    assert "torch.nn.modules.linear Linear" in found


def test_the_writer_of_the_unit_tests_writes_what_torch_writes() -> None:
    data = saved(checkpoint())
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        members = {info.filename: file.read(info) for info in file.infolist()}
    assert archive(members) == data


def legacy(value: Any) -> bytes:
    """What torch.save writes when told to write as before 1.6."""
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


class TestTorchLegacyItself(FormatContract):
    """The contract over files as the real library wrote them before 1.6."""

    name = "torch-legacy"
    truncations = 60
    mutations = 60

    def samples(self) -> dict[str, Sample]:
        """torch 2.13 cannot load old files of its newest dtypes: new files tell the values."""
        values = {write.__name__: write() for write in WRITERS}
        return {
            label: Sample(legacy(value), expected(saved(value)), only=False)
            for label, value in values.items()
        }


@pytest.mark.parametrize("write", WRITERS)
def test_old_files_have_the_tensors_of_new_ones(repo: Repo, write: Callable[[], Any]) -> None:
    value = write()
    data = legacy(value)
    repo.write("old.pt", data)
    repo.commit()
    (repo.path / "old.pt").unlink()
    repo.git("checkout", "--", "old.pt")
    assert repo.read("old.pt") == data
    assert scan(BytesSource(data)) == []
    old, new = (table.detect(BytesSource(file)) for file in (data, saved(value)))
    assert {(p.name, p.dtype, p.shape) for p in old.payloads} == {
        (p.name, p.dtype, p.shape) for p in new.payloads
    }
    assert set(old.views) == set(new.views)


def test_a_whole_module_of_before_1_6_has_the_names_of_its_state_dict() -> None:
    net, _ = trained()
    data = legacy(net)
    layout = table.detect(BytesSource(data))
    assert {tensor.name for tensor in (*layout.payloads, *layout.views)} == set(net.state_dict())
    found = table.structure("torch-legacy", BytesSource(data))
    assert found["class"].endswith("Net")
    assert found["_modules"]["norm"]["num_features"] == 6
    assert any(name.endswith(" Net") for name in scan(BytesSource(data)))


def test_the_writer_of_the_unit_tests_writes_what_torch_wrote() -> None:
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.arange(4)}
    stores = {
        name: torch_file.S(str(i), DTYPES[tensor.dtype], raw(tensor))
        for i, (name, tensor) in enumerate(tensors.items())
    }
    value = {
        name: torch_file.tensor(stores[name], tuple(tensor.shape))
        for name, tensor in tensors.items()
    }
    read = loaded(torch_file.save_legacy(value, keys={"0": "7", "1": "3"}))
    assert {name: raw(tensor) for name, tensor in read.items()} == {
        name: raw(tensor) for name, tensor in tensors.items()
    }


def test_flat_parameters_are_one_payload_for_each_tensor(repo: Repo) -> None:
    flat = torch.randn(60)
    parts = {"w": flat[:50].view(5, 10), "b": flat[50:57], "g": flat[57:]}
    for name, data in (("new.pt", saved(parts)), ("old.pt", legacy(parts))):
        layout = table.detect(BytesSource(data))
        assert {p.name: stored(p, data) for p in layout.payloads} == {
            name: raw(tensor) for name, tensor in parts.items()
        }
        assert layout.views == ()
        repo.write(name, data)
    repo.commit()
    for name in ("new.pt", "old.pt"):
        data = repo.read(name)
        (repo.path / name).unlink()
        repo.git("checkout", "--", name)
        assert repo.read(name) == data


def odd_tensors() -> Any:
    quantised = torch.quantize_per_tensor(torch.randn(4, 5), 0.1, 3, torch.qint8)
    channels = torch.quantize_per_channel(
        torch.randn(3, 5), torch.rand(3) + 0.1, torch.zeros(3, dtype=torch.int64), 0, torch.quint8
    )
    return {
        "sparse": torch.eye(5).to_sparse(), "csr": torch.eye(4).to_sparse_csr(),
        "quantised": quantised, "channels": channels,
        "conjugated": torch.randn(3, dtype=torch.complex64).conj(),
        "nested": torch.nested.nested_tensor([torch.ones(2, 3), torch.zeros(1, 3)]),
        "parameter": torch.nn.Parameter(torch.randn(3)),
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore")
def test_tensors_of_other_kinds_are_found_in_parts() -> None:
    value = odd_tensors()
    for data in (saved(value), legacy(value)):
        layout = table.detect(BytesSource(data))
        found = {payload.name: stored(payload, data) for payload in layout.payloads}
        sparse = value["sparse"].coalesce()
        assert found["sparse.1.0"] == raw(sparse._indices())
        assert found["sparse.1.1"] == raw(sparse._values())
        assert found["csr.1.2"] == raw(value["csr"].values())
        assert found["quantised"] == raw(value["quantised"].int_repr())
        assert found["channels"] == raw(value["channels"].int_repr())
        assert raw(value["nested"].values()) in found.values()
        assert found["parameter"] == raw(value["parameter"].detach())
        names = {tensor.name for tensor in (*layout.payloads, *layout.views)}
        assert "conjugated" not in names  # its bytes are those of its conjugate
        assert raw(value["conjugated"].conj().resolve_conj()) in found.values()


def test_a_big_endian_file_is_read_as_torch_reads_it() -> None:
    values = torch.arange(6, dtype=torch.float32)
    store = torch_file.S("0", "f32", values.numpy().astype(">f4").tobytes())
    data = torch_file.save({"w": torch_file.tensor(store, (6,))}, byteorder="big")
    assert torch.equal(loaded(data)["w"], values)
    (payload,) = table.detect(BytesSource(data)).payloads
    assert (payload.dtype, stored(payload, data)) == ("f32be", store.data)


def test_a_checkpoint_as_lightning_writes_it() -> None:
    net, optimizer = trained()
    value = {
        "epoch": 4, "global_step": 100, "pytorch-lightning_version": "2.4.0",
        "state_dict": {f"model.{k}": v for k, v in net.state_dict().items()},
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 5}}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'loss'}": {"best_score": torch.tensor(0.5)}},
        "optimizer_states": [optimizer.state_dict()], "lr_schedulers": [],
        "hparams_name": "kwargs", "hyper_parameters": {"lr": 1e-3},
    }  # fmt: skip
    data = saved(value)
    layout = table.detect(BytesSource(data))
    found = {tensor.name for tensor in (*layout.payloads, *layout.views)}
    assert found == set(expected(data))
    assert "optimizer_states.0.state.0.exp_avg" in found
    assert table.structure("torch", BytesSource(data))["hyper_parameters"] == {"lr": 1e-3}


def test_shards_are_files_of_their_own_and_their_index_is_gits(repo: Repo) -> None:
    state = state_dict()
    names = [*state]
    parts = {
        f"pytorch_model-0000{i}-of-00002.bin": {
            name: state[name].clone() for name in names[i - 1 :: 2]
        }
        for i in (1, 2)
    }
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    for file, part in parts.items():
        torch.save(part, repo.path / file)
    repo.write("pytorch_model.bin.index.json", json.dumps(index).encode())
    repo.commit()
    assert repo.blob("HEAD:pytorch_model.bin.index.json").startswith(b'{"weight_map"')
    for file, part in parts.items():
        tensors = git_nn.open(repo.path, "HEAD", file)
        assert {n: tensors[n].tobytes() for n in tensors} == {n: raw(t) for n, t in part.items()}


def test_the_same_weights_under_another_name_are_the_same_tensors(tmp_path: Path) -> None:
    found = []
    for name in ("epoch_1.pt", "epoch_2.pt"):
        torch.save(checkpoint(), tmp_path / name)
        data = (tmp_path / name).read_bytes()
        layout = table.detect(BytesSource(data))
        found.append({payload.name: stored(payload, data) for payload in layout.payloads})
    assert found[0] == found[1]
