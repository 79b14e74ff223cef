"""git nn align on versions in Git: what it writes, what it says, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.branches import Branches
from tests.support.git import Repo
from tests.support.models import normal, safetensors_file

FILE = "model.safetensors"
Tensors = dict[str, np.ndarray]


def network(seed: int) -> Tensors:
    return {
        "0.weight": normal(seed, 16, 4), "0.bias": normal(seed + 1, 16),
        "2.weight": normal(seed + 2, 3, 16), "2.bias": normal(seed + 3, 3),
    }  # fmt: skip


def reordered(tensors: Tensors, order: np.ndarray) -> Tensors:
    return tensors | {
        "0.weight": tensors["0.weight"][order],
        "0.bias": tensors["0.bias"][order],
        "2.weight": tensors["2.weight"][:, order],
    }


ORDER = np.random.default_rng(7).permutation(16)


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    """Two branches of two trainings; on side the neurons stand in another order."""
    ours = network(1)
    theirs = reordered({name: array * np.float32(2) for name, array in ours.items()}, ORDER)
    metadata = {"epoch": "3"}
    start = safetensors_file({name: array * 0 for name, array in ours.items()})
    side = safetensors_file(theirs, metadata)
    return Branches.create(tmp_path / "repo", start, safetensors_file(ours), side, name=FILE).repo


def test_the_result_is_theirs_in_our_order(repo: Repo) -> None:
    said = repo.nn("align", FILE, f"side:{FILE}", "-o", "aligned.safetensors").text
    scaled = {name: array * np.float32(2) for name, array in network(1).items()}
    assert repo.read("aligned.safetensors") == safetensors_file(scaled, {"epoch": "3"})
    assert said.startswith("read as: 0 -> 2\n  0  ")
    moved = int(np.count_nonzero(np.arange(16) != ORDER))
    assert f"{moved} of 16 moved, matched" in said
    assert "-> 1.0000" in said


def test_an_aligned_training_merges_where_it_did_not(repo: Repo) -> None:
    repo.nn("align", f"main:{FILE}", f"side:{FILE}", "-o", "aligned.safetensors")
    aligned = repo.read("aligned.safetensors")
    repo.git("switch", "-q", "side")
    (repo.path / "aligned.safetensors").unlink()
    repo.write(FILE, aligned)
    repo.commit("align")
    repo.git("switch", "-q", "main")
    repo.git("merge", "-q", "--no-edit", "side", env={"GIT_NN_MERGE": "mean"})
    mean = {name: array * np.float32(1.5) for name, array in network(1).items()}
    assert repo.read(FILE)[-mean["2.bias"].nbytes :] == mean["2.bias"].tobytes()
    assert mean["0.weight"].tobytes() in repo.read(FILE)


def test_an_order_that_is_there_bit_for_bit_is_told_as_json(repo: Repo) -> None:
    repo.write("other.safetensors", safetensors_file(reordered(network(1), ORDER)))
    found = json.loads(repo.nn("align", FILE, "other.safetensors", "--json").out)
    assert found["schema"] == "git-nn align 1"
    assert found["row"] == ["0", "2"]
    assert found["units"][0]["exact"] is True
    assert found["cosine"]["after"] == pytest.approx(1)
    assert found["cosine"]["before"] < 0.7
    assert not list(repo.path.glob("*align*"))


def test_units_that_a_person_wrote_reorder_compressed_keras_kernels(tmp_path: Path) -> None:
    repo = Repo.create(tmp_path / "repo")
    kernel, reader = normal(1, 300, 16), normal(2, 16, 300)
    for name, order in (("a.h5", np.arange(16)), ("b.h5", ORDER)):
        with h5py.File(repo.path / name, "w") as file:
            file.create_dataset("dense/kernel", data=kernel[:, order], compression="gzip")
            file["last/kernel"] = reader[order]
    repo.write("units.toml", b'[hidden]\nplaces = ["dense/kernel:1", "last/kernel:0"]\n')
    repo.nn("align", "a.h5", "b.h5", "--units", "units.toml", "-o", "c.h5")
    with h5py.File(repo.path / "c.h5") as file:
        assert (file["dense/kernel"][:] == kernel).all()
        assert (file["last/kernel"][:] == reader).all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"2.bias": None}, "only one side has the tensor 2.bias"),
        ({"2.bias": normal(1, 4)}, "two shapes, 3 and 4"),
    ],
)
def test_two_networks_are_refused(
    repo: Repo, change: dict[str, np.ndarray | None], said: str
) -> None:
    other = {name: a for name, a in (network(2) | change).items() if a is not None}
    repo.write("other.safetensors", safetensors_file(other))
    result = repo.nn("align", FILE, "other.safetensors", "-o", "out.safetensors", code=2)
    assert said in result.errors
    assert not (repo.path / "out.safetensors").exists()


def test_what_exists_is_not_overwritten(repo: Repo) -> None:
    before = repo.read(FILE)
    assert "exists" in repo.nn("align", FILE, f"side:{FILE}", "-o", FILE, code=2).errors
    assert repo.read(FILE) == before


def test_layers_in_no_row_are_a_question_to_the_person(repo: Repo) -> None:
    repo.write(
        "odd.safetensors",
        safetensors_file({"a.weight": normal(1, 4, 3), "b.weight": normal(1, 4, 3)}),
    )
    result = repo.nn("align", "odd.safetensors", "odd.safetensors", code=2)
    assert "--units" in result.errors
