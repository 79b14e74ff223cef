"""git nn merge --preview against the merge that follows, through the real Git."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from git_nn.cli import preview as cli
from git_nn.differences.style import Style, columns
from git_nn.drivers.open import open_repository
from git_nn.merge.strategies import table
from git_nn.preview import measure
from tests.support.branches import MODEL, Branches
from tests.support.models import h5_file, normal, safetensors_arrays, safetensors_file

SHAPE = (24, 16)
NAMES = ("encoder.layer.0.w", "encoder.layer.1.w", "encoder.layer.2.w", "head.w")


def tuned(seed: int, *names: str) -> dict[str, np.ndarray]:
    """A model whose tensors ``names`` were trained a little."""
    found = {name: normal(i, *SHAPE) for i, name in enumerate(NAMES)}
    for i, name in enumerate(names):
        found[name] = found[name] + np.float32(0.1) * normal(seed + i, *SHAPE)
    return found


X = normal(50, 3)
BASE = tuned(0)
OURS = tuned(100, NAMES[0], NAMES[1])
THEIRS = tuned(200, NAMES[1], NAMES[2])


def start(folder: Path, **options: Any) -> Branches:
    """Both branches changed layer 1, and each a layer of its own."""
    made = map(safetensors_file, (BASE, OURS, THEIRS))
    return Branches.create(folder / "repo", *made, **options)


def previewed(
    branches: Branches, capfdbinary: pytest.CaptureFixture[bytes], branch: str = "side"
) -> dict[str, Any]:
    """The preview as JSON; its exit code says whether it is clean."""
    code, out = shown(branches, capfdbinary, branch, as_json=True)
    found: dict[str, Any] = json.loads(out)
    assert found["schema"] == "git-nn preview 1"
    assert code == (0 if found["clean"] else 1)
    return found


def shown(
    branches: Branches,
    capfdbinary: pytest.CaptureFixture[bytes],
    branch: str = "side",
    *,
    as_json: bool = False,
    exact: bool = False,
) -> tuple[int, str]:
    before = Path.cwd()
    os.chdir(branches.path)
    capfdbinary.readouterr()
    try:
        code = cli.show(open_repository(), branch, as_json=as_json, exact=exact)
    finally:
        os.chdir(before)
    return code, capfdbinary.readouterr().out.decode()


def only(found: dict[str, Any]) -> dict[str, Any]:
    (file,) = found["files"]
    return file


def becomes(file: dict[str, Any]) -> dict[str, str]:
    return {tensor["name"]: tensor["becomes"] for tensor in file["tensors"]}


def norm(values: np.ndarray) -> float:
    return math.sqrt(math.fsum((values.astype(np.float64).reshape(-1) ** 2).tolist()))


def snapshot(folder: Path) -> dict[str, str]:
    """Every file below ``folder`` and its content."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# --- numbers ----------------------------------------------------------------------------


def test_numbers_are_those_of_numpy_and_results_those_of_the_merges(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    branches = start(tmp_path)
    file = only(previewed(branches, capfdbinary))
    assert becomes(file) == {NAMES[0]: "ours", NAMES[1]: "conflict", NAMES[2]: "theirs"}
    assert (file["becomes"], file["same"], file["conflicts"]) == ("merged", 1, 1)
    tensors = {tensor["name"]: tensor for tensor in file["tensors"]}
    conflict = tensors[NAMES[1]]
    assert (conflict["why"], conflict["changed_by"]) == (
        "changed on both sides",
        ["ours", "theirs"],
    )
    o, a, b = (side[NAMES[1]].astype(np.float64) for side in (BASE, OURS, THEIRS))
    x, y = a - o, b - o
    numbers = conflict["numbers"]
    assert numbers["ours"]["relative"] == pytest.approx(norm(x) / norm(o), rel=1e-12)
    assert numbers["cosine"] == pytest.approx(float((x * y).sum()) / norm(x) / norm(y), rel=1e-9)
    assert numbers["sign_overlap"] == ((x * y) > 0).mean()
    assert numbers["shared"] == 1.0
    alone = tensors[NAMES[2]]["numbers"]
    step = THEIRS[NAMES[2]].astype(np.float64) - BASE[NAMES[2]]
    assert alone["theirs"]["relative"] == pytest.approx(norm(step) / norm(BASE[NAMES[2]]))
    assert (alone["ours"], alone["cosine"]) == ({"changed": 0, "relative": 0.0}, None)
    assert tensors[NAMES[2]]["strategies"] == []
    strategies = {strategy["strategy"]: strategy for strategy in conflict["strategies"]}
    assert list(strategies) == [n for n in table.NAMES if not table.by_name(n).needs]
    assert file["strategies"] == conflict["strategies"]
    for name in ("mean", "dare-ties", "base"):
        hold_to_the_merge(branches, strategies[name])


def hold_to_the_merge(branches: Branches, foreseen: dict[str, Any]) -> None:
    """A real merge with the strategy is as far from each version as was said."""
    branches.repo.git(
        "merge", "-q", "--no-edit", "side", env={"GIT_NN_MERGE": foreseen["strategy"]}
    )
    made = safetensors_arrays(branches.repo.read(MODEL))[NAMES[1]].astype(np.float64)
    branches.repo.git("reset", "-q", "--hard", "HEAD^")
    for side, version in (("base", BASE), ("ours", OURS), ("theirs", THEIRS)):
        value = version[NAMES[1]].astype(np.float64)
        said = foreseen[f"from_{side}"]
        assert said == pytest.approx(norm(made - value) / norm(value), rel=1e-12), foreseen


def test_a_tensor_that_is_too_large_to_be_held_is_read_for_each_strategy(
    tmp_path: Path,
    capfdbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    branches = start(tmp_path)
    held = only(previewed(branches, capfdbinary))
    monkeypatch.setattr(measure, "HELD", 0)
    assert only(previewed(branches, capfdbinary)) == held
    monkeypatch.setattr(measure, "MOST", 100)
    skipped = {
        s["strategy"] for s in only(previewed(branches, capfdbinary))["strategies"] if s["skipped"]
    }
    assert {"iso-c", "tsv"} <= skipped
    assert not skipped & {"mean", "ties"}


def test_strategies_are_estimated_from_a_sample_of_large_tensors(
    tmp_path: Path,
    capfdbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rows differ in size by far, so a sample that is not spread evenly would be off."""
    sizes = np.exp(np.sin(np.linspace(0, 20, 500))).astype(np.float32)[:, np.newaxis]
    large = [sizes * normal(seed, 500, 200) for seed in (1, 2, 3)]
    base = {"large": large[0], "w": X}
    sides = ({"large": large[0] + np.float32(0.1) * side, "w": X * side.size} for side in large[1:])
    made = map(safetensors_file, (base, *sides))
    branches = Branches.create(tmp_path / "repo", *made)
    exact = only(previewed(branches, capfdbinary))
    assert not any(strategy["estimated"] for strategy in exact["strategies"])
    _, told = shown(branches, capfdbinary)
    assert "~" not in told
    monkeypatch.setattr(cli, "ENOUGH", 30_000)
    monkeypatch.setattr(measure, "LEAST", 100)
    found = only(previewed(branches, capfdbinary))
    assert found == only(previewed(branches, capfdbinary))
    assert found["numbers"] == exact["numbers"]
    small, estimated = ({t["name"]: t for t in found["tensors"]}[name] for name in ("w", "large"))
    assert small == next(t for t in exact["tensors"] if t["name"] == "w")
    whole = {strategy["strategy"]: strategy for strategy in exact["tensors"][0]["strategies"]}
    assert exact["tensors"][0]["name"] == "large"
    for strategy in estimated["strategies"]:
        if strategy["skipped"]:
            assert strategy["strategy"] in ("iso-c", "tsv")
            continue
        assert strategy["estimated"]
        for version in ("from_base", "from_ours", "from_theirs"):
            expected = whole[strategy["strategy"]][version]
            assert strategy[version] == pytest.approx(expected, rel=0.05), strategy
    _, told = shown(branches, capfdbinary)
    assert "--exact" in told
    assert " ~" in told
    code, out = shown(branches, capfdbinary, as_json=True, exact=True)
    assert (code, only(json.loads(out))) == (1, exact)


def test_tensors_of_many_layers_stand_in_blocks_whose_numbers_are_of_one_vector(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    base = {f"h.{i}.mlp.w": normal(i, 8) for i in range(50)}
    sides = [
        {n: v + np.float32(0.1) * normal(seed + i, 8) for i, (n, v) in enumerate(base.items())}
        for seed in (300, 400)
    ]
    made = map(safetensors_file, (base, *sides))
    branches = Branches.create(tmp_path / "repo", *made)
    (block,) = only(previewed(branches, capfdbinary))["blocks"]
    assert (block["name"], len(block["tensors"])) == ("h.[0-49].mlp.w", 50)
    o, a, b = (np.concatenate(list(side.values())).astype(np.float64) for side in (base, *sides))
    numbers = block["numbers"]
    assert numbers["elements"] == 400
    assert numbers["theirs"]["relative"] == pytest.approx(norm(b - o) / norm(o), rel=1e-12)
    assert numbers["sign_overlap"] == ((a - o) * (b - o) > 0).mean()
    mean = next(s for s in block["strategies"] if s["strategy"] == "mean")
    middle = ((a + b) / 2).astype(np.float32).astype(np.float64)
    assert mean["from_ours"] == pytest.approx(norm(middle - a) / norm(a), rel=1e-12)
    code, out = shown(branches, capfdbinary)
    assert code == 1
    assert "! h.[0-49].mlp.w       50" in out


def test_compressed_tensors_of_an_hdf5_file_are_measured_by_their_values(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    made = [h5_file(side, compression="gzip") for side in (BASE, OURS, THEIRS)]
    branches = Branches.create(tmp_path / "repo", *made, name="m.h5")
    file = only(previewed(branches, capfdbinary))
    (conflict,) = [tensor for tensor in file["tensors"] if tensor["becomes"] == "conflict"]
    o, a, b = (side[NAMES[1]].astype(np.float64) for side in (BASE, OURS, THEIRS))
    assert conflict["numbers"]["ours"]["relative"] == pytest.approx(norm(a - o) / norm(o))
    mean = next(s for s in conflict["strategies"] if s["strategy"] == "mean")
    middle = ((a + b) / 2).astype(np.float32)
    assert mean["from_theirs"] == pytest.approx(norm(middle - b) / norm(b), rel=1e-12)


# --- what will become of it -------------------------------------------------------------


def test_nothing_is_written(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    branches = start(tmp_path, attributes="*.safetensors nn-merge=mean\n")
    branches.repo.write("untracked.txt", b"mine")
    index = branches.path / ".git/index"
    before, when = snapshot(branches.path), index.stat().st_mtime_ns
    code, out = shown(branches, capfdbinary)
    assert code == 0
    assert branches.repo.nn("merge", "--preview", "side").text == out
    assert branches.repo.nn("merge", "--preview", "--exact", "side").text == out
    assert snapshot(branches.path) == before
    assert index.stat().st_mtime_ns == when


def test_rules_that_were_chosen_are_foreseen(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    branches = start(tmp_path, attributes="*.safetensors nn-merge=ties:density=0.3\n")
    found = previewed(branches, capfdbinary)
    assert found["clean"]
    assert becomes(only(found))[NAMES[1]] == "ties:density=0.3,lambda=1"
    tried = {strategy["strategy"]: strategy for strategy in only(found)["strategies"]}
    chosen = tried["ties:density=0.3,lambda=1"]
    assert chosen["from_base"] > tried["ties"]["from_base"]  # more of both changes is kept
    branches.repo.git("config", "nn.merge.*.1.w.strategy", "theirs")
    assert becomes(only(previewed(branches, capfdbinary)))[NAMES[1]] == "theirs"
    branches.repo.git("config", "nn.merge.*.1.w.strategy", "nonsense")
    assert "nonsense" in only(previewed(branches, capfdbinary))["why"]


def test_what_is_foreseen_of_each_tensor_is_what_the_merge_then_tells(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Rows of an embedding, a new name, codes that nobody averages, a tensor that is gone."""
    base = {"embed.weight": normal(1, 40, 4), "ids": np.arange(6), "old": normal(2, 3)}
    ours = {"embed.weight": base["embed.weight"].copy(), "ids": np.arange(6) * 2, "new": X}
    theirs = {"embed.weight": base["embed.weight"].copy(), "ids": np.arange(6) * 3, "old": X}
    ours["embed.weight"][3], theirs["embed.weight"][7] = 1, 2
    ours["grown"], theirs["grown"] = normal(3, 5), normal(4, 6)
    base["proj.w"], ours["fc.w"], theirs["proj.w"] = normal(8, 9), normal(8, 9), 2 * normal(8, 9)
    made = [safetensors_file({**side, "w": X}) for side in (base, ours, theirs)]
    branches = Branches.create(tmp_path / "repo", *made)
    file = only(previewed(branches, capfdbinary))
    assert becomes(file) == {
        "embed.weight": "rows of both", "fc.w": "theirs", "grown": "conflict", "ids": "conflict",
        "new": "ours", "old": "conflict",
    }  # fmt: skip
    tensors = {tensor["name"]: tensor for tensor in file["tensors"]}
    tried = {name: [s["strategy"] for s in tensors[name]["strategies"]] for name in tensors}
    assert tried["ids"] == ["ours", "theirs"]
    assert tried["grown"] == tried["old"] == tried["new"] == []
    assert tensors["old"]["why"] == "removed by ours, changed by theirs"
    assert tensors["embed.weight"]["numbers"]["both_changed"] == 0
    assert tensors["fc.w"]["numbers"]["theirs"]["relative"] == pytest.approx(1)
    _, out = shown(branches, capfdbinary)
    told = branches.repo.git("merge", "--no-edit", "side", code=1).errors
    for tensor in file["tensors"]:
        assert tensor["why"] in told
    for note in file["notes"]:
        assert note in told
    counts = "1 tensor from ours, 1 from theirs, 1 by rows; 3 tensors in conflict"
    assert counts in told
    assert counts in out


def test_a_fast_forward_and_a_branch_that_is_merged_are_called_so(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    branches = start(tmp_path)
    branches.repo.git("switch", "-q", "--detach", "start")
    found = previewed(branches, capfdbinary)
    assert found["kind"] == "fast-forward"
    assert only(found)["becomes"] == "theirs"
    assert becomes(only(found)) == {NAMES[1]: "theirs", NAMES[2]: "theirs"}
    branches.repo.git("switch", "-q", "side")
    found = previewed(branches, capfdbinary, "start")
    assert (found["kind"], found["files"]) == ("up-to-date", [])


def apart(name: str, **changes: int) -> bytes:
    """A model that is like no other one, so that Git takes none for the new name of another."""
    seeds = {f"{name}.{i}": 1000 * ord(name[0]) + i for i in range(8)}
    seeds |= {f"{name}.{key[1:]}": seed for key, seed in changes.items()}
    return safetensors_file({key: normal(seed, 5) for key, seed in seeds.items()})


def test_removed_renamed_and_added_files_are_foreseen_as_git_merges_them(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Each file is told of before the merge, and is as told after it."""
    branches = Branches.create(tmp_path / "repo", None, None, None)
    repo = branches.repo
    repo.git("switch", "-q", "side")
    for name in ("gone", "kept", "moved", "dropped", "twice"):
        repo.write(f"{name}.safetensors", apart(name))
    repo.commit("base")
    repo.git("branch", "-f", "main")
    repo.write("moved.safetensors", apart("moved", t1=1))
    repo.write("added.safetensors", apart("added", t1=1))
    repo.git("rm", "-q", "gone.safetensors")
    repo.git("mv", "twice.safetensors", "other.safetensors")
    repo.commit("theirs")
    repo.git("switch", "-q", "main")
    repo.write("gone.safetensors", apart("gone", t1=1))
    repo.write("added.safetensors", apart("added", t2=2))
    repo.write("new.safetensors", apart("new"))
    repo.git("mv", "moved.safetensors", "elsewhere.safetensors")
    repo.git("mv", "twice.safetensors", "mine.safetensors")
    repo.git("rm", "-q", "dropped.safetensors")
    repo.commit("ours")
    files = {file["path"]: file for file in previewed(branches, capfdbinary)["files"]}
    assert {path.partition(".")[0]: file["becomes"] for path, file in files.items()} == {
        "added": "merged",
        "dropped": "removed",
        "elsewhere": "theirs",
        "gone": "conflict",
        "new": "ours",
        "twice": "conflict",
    }
    assert files["gone.safetensors"]["why"] == "removed by theirs, changed by ours"
    assert files["twice.safetensors"]["why"] == (
        "renamed to mine.safetensors by ours and to other.safetensors by theirs"
    )
    assert files["elsewhere.safetensors"]["paths"] == {
        "base": "moved.safetensors",
        "ours": "elsewhere.safetensors",
        "theirs": "moved.safetensors",
    }
    assert becomes(files["added.safetensors"])["added.1"] == "conflict"
    _, out = shown(branches, capfdbinary)
    for line in ("dropped.safetensors   removed by ours", "new.safetensors   added by ours"):
        assert line in out
    repo.git("merge", "--no-edit", "side", code=1)
    unmerged = repo.git("diff", "--name-only", "--diff-filter=U").text.split()
    assert {name.partition(".")[0] for name in unmerged} == {
        "added", "gone", "twice", "mine", "other",
    }  # fmt: skip
    assert repo.read("elsewhere.safetensors") == apart("moved", t1=1)
    assert not (repo.path / "dropped.safetensors").exists()


def test_a_criss_cross_is_told_and_compared_with_one_base(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    branches = start(tmp_path, attributes="*.safetensors nn-merge=ours\n")
    repo = branches.repo
    repo.git("tag", "a")
    repo.git("tag", "b", "side")
    repo.git("merge", "-q", "--no-edit", "b")
    repo.git("switch", "-q", "side")
    repo.git("merge", "-q", "--no-edit", "a")
    repo.git("switch", "-q", "main")
    found = previewed(branches, capfdbinary)
    assert set(found["bases"]) == set(repo.git("rev-parse", "a", "b").text.split())
    _, out = shown(branches, capfdbinary)
    assert "there are 1 more" in " ".join(out.split())


def test_a_file_that_cannot_be_merged_says_why(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    noise = [bytes([i]) * 5000 for i in (1, 2, 3)]
    branches = Branches.create(tmp_path / "repo", *noise)
    found = previewed(branches, capfdbinary)
    why = only(found)["why"]
    assert "no tensors" in why
    done = branches.repo.git("merge", "--no-edit", "side", code=1)
    assert why in done.errors


def test_values_that_are_not_here_are_said_to_be_missing(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    branches = start(tmp_path)
    shutil.rmtree(branches.path / ".git/nn/packs")
    file = only(previewed(branches, capfdbinary))
    assert becomes(file)[NAMES[1]] == "conflict"
    assert {tensor["unread"] for tensor in file["tensors"]} == {"values are not here"}


def test_lines_fit_the_terminal(
    tmp_path: Path,
    capfdbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    branches = start(tmp_path)
    for width in (60, 80, 120, 200):
        monkeypatch.setattr(cli, "style", lambda _, width=width: Style(width=width))
        code, out = shown(branches, capfdbinary)
        lines = out.splitlines()
        assert code == 1
        assert max(map(columns, lines)) <= width
        assert any(line.startswith("! ") and "conflict" in line for line in lines)
        assert "ours Δ" in out
        assert "from base" in out


@pytest.mark.parametrize("option", ["--json", "--exact"])
def test_what_is_about_a_preview_merges_nothing_without_one(tmp_path: Path, option: str) -> None:
    branches = start(tmp_path)
    before = branches.repo.git("rev-parse", "HEAD").text
    told = branches.repo.nn("merge", option, "side", code=2).errors
    assert "add --preview" in told
    assert branches.repo.git("rev-parse", "HEAD").text == before
