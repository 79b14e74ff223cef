"""git merge of torch files whose containers differ although their tensors are called alike."""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.support.branches import Branches
from tests.support.git import Repo
from tests.support.torch_file import S, ordered, save, save_legacy, tensor

MODEL = "model.pt"
LINE = "*.pt filter=nn diff=nn merge=nn -text\n"
NAMES = ("embed", "layers.0.weight", "layers.1.weight", "head")

Weights = Mapping[str, bytes]


def weights(**seeds: int) -> Weights:
    """The bytes of four f32 tensors of 16x8; ``seeds`` for those that differ."""
    plain = {name.replace(".", "_"): i for i, name in enumerate(NAMES)} | seeds
    return {name: random.Random(plain[name.replace(".", "_")]).randbytes(512) for name in NAMES}


def zipped(values: Weights, stem: str) -> bytes:
    """Saved as STEM.pt, which the archive's folder is called after."""
    stores = {name: S(str(i), "f32", data) for i, (name, data) in enumerate(values.items())}
    return save(ordered({name: tensor(s, (16, 8)) for name, s in stores.items()}), root=stem)


def legacy(values: Weights, stem: str) -> bytes:
    """Saved by another process: the storages have other addresses, and another order."""
    stores = {name: S(str(i), "f32", data) for i, (name, data) in enumerate(values.items())}
    order = random.Random(stem).sample(range(1000, 9999), len(stores))
    keys = {str(i): str(address) for i, address in enumerate(order)}
    value = ordered({name: tensor(s, (16, 8)) for name, s in stores.items()})
    return save_legacy(value, keys=keys)


def read_zipped(data: bytes) -> Weights:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        assert file.testzip() is None
        (root,) = {name.split("/")[0] for name in file.namelist()}
        return {name: file.read(f"{root}/data/{i}") for i, name in enumerate(NAMES)}


def merged(tmp_path: Path, base: bytes, ours: bytes, theirs: bytes) -> tuple[Repo, str]:
    repo = Branches.create(tmp_path / "repo", base, ours, theirs, name=MODEL, attributes=LINE).repo
    done = repo.git("merge", "--no-edit", "side")
    assert repo.status() == ""
    return repo, done.errors


def test_files_with_other_archive_names_merge_by_tensor(tmp_path: Path) -> None:
    base, ours = zipped(weights(), "start"), zipped(weights(embed=50), "epoch_1")
    theirs = zipped(weights(layers_1_weight=51, head=52), "epoch_2")
    repo, said = merged(tmp_path, base, ours, theirs)
    expected = weights(embed=50, layers_1_weight=51, head=52)
    assert read_zipped(repo.read(MODEL)) == expected
    assert repo.read(MODEL) == zipped(expected, "epoch_1")
    assert "1 tensor from ours, 2 from theirs" in said
    assert "both sides changed the container; ours is kept" in said
    (repo.path / MODEL).unlink()
    repo.git("checkout", "--", MODEL)
    assert repo.read(MODEL) == zipped(expected, "epoch_1")


def test_the_archive_name_that_one_side_changed_is_kept(tmp_path: Path) -> None:
    base, ours = zipped(weights(), "model"), zipped(weights(embed=50), "model")
    theirs = zipped(weights(head=52), "epoch_2")
    repo, said = merged(tmp_path, base, ours, theirs)
    assert repo.read(MODEL) == zipped(weights(embed=50, head=52), "epoch_2")
    assert "container" not in said


def test_files_of_before_1_6_merge_by_tensor_whatever_their_addresses(tmp_path: Path) -> None:
    base, ours = legacy(weights(), "a"), legacy(weights(embed=50), "b")
    theirs = legacy(weights(layers_0_weight=51), "c")
    repo, _ = merged(tmp_path, base, ours, theirs)
    assert b"layout torch-legacy 1\n" in repo.blob(f"HEAD:{MODEL}")
    assert repo.read(MODEL) == legacy(weights(embed=50, layers_0_weight=51), "b")


def test_tensors_that_both_sides_added_are_in_a_new_file(tmp_path: Path) -> None:
    """By another script each, with an epoch beside the weights; theirs renamed a tensor, too."""

    def file(values: Weights, epoch: int, stem: str) -> bytes:
        stores = {name: S(str(i), "f32", data) for i, (name, data) in enumerate(values.items())}
        state = ordered({name: tensor(s, (16, 8)) for name, s in stores.items()})
        return save({"epoch": epoch, "model": state}, root=stem)

    plain, more = weights(), [random.Random(seed).randbytes(512) for seed in (60, 61)]
    ours = {**plain, "mine": more[0]}
    theirs = {"renamed" if name == "head" else name: data for name, data in plain.items()}
    repo, said = merged(
        tmp_path, file(plain, 1, "a"), file(ours, 2, "b"), file({**theirs, "new": more[1]}, 1, "c")
    )
    assert "theirs renamed" in said
    with zipfile.ZipFile(io.BytesIO(repo.read(MODEL))) as found:
        assert found.testzip() is None
        assert {name.split("/")[0] for name in found.namelist()} == {"b"}
        data = [found.read(name) for name in found.namelist() if name.startswith("b/data/")]
    assert sorted(data) == sorted([*plain.values(), *more])
    assert "model.mine" in repo.nn("ls", MODEL).text
    assert repo.nn("ls", MODEL).text.count("f32  16x8") == 6
    (repo.path / MODEL).unlink()
    repo.git("checkout", "--", MODEL)
    assert repo.status() == ""


@pytest.mark.parametrize("write", [zipped, legacy])
def test_the_same_weights_saved_anew_cost_their_container_only(
    repo: Repo, write: Callable[[Weights, str], bytes]
) -> None:
    repo.write(MODEL, write(weights(), "epoch_1"))
    repo.commit()
    before = objects(repo)
    repo.write(MODEL, write(weights(), "epoch_2"))
    repo.commit()
    added = objects(repo) - before
    print(f"{write.__name__}: {added} of {len(repo.read(MODEL))} bytes are new in the store")
    assert 0 < added < 1500  # a skeleton; the tensors have 2048 bytes
    changed = repo.git("diff", "-U0", "HEAD~", "HEAD", "--no-ext-diff", "--no-textconv").text
    assert [line for line in changed.splitlines() if line.startswith(("+tensor", "+  "))] == []


def objects(repo: Repo) -> int:
    """Bytes of the packs in the store, their indexes not counted."""
    return sum(file.stat().st_size for file in (repo.path / ".git/nn/packs").rglob("*.nnp"))
