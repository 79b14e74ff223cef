"""git nn resolve: every way out of a conflict."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from git_nn.objects.pointer import parse
from tests.support.branches import MODEL, Branches
from tests.support.git import Repo
from tests.support.models import normal, read_safetensors, safetensors_file

NAMES = ("layers.0.w", "layers.1.w", "layers.10.w", "head [x]")


def tensors(seed: int, *names: str) -> dict[str, np.ndarray]:
    """The base model with ``names`` changed."""
    return {
        name: normal(1000 * seed + i if name in names else i, 3, 5)
        for i, name in enumerate((*NAMES, "same"))
    }


BASE, OURS, THEIRS = tensors(0), tensors(1, *NAMES), tensors(2, *NAMES)


def mixed(**sides: dict[str, np.ndarray]) -> bytes:
    """``ours`` with the tensors of ``sides`` (layer number -> version)."""
    taken = {name: OURS[name] for name in OURS}
    for key, version in sides.items():
        name = NAMES[int(key[1:])]
        taken[name] = version[name]
    return safetensors_file(taken)


@pytest.fixture
def merging(tmp_path: Path) -> Branches:
    """A merge that stopped: all four tensors changed on both sides."""
    files = [safetensors_file(m) for m in (BASE, OURS, THEIRS)]
    branches = Branches.create(tmp_path / "repo", *files)
    branches.repo.git("merge", "-q", "side", code=1)
    return branches


def finished(repo: Repo, data: bytes) -> None:
    """The merge can be committed, and HEAD is ``data``."""
    assert repo.read(MODEL) == data
    assert repo.git("ls-files", "-u").text == ""
    assert repo.git("diff-files", "--name-only").text == ""
    repo.git("commit", "-q", "--no-edit")
    assert repo.status() == ""
    repo.git("rm", "-q", "--cached", "--", MODEL)
    (repo.path / MODEL).unlink()
    repo.git("reset", "-q", "--hard")
    assert repo.read(MODEL) == data


@pytest.mark.parametrize(
    ("option", "expected"),
    [("--ours", OURS), ("--theirs", THEIRS), ("--base", BASE)],
)
def test_a_side_settles_all(
    merging: Branches, option: str, expected: dict[str, np.ndarray]
) -> None:
    done = merging.repo.nn("resolve", option)
    assert "settled and staged" in done.text
    assert merging.records() == []
    if option != "--ours":  # ours again is no change, which is a commit of a merge all the same
        assert merging.repo.status() == f'M  "{MODEL}"\n'
    finished(merging.repo, safetensors_file(expected))


def test_a_strategy_settles_all(merging: Branches) -> None:
    merging.repo.nn("resolve", "--strategy", "mean:weight=0.25")
    expected = {
        name: (0.75 * OURS[name].astype(np.float64) + 0.25 * THEIRS[name]).astype(np.float32)
        for name in NAMES
    }
    finished(merging.repo, safetensors_file({**BASE, **expected}))


def test_patterns_settle_step_by_step(merging: Branches) -> None:
    repo = merging.repo
    first = repo.nn("resolve", "--theirs", "layers.1*")
    assert "2 tensors from theirs" in first.text
    assert "2 tensors still in conflict" in first.text
    assert repo.read(MODEL) == mixed(_1=THEIRS, _2=THEIRS)
    assert repo.status() == f'UU "{MODEL}"\n'
    listed = repo.nn("resolve", "--list").text
    assert "2 tensors in conflict" in listed
    assert "layers.0.w" in listed
    assert "layers.1.w" not in listed
    repo.nn("resolve", "--base", "layers.0.w")
    repo.nn("resolve", "--ours", "head [x]")  # a name that would be a pattern
    assert merging.records() == []
    finished(repo, mixed(_0=BASE, _1=THEIRS, _2=THEIRS))


def test_without_an_option_it_only_lists(merging: Branches) -> None:
    repo = merging.repo
    before = (repo.read(MODEL), repo.git("ls-files", "-s").text)
    listed = repo.nn("resolve").text
    assert f"{MODEL}: 4 tensors in conflict" in listed
    order = [line.split("  ")[1] for line in listed.splitlines()[1:5]]
    assert order == ["head [x]", "layers.0.w", "layers.1.w", "layers.10.w"]
    assert "git nn resolve --ours | --theirs | --base | --strategy S" in listed
    assert repo.nn("resolve", "--list", "--theirs").text == listed
    assert (repo.read(MODEL), repo.git("ls-files", "-s").text) == before


def test_options_that_make_no_sense_change_nothing(merging: Branches) -> None:
    repo = merging.repo
    before = (repo.read(MODEL), repo.git("ls-files", "-s").text)
    for words, said in (
        (["--ours", "--theirs"], "exclude each other"),
        (["--ours", "--strategy", "mean"], "exclude each other"),
        (["--strategy", "average"], "names no merge strategy"),
        (["--strategy", "conflict"], "settles nothing"),
        (["--theirs", "layer.*"], "no tensor in conflict matches 'layer.*'"),
        (["--theirs", "same"], "no tensor in conflict matches 'same'"),
        (["--theirs", "--path", "other.h5"], "other.h5 is not in conflict"),
    ):
        failed = repo.nn("resolve", *words, code=2)
        assert said in failed.errors
    assert (repo.read(MODEL), repo.git("ls-files", "-s").text) == before


def test_it_works_from_a_folder_and_for_a_path(merging: Branches) -> None:
    inner = Repo(merging.path / "sub dir")
    inner.nn("resolve", "--theirs", "--path", "model.safetensors")
    finished(merging.repo, safetensors_file(THEIRS))


def test_a_lost_record_loses_only_what_was_settled(merging: Branches) -> None:
    repo = merging.repo
    repo.nn("resolve", "--theirs", "layers.1.w")
    for record in merging.records():
        record.unlink()
    assert "4 tensors in conflict" in repo.nn("resolve").text
    repo.nn("resolve", "--base")
    finished(repo, safetensors_file(BASE))


def test_a_damaged_record_is_passed_over(merging: Branches) -> None:
    (record,) = merging.records()
    for damage in (b"", b"{", b"[]", b'{"version": 1}', record.read_bytes()[:-20]):
        record.write_bytes(damage)
        assert "4 tensors in conflict" in merging.repo.nn("resolve").text
        assert merging.repo.nn("status").code == 0


def test_a_record_of_another_merge_is_not_used(merging: Branches) -> None:
    """The same path conflicts again, with other versions."""
    repo = merging.repo
    repo.git("merge", "--abort")
    merging.put(MODEL, safetensors_file(tensors(3, NAMES[0])), "another")
    repo.git("merge", "-q", "side", code=1)
    assert len(merging.records()) == 2
    assert "1 tensor in conflict" in repo.nn("resolve").text
    assert len(merging.records()) == 1
    repo.nn("resolve", "--ours")
    expected = {**THEIRS, NAMES[0]: tensors(3, NAMES[0])[NAMES[0]]}
    finished(repo, safetensors_file(expected))


def test_merge_tree_during_a_merge_loses_nothing(merging: Branches) -> None:
    """It calls the driver, too, for other versions of the path."""
    repo = merging.repo
    repo.nn("resolve", "--theirs", "layers.1.w")
    repo.git("merge-tree", "--write-tree", "start", "side")
    repo.git("merge-tree", "--write-tree", "side", "main", code=1)
    assert "3 tensors in conflict" in repo.nn("resolve").text
    assert len(merging.records()) == 1


def test_nothing_is_dropped_while_git_keeps_the_index_locked(merging: Branches) -> None:
    repo = merging.repo
    repo.git("merge", "--abort")
    (record,) = merging.records()
    lock = repo.write(".git/index.lock", b"")
    repo.nn("resolve")
    assert merging.records() == [record]
    lock.unlink()
    repo.nn("resolve")
    assert merging.records() == []


def test_two_worktrees_keep_their_conflicts_apart(merging: Branches) -> None:
    repo = merging.repo
    repo.git("worktree", "add", "-q", "--detach", "../other", "start")
    other = Repo(merging.path.parent / "other")
    other.git("cherry-pick", "main")
    other.git("merge", "-q", "side", code=1)
    assert len(merging.records()) == 2
    other.nn("resolve", "--theirs")
    assert len(merging.records()) == 1
    repo.nn("resolve", "--base")
    finished(repo, safetensors_file(BASE))
    assert other.read(MODEL) == safetensors_file(THEIRS)


def test_several_files_are_settled_at_once_or_one_by_one(tmp_path: Path) -> None:
    names = ("x.safetensors", "y y.safetensors", "é.safetensors")
    branches = Branches.create(tmp_path / "repo", None, None, None)
    repo = branches.repo
    for branch, made in (("main", BASE), ("side", THEIRS), ("main", OURS)):
        repo.git("switch", "-q", *(["-C"] if branch == "side" else []), branch)
        for name in names:
            repo.write(name, safetensors_file(made))
        repo.write("code.py", f"seed = {made[NAMES[0]][0, 0]}\n".encode())
        repo.commit(branch)
    repo.git("merge", "-q", "side", code=1)
    listed = repo.nn("resolve").text
    assert listed.count("4 tensors in conflict") == 3
    assert "code.py" not in listed
    assert "é.safetensors" in listed
    assert "not a model" in repo.nn("resolve", "--path", "code.py").text
    repo.nn("resolve", "--theirs", "--path", "y y.safetensors")
    assert repo.nn("resolve").text.count("4 tensors in conflict") == 2
    repo.nn("resolve", "--ours")
    assert "no model is in conflict" in repo.nn("resolve").text
    assert repo.read("x.safetensors") == repo.read("é.safetensors") == safetensors_file(OURS)
    assert repo.read("y y.safetensors") == safetensors_file(THEIRS)
    assert "UU code.py" in repo.status()


@pytest.mark.parametrize("end", ["keep", "remove"])
def test_a_removal_is_settled_by_what_is_told_where_one_is(tmp_path: Path, end: str) -> None:
    base, theirs = safetensors_file(BASE), safetensors_file(THEIRS)
    branches = Branches.create(tmp_path / "repo", base, None, theirs)
    branches.repo.git("merge", "-q", "side", code=1)
    below = Repo((branches.path / MODEL).parent)
    told = below.nn("resolve").text
    assert told.startswith("model.safetensors: it was removed by ours and changed by")
    assert below.nn("resolve", "--ours", code=1).errors == told
    below.run("sh", "-c", told.split(f"to {end} it: ")[1].split(", to ")[0])
    assert below.git("ls-files", "-u").text == ""
    kept = branches.repo.git("ls-files", "--", MODEL).text
    assert kept == (f"{MODEL}\n" if end == "keep" else "")


def test_the_mode_of_the_file_is_merged(tmp_path: Path) -> None:
    files = [safetensors_file(m) for m in (BASE, OURS, THEIRS)]
    branches = Branches.create(tmp_path / "repo", *files)
    repo = branches.repo
    repo.git("switch", "-q", "side")
    (branches.path / MODEL).chmod(0o755)
    repo.commit("executable")
    repo.git("switch", "-q", "main")
    repo.git("merge", "-q", "side", code=1)
    repo.nn("resolve", "--theirs")
    assert os.access(branches.path / MODEL, os.X_OK)
    assert repo.git("ls-files", "-s", MODEL).text.startswith("100755")
    assert repo.git("diff-files", "--name-only").text == ""


def test_structural_conflicts_are_settled_from_either_side(tmp_path: Path) -> None:
    """Removed here and changed there, resized here and changed there, in one file."""
    ours, theirs = tensors(1, NAMES[1]), tensors(2, *NAMES)
    del ours[NAMES[0]]
    ours[NAMES[2]] = normal(77, 9, 9)
    for option, expected in (
        ("--ours", {**theirs, **{n: ours[n] for n in NAMES[1:3]}}),
        ("--theirs", theirs),
        ("--base", {**theirs, **{n: BASE[n] for n in NAMES[:3]}}),
    ):
        if option == "--ours":
            del expected[NAMES[0]]
        files = [safetensors_file(m) for m in (BASE, ours, theirs)]
        branches = Branches.create(tmp_path / option, *files)
        branches.repo.git("merge", "-q", "side", code=1)
        listed = branches.repo.nn("resolve").text
        assert "removed by ours, changed by theirs" in listed
        assert "another dtype or shape on each side" in listed
        branches.repo.nn("resolve", option)
        found = read_safetensors(branches.repo.read(MODEL))
        assert found == read_safetensors(safetensors_file(expected)), option
        assert branches.repo.git("ls-files", "-u").text == ""


def test_tensors_that_cannot_be_computed_stay_open(tmp_path: Path) -> None:
    made = [{"ids": np.arange(n, n + 3), "w": normal(n, 4)} for n in range(3)]
    branches = Branches.create(tmp_path / "repo", *map(safetensors_file, made))
    repo = branches.repo
    repo.git("merge", "-q", "side", code=1)
    left = repo.nn("resolve", "--strategy", "mean", code=1).text
    assert "i64 values are never computed with" in left
    assert "1 tensor by mean" in left
    repo.nn("resolve", "--theirs")
    mean = ((made[1]["w"].astype(np.float64) + made[2]["w"]) / 2).astype(np.float32)
    finished(repo, safetensors_file({"ids": made[2]["ids"], "w": mean}))


def test_what_is_remembered_is_kept_from_gc(merging: Branches) -> None:
    repo = merging.repo
    repo.nn("resolve", "--strategy", "mean", "layers.0.w")
    (record,) = merging.records()
    value = json.loads(record.read_text())
    result = parse(value["result"].encode())
    assert result.stored["layers.0.w"].oid.hex() in value["oids"]
    assert result.skeleton.hex() in value["oids"]
    assert len(value["tensors"]) == 3
    assert value["oids"] == sorted(set(value["oids"]))


def test_an_unwritable_folder_is_an_error_and_the_conflict_stays(merging: Branches) -> None:
    """A folder stands where the file should be."""
    repo = merging.repo
    (merging.path / MODEL).unlink()
    (merging.path / MODEL).mkdir()
    failed = repo.nn("resolve", "--theirs", code=5)
    assert f"cannot write {MODEL}" in failed.errors
    assert repo.git("ls-files", "-u").text.count("\n") == 3
    (merging.path / MODEL).rmdir()
    repo.nn("resolve", "--theirs")
    finished(repo, safetensors_file(THEIRS))


def test_no_link_is_followed_out_of_the_work_tree(merging: Branches, tmp_path: Path) -> None:
    """CVE-2021-21300: a folder of the path became a symbolic link."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (merging.path / MODEL).unlink()
    (merging.path / "sub dir").rmdir()
    (merging.path / "sub dir").symlink_to(outside)
    merging.repo.nn("resolve", "--theirs", code=5)
    assert list(outside.iterdir()) == []


def test_outside_of_a_repository_it_says_so(tmp_path: Path) -> None:
    failed = Repo(tmp_path).nn("resolve", code=2)
    assert "is not in a Git repository" in failed.errors
