"""git merge, rebase, cherry-pick, revert and stash with models, through the real driver."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from git_nn.objects.pointer import looks_like_pointer
from tests.support.branches import ATTRIBUTES, MODEL, Branches
from tests.support.git import Repo
from tests.support.models import (
    h5_arrays,
    h5_file,
    normal,
    read_safetensors,
    safetensors_file,
)

X, Y, Z = (normal(i, 4, 6) for i in (101, 102, 103))


def tensors(**changes: np.ndarray) -> dict[str, np.ndarray]:
    return {name: normal(i, 4, 6) for i, name in enumerate("abcd")} | changes


def model(**changes: np.ndarray) -> bytes:
    return safetensors_file(tensors(**changes), {"format": "pt"})


def mean(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return ((a.astype(np.float64) + b.astype(np.float64)) / 2).astype(a.dtype)


def content(repo: Repo, name: str = MODEL) -> bytes:
    """The work-tree file, where Git is clean and the pointer in HEAD stands for it."""
    assert repo.status() == ""
    assert looks_like_pointer(repo.blob(f"HEAD:{name}"))
    return repo.read(name)


def start(tmp_path: Path, ours: bytes, theirs: bytes, **options: str) -> Branches:
    return Branches.create(tmp_path / "repo", model(), ours, theirs, **options)


# --- clean merges -----------------------------------------------------------------------


def test_changes_of_different_tensors_merge(tmp_path: Path) -> None:
    branches = start(tmp_path, model(a=X), model(b=Y, c=Z))
    done = branches.repo.git("merge", "--no-edit", "side")
    assert f"git-nn: {MODEL}: 1 tensor from ours, 2 from theirs" in done.errors
    assert content(branches.repo) == model(a=X, b=Y, c=Z)
    assert branches.records() == []


def test_the_attribute_chooses_a_strategy(tmp_path: Path) -> None:
    branches = start(tmp_path, model(a=X), model(a=Y), attributes="*.safetensors nn-merge=mean\n")
    done = branches.repo.git("merge", "--no-edit", "side")
    assert "1 tensor by mean:weight=0.5" in done.errors
    assert content(branches.repo) == model(a=mean(X, Y))
    branches.repo.nn("fsck")


def test_the_attribute_may_have_parameters(tmp_path: Path) -> None:
    line = "*.safetensors nn-merge=task-arithmetic:lambda=0.5\n"
    branches = start(tmp_path, model(a=X), model(a=Y), attributes=line)
    branches.repo.git("merge", "-q", "--no-edit", "side")
    base, a, b = (t.astype(np.float64) for t in (tensors()["a"], X, Y))
    expected = (base + 0.5 * ((a - base) + (b - base))).astype(np.float32)
    assert content(branches.repo) == model(a=expected)


def test_patterns_in_the_configuration_choose_for_tensors(tmp_path: Path) -> None:
    branches = start(tmp_path, model(a=X, b=X, c=X, d=X), model(a=Y, b=Y, c=Y, d=Y))
    repo = branches.repo
    repo.git("config", "nn.merge.strategy", "mean")
    repo.git("config", "nn.merge.[bc].strategy", "theirs")
    repo.git("config", "nn.merge.c.strategy", "ours")
    done = repo.git("merge", "--no-edit", "side")
    assert "2 tensors by mean:weight=0.5, 1 by ours, 1 by theirs" in done.errors
    assert content(repo) == model(a=mean(X, Y), b=Y, c=X, d=mean(X, Y))


def test_the_environment_chooses_for_one_merge(tmp_path: Path) -> None:
    branches = start(tmp_path, model(a=X), model(a=Y), attributes="*.safetensors nn-merge=mean\n")
    branches.repo.git("merge", "-q", "--no-edit", "side", env={"GIT_NN_MERGE": "theirs"})
    assert content(branches.repo) == model(a=Y)


def test_an_unknown_strategy_is_a_conflict_and_never_a_guess(tmp_path: Path) -> None:
    branches = start(tmp_path, model(a=X), model(a=Y), attributes="*.safetensors nn-merge=avg\n")
    repo = branches.repo
    failed = repo.git("merge", "--no-edit", "side", code=1)
    assert f"the attribute nn-merge of {MODEL} is 'avg'" in failed.errors
    assert "task-arithmetic" in failed.errors
    assert repo.read(MODEL) == model(a=X)
    repo.nn("resolve", "--strategy", "mean")
    repo.git("commit", "-q", "--no-edit")
    assert content(repo) == model(a=mean(X, Y))


def test_tensors_added_on_both_sides_are_composed_into_a_safetensors_file(tmp_path: Path) -> None:
    ours = safetensors_file(tensors(a=X) | {"lora.ours": Y}, {"format": "pt"})
    theirs = safetensors_file(tensors(b=Z) | {"lora.theirs": X}, {"format": "pt"})
    repo = start(tmp_path, ours, theirs).repo
    repo.git("merge", "-q", "--no-edit", "side")
    expected = tensors(a=X, b=Z) | {"lora.ours": Y, "lora.theirs": X}
    assert read_safetensors(content(repo)) == read_safetensors(safetensors_file(expected))


def test_tensors_added_on_both_sides_are_composed_into_an_hdf5_file(tmp_path: Path) -> None:
    options = {"chunks": (2, 3), "compression": "gzip"}
    base = h5_file(tensors(), **options)
    ours = h5_file(tensors(a=X) | {"new/ours": Y}, **options)
    theirs = h5_file(tensors(b=Z) | {"new/theirs": X}, **options)
    repo = Branches.create(tmp_path / "repo", base, ours, theirs, name="model.h5").repo
    repo.git("merge", "-q", "--no-edit", "side")
    found = h5_arrays(content(repo, "model.h5"))
    expected = tensors(a=X, b=Z) | {"new/ours": Y, "new/theirs": X}
    assert {k: v.tobytes() for k, v in found.items()} == {
        k: v.tobytes() for k, v in expected.items()
    }
    assert not list((repo.path / ".git/nn/tmp").glob("merge-*"))
    repo.nn("fsck")


def test_compressed_hdf5_datasets_merge(tmp_path: Path) -> None:
    options = {"chunks": (4, 6), "compression": "gzip", "shuffle": True}
    smooth = np.zeros((4, 6), np.float32)
    files = (h5_file(tensors(**c), **options) for c in ({}, {"a": smooth}, {"b": smooth, "c": X}))
    repo = Branches.create(tmp_path / "repo", *files, name="model.h5").repo
    repo.git("merge", "-q", "--no-edit", "side")
    found = h5_arrays(content(repo, "model.h5"))
    expected = tensors(a=smooth, b=smooth, c=X)
    assert {k: v.tobytes() for k, v in found.items()} == {
        k: v.tobytes() for k, v in expected.items()
    }


def test_files_merge_in_a_clone_that_has_no_weights_yet(tmp_path: Path) -> None:
    """Their tensors are in the origin's store only; computing fetches them."""
    branches = start(tmp_path, model(a=X), model(a=Y), attributes="*.safetensors nn-merge=mean\n")
    branches.repo.git("clone", "-q", ".", str(tmp_path / "clone"))
    clone = Repo(tmp_path / "clone")
    clone.nn("install", "--local")
    clone.git("merge", "-q", "--no-edit", "origin/side")
    clone.git("checkout", "-q", "--", ".")
    clone.nn("pull")
    assert clone.read(MODEL) == model(a=mean(X, Y))


def test_renormalizing_merges_the_same(tmp_path: Path) -> None:
    """Git then smudges and cleans all three versions before it calls the driver."""
    repo = start(tmp_path, model(a=X), model(b=Y)).repo
    repo.git("config", "merge.renormalize", "true")
    repo.git("merge", "-q", "--no-edit", "side")
    assert content(repo) == model(a=X, b=Y)


def test_sha256_repositories_merge_and_resolve(tmp_path: Path) -> None:
    repo = Repo(tmp_path / "repo")
    repo.path.mkdir()
    repo.git("init", "-q", "-b", "main", "--object-format=sha256")
    repo.nn("install", "--local")
    repo.write(".gitattributes", ATTRIBUTES.encode())
    branches = Branches(repo)
    branches.put(MODEL, model(), "start")
    repo.git("switch", "-q", "-c", "side")
    branches.put(MODEL, model(a=Y, b=Y), "theirs")
    repo.git("switch", "-q", "main")
    branches.put(MODEL, model(a=X, c=X), "ours")
    repo.git("merge", "-q", "side", code=1)
    assert repo.read(MODEL) == model(a=X, b=Y, c=X)
    repo.nn("resolve", "--theirs")
    assert branches.records() == []
    repo.git("commit", "-q", "--no-edit")
    assert content(repo) == model(a=Y, b=Y, c=X)


def test_a_mailed_patch_of_a_pointer_merges_three_ways(tmp_path: Path) -> None:
    repo = start(tmp_path, model(a=X), model(b=Y)).repo
    patch = repo.git("format-patch", "--full-index", "--stdout", "-1", "side").out
    repo.git("am", "-q", "-3", stdin=patch)
    assert content(repo) == model(a=X, b=Y)


# --- rebase, cherry-pick, revert, stash ---------------------------------------------------


def test_rebase_merges_every_commit(tmp_path: Path) -> None:
    branches = start(tmp_path, model(a=X), model(b=Y))
    repo = branches.repo
    repo.git("switch", "-q", "side")
    branches.put(MODEL, model(b=Y, c=Z), "second")
    repo.git("rebase", "-q", "main")
    assert content(repo) == model(a=X, b=Y, c=Z)
    repo.git("checkout", "-q", "HEAD~1")
    assert content(repo) == model(a=X, b=Y)


def test_a_conflict_in_a_rebase_is_settled_and_continued(tmp_path: Path) -> None:
    branches = start(tmp_path, model(a=X), model(a=Y))
    repo = branches.repo
    repo.git("switch", "-q", "side")
    branches.put(MODEL, model(a=Y, b=Z), "second")
    failed = repo.git("rebase", "main", code=1)
    assert "in a rebase, ours is what you rebase onto" in failed.errors
    assert repo.read(MODEL) == model(a=X)
    repo.nn("resolve", "--theirs")  # "theirs" is the commit that is replayed
    repo.git("rebase", "--continue")
    assert content(repo) == model(a=Y, b=Z)
    assert branches.records() == []


def test_cherry_pick_brings_one_change(tmp_path: Path) -> None:
    branches = start(tmp_path, model(a=X), model(b=Y))
    repo = branches.repo
    repo.git("switch", "-q", "side")
    branches.put(MODEL, model(b=Y, c=Z), "second")
    repo.git("switch", "-q", "main")
    repo.git("cherry-pick", "side")
    assert content(repo) == model(a=X, c=Z)


def test_revert_takes_one_change_back(tmp_path: Path) -> None:
    branches = start(tmp_path, model(a=X), model())
    branches.put(MODEL, model(a=X, b=Y), "second")
    branches.repo.git("revert", "--no-edit", "HEAD~1")
    assert content(branches.repo) == model(b=Y)


def test_stash_pop_merges_and_conflicts(tmp_path: Path) -> None:
    branches = start(tmp_path, model(), model())
    repo = branches.repo
    repo.write(MODEL, model(a=X))
    repo.git("stash", "-q")
    branches.put(MODEL, model(b=Y), "later")
    repo.git("stash", "pop", "-q")
    assert repo.read(MODEL) == model(a=X, b=Y)
    repo.git("stash", "-q")
    branches.put(MODEL, model(a=Z, b=Y), "latest")
    failed = repo.git("stash", "pop", code=1)
    assert "a  f32 4x6  changed on both sides" in failed.errors
    assert repo.read(MODEL) == model(a=Z, b=Y)
    repo.nn("resolve", "--theirs")
    assert repo.read(MODEL) == model(a=X, b=Y)
    assert repo.status() == f'M  "{MODEL}"\n'


# --- conflicts --------------------------------------------------------------------------


def test_a_conflict_leaves_a_valid_model_and_names_the_tensor(tmp_path: Path) -> None:
    branches = start(tmp_path, model(a=X, b=X), model(a=Y, c=Z))
    repo = branches.repo
    failed = repo.git("merge", "--no-edit", "side", code=1)
    assert "1 tensor from ours, 1 from theirs; 1 tensor in conflict" in failed.errors
    assert "a  f32 4x6  changed on both sides" in failed.errors
    assert "git nn resolve --ours" in failed.errors
    assert repo.read(MODEL) == model(a=X, b=X, c=Z)
    assert repo.status() == f'UU "{MODEL}"\n'
    (record,) = branches.records()
    value = json.loads(record.read_text())
    assert (value["version"], value["path"]) == (1, MODEL)
    assert [tensor["name"] for tensor in value["tensors"]] == ["a"]
    assert value["tensors"][0]["ours"]["shape"] == [4, 6]
    kept = repo.git("hash-object", "--stdin", stdin=value["result"].encode()).text
    assert kept == repo.git("hash-object", MODEL).text
    assert value["blobs"]["ours"] == repo.git("rev-parse", f":2:{MODEL}").text.strip()


def test_a_long_list_of_conflicts_is_cut(tmp_path: Path) -> None:
    names = [f"t{i}" for i in range(30)]
    files = [
        safetensors_file({n: normal(i + seed, 2) for i, n in enumerate(names)})
        for seed in (0, 50, 99)
    ]
    branches = Branches.create(tmp_path / "repo", *files)
    failed = branches.repo.git("merge", "side", code=1)
    assert "30 tensors in conflict" in failed.errors
    assert "... and 20 more" in failed.errors
    assert len(failed.errors.splitlines()) < 20


def test_merge_abort_leaves_nothing_behind(tmp_path: Path) -> None:
    branches = start(tmp_path, model(a=X), model(a=Y))
    repo = branches.repo
    repo.git("merge", "-q", "side", code=1)
    assert f"Conflict in {MODEL}" in repo.nn("status").text
    repo.git("merge", "--abort")
    assert content(repo) == model(a=X)
    assert "no model is in conflict" in repo.nn("resolve").text
    assert branches.records() == []


@pytest.mark.parametrize("side", ["ours", "theirs"])
def test_checkout_of_one_side_works_as_ever(tmp_path: Path, side: str) -> None:
    branches = start(tmp_path, model(a=X, b=X), model(a=Y, c=Z))
    repo = branches.repo
    repo.git("merge", "-q", "side", code=1)
    repo.git("checkout", "-q", f"--{side}", "--", MODEL)
    expected = model(a=X, b=X) if side == "ours" else model(a=Y, c=Z)
    assert repo.read(MODEL) == expected
    repo.git("add", MODEL)
    repo.git("commit", "-q", "--no-edit")
    assert content(repo) == expected
    assert "no model is in conflict" in repo.nn("resolve").text
    assert branches.records() == []


def test_checkout_of_the_merge_starts_over_with_another_strategy(tmp_path: Path) -> None:
    branches = start(tmp_path, model(a=X), model(a=Y))
    repo = branches.repo
    repo.git("merge", "-q", "side", code=1)
    repo.git("checkout", "-q", "-m", "--", MODEL, env={"GIT_NN_MERGE": "mean"})
    assert repo.read(MODEL) == model(a=mean(X, Y))


def test_any_file_may_be_added_instead(tmp_path: Path) -> None:
    branches = start(tmp_path, model(a=X), model(a=Y))
    repo = branches.repo
    repo.git("merge", "-q", "side", code=1)
    repo.write(MODEL, model(a=Z))
    repo.git("add", MODEL)
    repo.git("commit", "-q", "--no-edit")
    assert content(repo) == model(a=Z)
    assert "no model is in conflict" in repo.nn("resolve").text


def test_add_add_has_no_base(tmp_path: Path) -> None:
    branches = Branches.create(tmp_path / "repo", None, model(a=X), model(b=Y))
    repo = branches.repo
    failed = repo.git("merge", "side", code=1)
    assert "added on both sides" in failed.errors
    assert repo.read(MODEL) == model(a=X)
    assert "it has no base" in repo.nn("resolve", "--base", code=2).errors
    assert (
        repo.nn("resolve", "--strategy", "task-arithmetic", code=1).text.count("needs a base") == 2
    )
    repo.nn("resolve", "--theirs", "b")
    repo.nn("resolve", "--ours")
    repo.git("commit", "-q", "--no-edit")
    assert content(repo) == model(a=X, b=Y)


def test_add_add_of_equal_tensors_is_clean(tmp_path: Path) -> None:
    ours = safetensors_file(tensors() | {"o": X})
    theirs = safetensors_file(tensors() | {"t": Y})
    repo = Branches.create(tmp_path / "repo", None, ours, theirs).repo
    repo.git("merge", "-q", "--no-edit", "side")
    expected = tensors() | {"o": X, "t": Y}
    assert read_safetensors(content(repo)) == read_safetensors(safetensors_file(expected))


def criss_cross(tmp_path: Path, attributes: str = "") -> Branches:
    """Two merges of the same two commits, so that the last merge has two bases.

    Each of main and side changed a; the merges settled it in favour of their own side.
    """
    line = f"*.safetensors {attributes}\n" if attributes else ""
    branches = Branches.create(
        tmp_path / "repo", model(), model(a=X, b=X), model(a=Y, c=Y), attributes=line
    )
    repo = branches.repo
    repo.git("branch", "one")
    repo.git("branch", "two", "side")
    repo.git("merge", "-q", "--no-edit", "side", env={"GIT_NN_MERGE": "ours"})
    repo.git("switch", "-q", "side")
    repo.git("merge", "-q", "--no-edit", "one", env={"GIT_NN_MERGE": "ours"})
    assert repo.read(MODEL) == model(a=Y, b=X, c=Y)
    branches.put(MODEL, model(a=Y, b=X, c=Z), "side goes on")
    repo.git("switch", "-q", "main")
    branches.put(MODEL, model(a=X, b=Z, c=Y), "main goes on")
    assert len(repo.git("merge-base", "--all", "main", "side").text.split()) == 2
    return branches


def test_a_criss_cross_merge_is_silent_about_its_virtual_base(tmp_path: Path) -> None:
    branches = criss_cross(tmp_path)
    repo = branches.repo
    failed = repo.git("merge", "side", code=1)
    assert failed.errors.count("git-nn: ") == 1
    assert "1 tensor from ours, 1 from theirs; 1 tensor in conflict" in failed.errors
    assert repo.read(MODEL) == model(a=X, b=Z, c=Z)
    assert len(branches.records()) == 1
    repo.nn("resolve", "--theirs")
    repo.git("commit", "-q", "--no-edit")
    assert content(repo) == model(a=Y, b=Z, c=Z)


def test_a_criss_cross_merge_with_a_strategy_is_clean(tmp_path: Path) -> None:
    repo = criss_cross(tmp_path, "nn-merge=mean").repo
    repo.git("merge", "-q", "--no-edit", "side")
    assert content(repo) == model(a=mean(X, Y), b=Z, c=Z)


@pytest.mark.parametrize("removed", ["ours", "theirs"])
def test_modify_delete_is_explained(tmp_path: Path, removed: str) -> None:
    versions = {"ours": model(a=X), "theirs": model(a=X), removed: None}
    branches = Branches.create(tmp_path / "repo", model(), versions["ours"], versions["theirs"])
    repo = branches.repo
    repo.git("merge", "-q", "side", code=1)
    explained = repo.nn("resolve").text
    assert f"removed by {removed}" in explained
    assert "git rm" in explained
    assert "git add" in explained
    assert "git rm" in repo.nn("resolve", "--ours", code=1).errors
    repo.git("add", MODEL)
    repo.git("commit", "-q", "--no-edit")
    assert content(repo) == model(a=X)


def test_a_renamed_model_merges(tmp_path: Path) -> None:
    branches = start(tmp_path, model(a=X), model(b=Y))
    repo = branches.repo
    repo.git("mv", MODEL, "renamed model.safetensors")
    repo.git("commit", "-q", "-m", "rename")
    repo.git("merge", "-q", "--no-edit", "side")
    assert content(repo, "renamed model.safetensors") == model(a=X, b=Y)


# --- bad input --------------------------------------------------------------------------


def test_a_file_that_is_no_model_conflicts_and_ours_stays(tmp_path: Path) -> None:
    files = [f"some text, version {n}\n".encode() * 3 for n in range(3)]
    branches = Branches.create(tmp_path / "repo", *files)
    repo = branches.repo
    failed = repo.git("merge", "side", code=1)
    assert "the file as a whole conflicts" in failed.errors
    assert repo.read(MODEL) == files[1]
    assert "as a whole" in repo.nn("resolve", "--theirs", "a*", code=2).errors
    repo.nn("resolve", "--theirs")
    repo.git("commit", "-q", "--no-edit")
    assert content(repo) == files[2]


def test_raw_weights_in_git_are_merged_as_models(tmp_path: Path) -> None:
    """Committed before the filter was set up; the result is a pointer."""
    repo = Repo.create(tmp_path / "repo", patterns=())
    branches = Branches(repo)
    branches.put(MODEL, model(), "start")
    repo.git("switch", "-q", "-c", "side")
    branches.put(MODEL, model(b=Y), "theirs")
    repo.git("switch", "-q", "main")
    branches.put(MODEL, model(a=X), "ours")
    assert not looks_like_pointer(repo.blob(f"HEAD:{MODEL}"))
    repo.write(".git/info/attributes", b"*.safetensors filter=nn merge=nn -text\n")
    repo.git("merge", "-q", "--no-edit", "side")
    assert looks_like_pointer(repo.blob(f"HEAD:{MODEL}"))
    assert repo.read(MODEL) == model(a=X, b=Y)


@pytest.mark.parametrize("broken", ["theirs", "base"])
def test_a_broken_pointer_is_a_conflict_and_ours_stays(tmp_path: Path, broken: str) -> None:
    branches = start(tmp_path, model(a=X), model(b=Y))
    folder = branches.path
    texts = {
        "base": branches.repo.blob(f"start:{MODEL}"),
        "ours": branches.repo.blob(f"main:{MODEL}"),
        "theirs": branches.repo.blob(f"side:{MODEL}"),
    }
    for damage in (b"git-nn pointer 2\n", texts[broken][:-9], b"plain text", texts[broken] + b"\n"):
        for name, text in (texts | {broken: damage}).items():
            (folder / name).write_bytes(text)
        failed = drive(branches.repo, "base", "ours", "theirs", code=1)
        assert failed.errors.startswith("git-nn: m.h5: not merged, ours is kept: ")
        assert failed.errors.count("\n") == 1
        assert (folder / "ours").read_bytes() == texts["ours"]
        assert not list(folder.glob(".merge_nn_*"))


def test_the_driver_says_how_it_is_called(tmp_path: Path) -> None:
    branches = start(tmp_path, model(a=X), model(b=Y))
    assert "usage" in branches.repo.run(*_driver(), code=1).errors


def drive(repo: Repo, base: str, ours: str, theirs: str, **options: object):  # type: ignore[no-untyped-def]
    return repo.run(*_driver(), base, ours, theirs, "7", "m.h5", **options)  # type: ignore[arg-type]


def _driver() -> tuple[str, ...]:
    return (sys.executable, "-m", "git_nn.drivers.merge")


def test_a_missing_tensor_is_a_conflict_that_names_it(tmp_path: Path) -> None:
    """The store lost everything: what needs no weights merges, what does is left to the person."""
    branches = start(tmp_path, model(a=X), model(a=Y), attributes="*.safetensors nn-merge=mean\n")
    repo = branches.repo
    for file in sorted((branches.path / ".git/nn").rglob("*"), reverse=True):
        if file.is_file():
            file.unlink()
    failed = repo.git("merge", "side", code=None)
    assert failed.code != 0
    assert "is not in the store" in failed.errors


def tied_file(embed: np.ndarray, bias: np.ndarray) -> bytes:
    """An HDF5 file in which two names are one dataset."""
    out = io.BytesIO(h5_file({"embed": embed, "bias": bias}))
    with h5py.File(out, "r+") as file:
        file["head"] = file["embed"]
    return out.getvalue()


def test_tied_weights_stay_tied(tmp_path: Path) -> None:
    files = [tied_file(Z, Z), tied_file(X, Z), tied_file(Z, Y)]
    repo = Branches.create(tmp_path / "repo", *files, name="model.h5").repo
    assert b" of " in repo.blob("HEAD:model.h5")
    repo.git("merge", "-q", "--no-edit", "side")
    assert content(repo, "model.h5") == tied_file(X, Y)


def test_tied_weights_that_both_sides_changed_are_one_conflict(tmp_path: Path) -> None:
    files = [tied_file(Z, Z), tied_file(X, Z), tied_file(Y, X)]
    repo = Branches.create(tmp_path / "repo", *files, name="model.h5").repo
    assert "1 tensor in conflict" in repo.git("merge", "side", code=1).errors
    repo.nn("resolve", "--strategy", "mean")
    repo.git("commit", "-q", "--no-edit")
    assert content(repo, "model.h5") == tied_file(mean(X, Y), X)
