"""Rows of one tensor on two branches, through the real git."""

from __future__ import annotations

import io
from pathlib import Path

import h5py
import numpy as np

from tests.support.branches import MODEL, Branches
from tests.support.git import Repo
from tests.support.models import h5_arrays, h5_file, normal, safetensors_file

EMBED = "embed_tokens.weight"
TABLE = normal(1, 300, 9, dtype=np.float16)


def changed(array: np.ndarray, *rows: int) -> np.ndarray:
    made = array.copy()
    for row in rows:
        made[row] = np.arange(9) + row
    return made


def model(table: np.ndarray, **more: np.ndarray) -> bytes:
    return safetensors_file({EMBED: table, "norm": normal(2, 9)} | more)


OURS, THEIRS = changed(TABLE, 0, 17, 299), changed(TABLE, 3, 18)
BOTH = changed(TABLE, 0, 3, 17, 18, 299)


def content(repo: Repo, name: str = MODEL) -> bytes:
    return (repo.path / name).read_bytes()


def test_different_rows_of_an_embedding_merge_to_the_byte(tmp_path: Path) -> None:
    branches = Branches.create(tmp_path / "r", model(TABLE), model(OURS), model(THEIRS))
    done = branches.repo.git("merge", "--no-edit", "side")
    assert content(branches.repo) == model(BOTH)
    assert f"tensor {EMBED}: 3 rows from ours, 2 from theirs" in done.errors
    assert branches.repo.status() == ""


def test_rows_that_both_changed_are_named_and_can_be_settled(tmp_path: Path) -> None:
    theirs = changed(THEIRS, 299) * 1
    theirs[299] += 1
    branches = Branches.create(tmp_path / "r", model(TABLE), model(OURS), model(theirs))
    done = branches.repo.git("merge", "--no-edit", "side", code=1)
    assert "changed on both sides; both changed 1 of 300 rows: 299" in done.errors
    assert content(branches.repo) == model(OURS)
    branches.repo.nn("resolve", "--theirs")
    assert content(branches.repo) == model(theirs)
    branches.repo.git("commit", "-q", "--no-edit")
    assert branches.repo.status() == ""


def test_the_setting_asks_for_whole_tensors_or_for_elements(tmp_path: Path) -> None:
    ours, theirs = TABLE.copy(), TABLE.copy()
    ours[5, 1], theirs[5, 2] = 1, 2
    expected = TABLE.copy()
    expected[5, 1:3] = 1, 2
    branches = Branches.create(tmp_path / "r", model(TABLE), model(ours), model(theirs))
    repo = branches.repo
    repo.git("config", "nn.merge.ladder", "tensor")
    assert "changed on both sides\n" in repo.git("merge", "--no-edit", "side", code=1).errors
    repo.git("merge", "--abort")
    repo.git("config", "nn.merge.ladder", "elements")
    assert "nn.merge.ladder is 'elements'" in repo.git("merge", "side", code=1).errors
    repo.git("merge", "--abort")
    repo.git("config", "nn.merge.ladder", "element")
    repo.git("merge", "--no-edit", "side")
    assert content(repo) == model(expected)


def test_a_vocabulary_grows_on_one_branch_while_the_other_trains(tmp_path: Path) -> None:
    new = normal(7, 4, 9, dtype=np.float16)
    grown = model(np.concatenate([THEIRS, new]), extra=normal(8, 3))
    branches = Branches.create(tmp_path / "r", model(TABLE), model(OURS, other=normal(9, 2)), grown)
    done = branches.repo.git("merge", "--no-edit", "side")
    assert "3 rows from ours, 2 from theirs, 4 added" in done.errors
    found = content(branches.repo)
    expected = model(np.concatenate([BOTH, new]), other=normal(9, 2), extra=normal(8, 3))
    assert found == expected
    assert branches.repo.status() == ""


def test_resolve_takes_rows_of_both_where_git_merged_without_the_driver(tmp_path: Path) -> None:
    branches = Branches.create(tmp_path / "r", model(TABLE), model(OURS), model(THEIRS))
    repo = branches.repo
    repo.git("-c", "merge.nn.driver=false", "merge", "--no-edit", "side", code=1)
    assert "no tensor is in conflict" in repo.nn("resolve").text
    repo.nn("resolve", "--ours")
    assert content(repo) == model(BOTH)
    repo.git("commit", "-q", "--no-edit")
    assert repo.status() == ""


def test_a_rebase_and_a_cherry_pick_bring_rows(tmp_path: Path) -> None:
    branches = Branches.create(tmp_path / "r", model(TABLE), model(OURS), model(THEIRS))
    repo = branches.repo
    repo.git("switch", "-q", "-c", "picked")
    repo.git("cherry-pick", "side")
    assert content(repo) == model(BOTH)
    repo.git("switch", "-q", "side")
    repo.git("rebase", "main")
    assert content(repo) == model(BOTH)
    repo.git("revert", "--no-edit", "HEAD~1")  # ours goes, in a commit below theirs
    assert content(repo) == model(THEIRS)


def test_a_keras_embedding_merges_by_rows(tmp_path: Path) -> None:
    table = TABLE.astype(np.float32)
    ours, theirs = changed(table, 4, 200), changed(table, 5)

    def file(embedding: np.ndarray) -> bytes:
        values = {
            "embedding/embedding/embeddings": embedding,
            "dense/dense/kernel": normal(3, 9, 2),
            "dense/dense/bias": normal(4, 2),
        }
        return h5_file(values, {"/": {"layer_names": np.array([b"embedding", b"dense"])}})

    name = "model.h5"
    branches = Branches.create(tmp_path / "r", file(table), file(ours), file(theirs), name=name)
    branches.repo.git("merge", "--no-edit", "side")
    found = content(branches.repo, name)
    with h5py.File(io.BytesIO(found)) as merged:
        embedding = merged["embedding/embedding/embeddings"][()]
        assert list(merged.attrs["layer_names"]) == [b"embedding", b"dense"]
    assert embedding.tobytes() == changed(table, 4, 5, 200).tobytes()
    assert h5_arrays(found)["dense/dense/kernel"].tobytes() == normal(3, 9, 2).tobytes()
    assert branches.repo.status() == ""


def test_weights_that_are_not_here_conflict_as_whole_tensors(tmp_path: Path) -> None:
    branches = Branches.create(tmp_path / "r", model(TABLE), model(OURS), model(THEIRS))
    bare = tmp_path / "pointers only"
    branches.repo.git("clone", "-q", "--bare", ".", str(bare))
    other = Repo.create(tmp_path / "other", patterns=())
    other.git("fetch", "-q", str(bare), "main:ours", "side:side")
    (tmp_path / "r").rename(tmp_path / "gone")
    other.git("switch", "-q", "ours")
    done = other.git("merge", "--no-edit", "side", code=1)
    assert "changed on both sides" in done.errors
    assert "rows were not compared: some weights are not on this machine" in done.errors
