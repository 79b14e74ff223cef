"""Fisher-weighted and RegMean in Git's own merges: statistics are read from both sides' commits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support.branches import Branches
from tests.support.git import Repo
from tests.support.models import normal, safetensors_arrays, safetensors_file

MODEL, FISHER, GRAM = (f"models/m.{end}safetensors" for end in ("", "fisher.", "gram."))
SHAPE = (5, 8)
BASE, OURS, THEIRS = ({"w": normal(seed, *SHAPE), "kept": normal(9, 4)} for seed in (1, 2, 3))
INFORMATION = [np.abs(normal(seed, *SHAPE)) + np.float32(0.1) for seed in (4, 5)]
INPUTS = [normal(seed, 20, SHAPE[1]).astype(np.float64) for seed in (6, 7)]
FILES = {
    FISHER: [safetensors_file({"w": values}) for values in INFORMATION],
    GRAM: [safetensors_file({"w": x.T @ x}) for x in INPUTS],
}


def weighted() -> np.ndarray:
    """Fisher merging (Matena and Raffel, equation 4), in doubles."""
    first, second = (values.astype(np.float64) for values in INFORMATION)
    return (first * OURS["w"] + second * THEIRS["w"]) / (first + second)


def regressed() -> np.ndarray:
    """The layer nearest to the outputs of both, by least squares over all inputs."""
    outputs = [x @ side["w"].T for x, side in zip(INPUTS, (OURS, THEIRS), strict=True)]
    return np.linalg.lstsq(np.vstack(INPUTS), np.vstack(outputs), rcond=None)[0].T


def start(folder: Path, *kinds: str, attributes: str = "", renamed: str = "") -> Repo:
    """main and side changed w; each has the statistics in a commit of its own, and is left.

    ``renamed`` is what theirs calls w.
    """
    theirs = {renamed or "w": THEIRS["w"], "kept": BASE["kept"]}
    versions = [safetensors_file(model) for model in (BASE, OURS, theirs)]
    made = Branches.create(folder, *versions, name=MODEL, attributes=attributes)
    for branch, side in (("side", 1), ("main", 0)):
        made.repo.git("switch", "-q", branch)
        for kind in kinds:
            made.put(kind, FILES[kind][side], f"statistics of {branch}")
    return made.repo


def holds(repo: Repo, expected: np.ndarray, path: str = MODEL, name: str = "w") -> None:
    """The model's tensor, to rounding of float32, and a work tree with nothing to commit."""
    found = safetensors_arrays(repo.read(path))
    np.testing.assert_allclose(found[name], expected, rtol=2e-6, atol=1e-6)
    assert found["kept"].tobytes() == BASE["kept"].tobytes()
    assert repo.status() == ""


@pytest.mark.parametrize(
    ("kind", "choice", "expected"),
    [(FISHER, "fisher:floor=0", weighted), (GRAM, "regmean:alpha=1", regressed)],
)
def test_statistics_of_both_sides_weigh_a_merge_that_can_be_made_again(
    tmp_path: Path, kind: str, choice: str, expected: Callable[[], np.ndarray]
) -> None:
    repo = start(tmp_path / "repo", kind)
    foreseen = json.loads(repo.nn("merge", "-s", choice, "--preview", "--json", "side").text)
    becomes = {file["path"]: file["tensors"][0]["becomes"] for file in foreseen["files"]}
    assert becomes[kind] == "mean:weight=0.5"
    assert becomes[MODEL].startswith(choice.partition(":")[0])
    repo.nn("merge", "-q", "-s", choice, "side")
    holds(repo, expected())
    first, second = (safetensors_arrays(data)["w"] for data in FILES[kind])
    found = safetensors_arrays(repo.read(kind))["w"]
    np.testing.assert_allclose(found, (first + second) / 2, rtol=1e-6)
    told = repo.nn("merge", "--replay", "HEAD").text
    assert f"{MODEL}: the same, bit for bit" in told


def test_a_side_without_the_file_is_a_conflict_that_names_it(tmp_path: Path) -> None:
    repo = start(tmp_path / "repo")
    repo.write(FISHER, FILES[FISHER][0])
    repo.commit("statistics")
    told = repo.nn("merge", "-s", "fisher", "side", code=1).errors
    assert "1 tensor in conflict, ours kept" in told
    assert "w  f32 5x8  changed on both sides; side has no models/m.fisher.safetensors" in told
    assert repo.read(MODEL) == safetensors_file(OURS)
    told = repo.nn("resolve", "--strategy", "fisher", code=1).text
    assert "has no models/m.fisher.safetensors, which this strategy needs" in told
    assert repo.git("ls-files", "-u").text.count("\n") == 3
    repo.nn("resolve", "--ours")
    repo.git("commit", "-q", "--no-edit")
    holds(repo, OURS["w"])


def test_statistics_without_the_tensor_are_a_conflict_for_fisher(tmp_path: Path) -> None:
    repo = start(tmp_path / "repo", FISHER)
    repo.write(FISHER, safetensors_file({"other": INFORMATION[0]}))
    repo.commit("of something else")
    told = repo.nn("merge", "-s", "fisher", "side", code=1).errors
    assert "there is no fisher of it on every side" in told
    repo.git("merge", "--abort")
    assert repo.status() == ""


def test_a_conflict_is_settled_by_them_later(tmp_path: Path) -> None:
    repo = start(tmp_path / "repo", FISHER)
    repo.git("merge", "-q", "side", code=1)
    repo.nn("resolve", "--strategy", "fisher:floor=0")
    repo.git("commit", "-q", "--no-edit")
    holds(repo, weighted())


def test_they_are_found_where_git_names_no_commit_and_the_model_was_renamed(tmp_path: Path) -> None:
    """A cherry-pick and a rebase tell a driver nothing, and HEAD has the model elsewhere."""
    repo = start(tmp_path / "repo", FISHER)
    repo.git("switch", "-q", "-c", "picked", "start")
    repo.write(MODEL, safetensors_file(THEIRS))
    repo.write(FISHER, FILES[FISHER][1])
    repo.commit("model and statistics at once")
    repo.git("switch", "-q", "main")
    repo.git("config", "nn.merge.strategy", "fisher:floor=0")
    repo.git("cherry-pick", "picked")
    holds(repo, weighted())
    repo.git("reset", "-q", "--hard", "HEAD^")
    repo.git("mv", MODEL, "models/renamed.safetensors")
    repo.git("mv", FISHER, "models/renamed.fisher.safetensors")
    repo.commit("another name")
    repo.git("rebase", "-q", "--merge", "main", "picked")
    assert repo.git("log", "-1", "--format=%s").text.strip() == "model and statistics at once"
    holds(repo, weighted(), "models/renamed.safetensors")


def test_what_was_measured_later_counts_where_a_commit_of_a_rebase_has_none_yet(
    tmp_path: Path,
) -> None:
    repo = start(tmp_path / "repo", FISHER)
    repo.git("config", "nn.merge.strategy", "fisher:floor=0")
    repo.git("rebase", "-q", "--merge", "main", "side")  # the model, then its statistics
    assert repo.git("rev-list", "--count", "main..side").text.strip() == "2"
    holds(repo, weighted())


def test_what_a_side_renamed_is_weighed_by_what_it_has_under_its_own_name(tmp_path: Path) -> None:
    attributes = "m.safetensors nn-merge=fisher:floor=0\n"
    repo = start(tmp_path / "repo", FISHER, attributes=attributes)
    renamed = {"module.w": OURS["w"], "module.kept": BASE["kept"]}
    plain = {"module.w": BASE["w"], "module.kept": BASE["kept"]}
    repo.write(MODEL, safetensors_file(plain))
    repo.commit("other names")
    repo.write(MODEL, safetensors_file(renamed))
    repo.write(FISHER, safetensors_file({"module.w": INFORMATION[0]}))
    repo.commit("trained on")
    told = repo.git("merge", "--no-edit", "side", code=None)
    assert "ours renamed" in told.errors
    found = safetensors_arrays(repo.read(MODEL))["module.w"]
    np.testing.assert_allclose(found, weighted(), rtol=2e-6, atol=1e-6)
