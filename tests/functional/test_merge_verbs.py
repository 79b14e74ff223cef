"""Every Git verb that merges: each ends clean, with a model that loads and the right tree.

A conflict on the way is named and never lost: the work-tree file is a whole model meanwhile.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tests.support.git import Repo
from tests.support.stock import (
    MODEL,
    Arrays,
    Past,
    Stock,
    arrays,
    holds,
    holds_files,
    in_conflict,
    is_model,
    model,
)

VECTORS = {"GIT_NN_MERGE": "task-arithmetic"}
THEIRS = {"GIT_NN_MERGE": "theirs"}


def plus(start: str, *changes: tuple[str, str]) -> Arrays:
    """``start`` with the task vectors from one version to another added, in float64."""
    made = {}
    for name, array in arrays(start).items():
        total = array.astype(np.float64)
        for old, new in changes:
            total = total + (
                arrays(new)[name].astype(np.float64) - arrays(old)[name].astype(np.float64)
            )
        made[name] = total.astype(np.float32)
    return made


# --- git merge --------------------------------------------------------------------------


def test_merge_that_fast_forwards(past: Past) -> None:
    past.grow("main", None, "")
    past.grow("side", "main", "a1", "a1b1")
    repo = past.out("main")
    repo.git("merge", "-q", "--ff-only", "side")
    holds(repo, "a1b1")


def test_merge_without_fast_forward(past: Past) -> None:
    past.grow("main", None, "")
    past.grow("side", "main", "a1")
    repo = past.out("main")
    repo.git("merge", "-q", "--no-ff", "--no-edit", "side")
    holds(repo, "a1")
    assert repo.git("rev-list", "--count", "HEAD").text == "3\n"


def test_merge_of_different_tensors(past: Past) -> None:
    repo = past.fork("a1", "b1")
    repo.git("merge", "-q", "--no-edit", "side")
    holds(repo, "a1b1")


def test_merge_squash(past: Past) -> None:
    repo = past.fork("a1", "b1")
    repo.git("merge", "-q", "--squash", "side")
    is_model(repo, MODEL, arrays("a1b1"))
    repo.git("commit", "-q", "-m", "squashed")
    holds(repo, "a1b1")
    assert repo.git("rev-list", "--parents", "-1", "HEAD").text.count(" ") == 1


def test_merge_squash_with_a_conflict(past: Past) -> None:
    repo = past.fork("a1", "a2b1")
    repo.git("merge", "-q", "--squash", "side", code=1)
    in_conflict(repo, "a1b1", "a")
    repo.nn("resolve", "--theirs")
    repo.git("commit", "-q", "-m", "squashed")
    holds(repo, "a2b1")


def test_merge_no_commit(past: Past) -> None:
    repo = past.fork("a1", "b1")
    repo.git("merge", "-q", "--no-commit", "side")
    assert repo.status() == f"M  {MODEL}\n"
    repo.git("merge", "--continue")
    holds(repo, "a1b1")


def test_merge_options_never_settle_a_tensor_silently(past: Past) -> None:
    repo = past.fork("a1c1", "a2b1")
    told = repo.git("merge", "-Xtheirs", "-Xignore-space-change", "side", code=1).errors
    assert "1 tensor in conflict" in told
    in_conflict(repo, "a1b1c1", "a")
    repo.nn("resolve", "--ours")
    repo.git("merge", "--continue")
    holds(repo, "a1b1c1")


def test_merge_with_theirs_for_one_merge(past: Past) -> None:
    repo = past.fork("a1c1", "a2b1")
    repo.git("merge", "-q", "--no-edit", "side", env=THEIRS)
    holds(repo, "a2b1c1")


def test_merge_strategy_ours_keeps_our_tree(past: Past) -> None:
    repo = past.fork("a1", "a2b1")
    repo.git("merge", "-q", "-s", "ours", "--no-edit", "side")
    holds(repo, "a1")


def test_merge_strategy_resolve_merges_the_text(past: Past) -> None:
    """It calls no driver: Git's line merge of the pointers gives what the driver gives."""
    repo = past.fork("a1", "b1")
    repo.git("merge", "-q", "-s", "resolve", "--no-edit", "side")
    repo.nn("pull")
    holds(repo, "a1b1")


def test_merge_strategy_subtree(past: Past) -> None:
    """A library of models, merged into a folder, and then its next version."""
    past.grow("library", None, "", "b1")
    past.grow("main", None, {f"lib/{MODEL}": "a1"})
    repo = past.out("main")
    repo.git("merge", "-q", "-s", "ours", "--allow-unrelated-histories", "--no-edit", "library-1")
    repo.git("merge", "-q", "-X", "subtree=lib", "--no-edit", "library")
    holds_files(repo, {f"lib/{MODEL}": "a1b1"})


def test_merge_of_three_branches(past: Past) -> None:
    repo = past.fork("a1", "b1")
    past.grow("third", "start", "c1")
    repo.git("merge", "-q", "--no-edit", "side", "third")
    repo.nn("pull")
    holds(repo, "a1b1c1")


def criss_cross(past: Past) -> Repo:
    """Each branch merged the other's first commit, so that there are two merge bases."""
    repo = past.fork("a1", "b1")
    repo.git("branch", "one")
    repo.git("merge", "-q", "--no-edit", "side")
    tree = repo.git("rev-parse", "HEAD^{tree}").text.strip()
    other = repo.git("commit-tree", tree, "-p", "side", "-p", "one", "-m", "other").text.strip()
    repo.git("update-ref", "refs/heads/side", other)
    return repo


def test_criss_cross_merge_with_a_virtual_base(past: Past) -> None:
    repo = criss_cross(past)
    past.grow("side", "side", "a1b1c1")
    past.grow("more", "main", "a1b1d1")
    repo.git("merge", "-q", "more")
    assert len(repo.git("merge-base", "--all", "main", "side").text.split()) == 2
    repo.git("merge", "-q", "--no-edit", "side")
    holds(repo, "a1b1c1d1")


def test_merge_of_unrelated_histories(past: Past) -> None:
    past.grow("main", None, "a1")
    past.grow("side", None, "a1b1")
    repo = past.out("main")
    repo.git("merge", "-q", "--allow-unrelated-histories", "side", code=1)
    in_conflict(repo, "a1", "b")
    repo.nn("resolve", "--theirs")
    repo.git("commit", "-q", "--no-edit")
    holds(repo, "a1b1")


def test_merge_autostash(past: Past) -> None:
    repo = past.fork("a1", "b1")
    repo.write(MODEL, model("a1c1"))
    repo.git("merge", "-q", "--no-edit", "--autostash", "side")
    assert repo.status() == f" M {MODEL}\n"
    is_model(repo, MODEL, arrays("a1b1c1"))
    repo.git("commit", "-q", "-am", "mine")
    holds(repo, "a1b1c1")


def test_merge_refuses_to_overwrite_what_is_not_committed(past: Past) -> None:
    repo = past.fork({"x": b"1"}, "b1")
    repo.write(MODEL, model("a1"))
    assert "would be overwritten" in repo.git("merge", "side", code=None).errors
    assert repo.read(MODEL) == model("a1")
    repo.git("checkout", "-q", "--", MODEL)
    repo.git("merge", "-q", "--no-edit", "side")
    holds_files(repo, {MODEL: "b1"}, "x")


def test_merge_abort_restores_every_byte(past: Past) -> None:
    repo = past.fork("a1", "a2b1")
    before = repo.read(MODEL)
    repo.git("merge", "-q", "side", code=1)
    repo.nn("resolve", "--strategy", "mean")
    repo.git("merge", "--abort")
    assert repo.read(MODEL) == before
    holds(repo, "a1")


def test_a_commit_is_refused_while_a_tensor_is_open(past: Past) -> None:
    repo = past.fork("a1", "a2b1")
    repo.git("merge", "-q", "side", code=1)
    assert repo.git("commit", "-q", "--no-edit", code=128).code
    assert repo.git("merge", "--continue", code=128).code
    in_conflict(repo, "a1b1", "a")
    repo.nn("resolve", "--theirs")
    repo.git("merge", "--continue")
    holds(repo, "a2b1")


def test_checkout_of_a_side_and_add_ends_a_conflict(past: Past) -> None:
    repo = past.fork("a1", "a2b1")
    repo.git("merge", "-q", "side", code=1)
    repo.git("checkout", "-q", "--theirs", MODEL)
    repo.git("add", MODEL)
    repo.git("commit", "-q", "--no-edit")
    holds(repo, "a2b1")


# --- git rebase -------------------------------------------------------------------------


def moved(past: Past, ours: str, *theirs: str) -> Repo:
    """main has moved on to ``ours``; side, with ``theirs``, is checked out."""
    past.grow("start", None, "")
    past.grow("side", "start", *theirs)
    past.grow("main", "start", ours)
    return past.out("side")


@pytest.mark.parametrize("backend", ["--merge", "--apply"])
def test_rebase(past: Past, backend: str) -> None:
    repo = moved(past, "a1", "b1", "b1c1")
    repo.git("rebase", "-q", backend, "main")
    holds(repo, "a1b1c1")
    repo.git("checkout", "-q", "HEAD~1")
    holds(repo, "a1b1")


def test_rebase_moves_a_fine_tune_onto_a_new_base_model(past: Past) -> None:
    repo = moved(past, "a1b1", "a2c1")
    repo.git("rebase", "-q", "main", env=VECTORS)
    holds(repo, plus("a1b1", ("", "a2c1")))


def test_rebase_autosquash(past: Past) -> None:
    repo = moved(past, "a1", "b1", "b1c1")
    repo.write(MODEL, model("b1c1d1"))
    repo.git("commit", "-q", "-a", "--fixup", "HEAD~1")
    repo.git("rebase", "-q", "-i", "--autosquash", "main", env={"GIT_SEQUENCE_EDITOR": "true"})
    holds(repo, "a1b1c1d1")
    assert repo.git("rev-list", "--count", "main..HEAD").text == "2\n"


def test_rebase_that_reorders_commits(past: Past) -> None:
    repo = moved(past, "a1", "b1", "b1c1")
    swap = {"GIT_SEQUENCE_EDITOR": "sed -i -e '1{h;d}' -e '2G'"}
    repo.git("rebase", "-q", "-i", "main", env=swap)
    holds(repo, "a1b1c1")
    repo.git("checkout", "-q", "HEAD~1")
    holds(repo, "a1c1")


def test_rebase_onto(past: Past) -> None:
    """Only the second commit of side is moved."""
    repo = moved(past, "a1", "b1", "b1c1")
    repo.git("rebase", "-q", "--onto", "main", "side-1", "side")
    holds(repo, "a1c1")


def test_rebase_of_merges(past: Past) -> None:
    repo = moved(past, "a1", "b1")
    past.grow("topic", "start", "c1")
    repo.git("merge", "-q", "--no-edit", "topic")
    repo.git("rebase", "-q", "--rebase-merges", "main")
    holds(repo, "a1b1c1")
    assert repo.git("rev-list", "--merges", "--count", "main..HEAD").text == "1\n"


def test_rebase_autostash(past: Past) -> None:
    repo = moved(past, "a1", "b1")
    repo.write(MODEL, model("b1c1"))
    repo.git("rebase", "-q", "--autostash", "main")
    is_model(repo, MODEL, arrays("a1b1c1"))
    repo.git("commit", "-q", "-am", "mine")
    holds(repo, "a1b1c1")


def test_rebase_exec_meets_weights_and_no_pointers(past: Past) -> None:
    repo = moved(past, "a1", "b1", "b1c1")
    repo.git("rebase", "-q", "--exec", f"head -c 9 {MODEL} | tail -c 1 >> ../seen", "main")
    assert (repo.path.parent / "seen").read_bytes() == b"{{"
    holds(repo, "a1b1c1")


def test_rebase_conflict_settled_and_continued(past: Past) -> None:
    repo = moved(past, "a1", "a2", "a2b1")
    repo.git("rebase", "-q", "main", code=1)
    in_conflict(repo, "a1", "a")
    repo.nn("resolve", "--theirs")
    repo.git("rebase", "--continue")
    holds(repo, "a2b1")


def test_rebase_skip(past: Past) -> None:
    repo = moved(past, "a1", "a2", "a2b1")
    repo.git("rebase", "-q", "main", code=1)
    repo.git("rebase", "--skip")
    holds(repo, "a1b1")


def test_rebase_abort_restores_every_byte(past: Past) -> None:
    repo = moved(past, "a1", "a2", "a2b1")
    repo.git("rebase", "-q", "main", code=1)
    repo.git("rebase", "--abort")
    assert repo.read(MODEL) == model("a2b1")
    holds(repo, "a2b1")


# --- git cherry-pick and git revert -----------------------------------------------------


def test_cherry_pick_adds_a_task_vector(past: Past) -> None:
    repo = past.fork("a1", "a2b1")
    repo.git("cherry-pick", "side", env=VECTORS)
    holds(repo, plus("a1", ("", "a2b1")))


def test_cherry_pick_without_a_commit(past: Past) -> None:
    repo = past.fork("a1", "b1")
    repo.git("cherry-pick", "-n", "side")
    assert repo.status() == f"M  {MODEL}\n"
    repo.git("commit", "-q", "-m", "picked")
    holds(repo, "a1b1")


def test_cherry_pick_of_a_range(past: Past) -> None:
    repo = past.fork("a1", "b1")
    past.grow("more", "side", "b1c1")
    repo.git("cherry-pick", "start..more")
    holds(repo, "a1b1c1")
    assert repo.git("rev-list", "--count", "start..HEAD").text == "3\n"


def test_cherry_pick_of_a_merge(past: Past) -> None:
    """What the merge brought to its first parent."""
    repo = past.fork("a1", "b1")
    past.grow("topic", "start", "c1")
    repo.git("switch", "-q", "side")
    repo.git("merge", "-q", "--no-edit", "topic")
    repo.git("switch", "-q", "main")
    repo.git("cherry-pick", "-m", "1", "side")
    holds(repo, "a1c1")


def test_cherry_pick_conflict_continued_and_aborted(past: Past) -> None:
    repo = past.fork("a1", "a2b1")
    repo.git("cherry-pick", "side", code=1)
    repo.git("cherry-pick", "--abort")
    holds(repo, "a1")
    repo.git("cherry-pick", "side", code=1)
    in_conflict(repo, "a1b1", "a")
    repo.nn("resolve", "--theirs")
    repo.git("cherry-pick", "--continue")
    holds(repo, "a2b1")


def test_revert_takes_a_task_vector_away(past: Past) -> None:
    past.grow("main", None, "", "a1b1", "a2b1")
    repo = past.out("main")
    repo.git("revert", "--no-edit", "HEAD~1", env=VECTORS)
    holds(repo, plus("a2b1", ("a1b1", "")))


def test_revert_of_a_merge(past: Past) -> None:
    repo = past.fork("a1", "b1c1")
    repo.git("merge", "-q", "--no-edit", "side")
    repo.git("revert", "--no-edit", "-m", "1", "HEAD")
    holds(repo, "a1")


def test_revert_of_a_revert(past: Past) -> None:
    past.grow("main", None, "", "a1", "a1b1")
    repo = past.out("main")
    repo.git("revert", "--no-edit", "HEAD~1")
    holds(repo, "b1")
    repo.git("revert", "--no-edit", "HEAD")
    holds(repo, "a1b1")


def test_revert_conflict(past: Past) -> None:
    past.grow("main", None, "", "a1", "a2")
    repo = past.out("main")
    repo.git("revert", "--no-edit", "HEAD~1", code=1)
    in_conflict(repo, "a2", "a")
    repo.nn("resolve", "--theirs")
    repo.git("revert", "--continue")
    holds(repo, "")


# --- stash, patches, checkout -----------------------------------------------------------


def stashed(past: Past, mine: str, later: str) -> Repo:
    past.grow("main", None, "")
    repo = past.out("main")
    repo.write(MODEL, model(mine))
    repo.git("stash", "-q")
    past.grow("next", "main", later)
    repo.git("merge", "-q", "next")
    return repo


def test_stash_pop_merges(past: Past) -> None:
    repo = stashed(past, "a1", "b1")
    repo.git("stash", "pop", "-q")
    repo.git("commit", "-q", "-am", "mine")
    holds(repo, "a1b1")
    assert repo.git("stash", "list").text == ""


def test_stash_apply_with_a_conflict_keeps_the_stash(past: Past) -> None:
    repo = stashed(past, "a1", "a2b1")
    repo.git("stash", "apply", code=1)
    in_conflict(repo, "a2b1", "a")
    repo.nn("resolve", "--theirs")
    assert repo.git("stash", "list").text.count("\n") == 1
    repo.git("commit", "-q", "-m", "mine")
    holds(repo, "a1b1")


def test_mailed_patches_merge_three_ways(past: Past) -> None:
    repo = past.fork("a1b1", "a2c1")
    patch = repo.git("format-patch", "--stdout", "main~1..side").out
    repo.git("am", "-q", "-3", stdin=patch, code=128)
    in_conflict(repo, "a1b1c1", "a")
    repo.nn("resolve", "--ours")
    repo.git("am", "--continue")
    holds(repo, "a1b1c1")


def test_apply_three_ways(past: Past) -> None:
    repo = past.fork("a1b1", "c1")
    patch = repo.git("diff", "--no-ext-diff", "--no-textconv", "--full-index", "main~1", "side").out
    repo.git("apply", "-q", "-3", stdin=patch)
    assert repo.status() == f"M  {MODEL}\n"
    repo.git("commit", "-q", "-m", "applied")
    holds(repo, "a1b1c1")


@pytest.mark.parametrize("verb", ["checkout", "switch"])
def test_checkout_merges_what_is_not_committed(past: Past, verb: str) -> None:
    past.grow("main", None, "")
    past.grow("side", "main", "b1")
    repo = past.out("main")
    repo.write(MODEL, model("a1"))
    repo.git(verb, "-q", "-m", "side")
    is_model(repo, MODEL, arrays("a1b1"))
    assert repo.status() == f" M {MODEL}\n"
    repo.git("commit", "-q", "-am", "mine")
    holds(repo, "a1b1")


def test_switch_with_a_conflict_is_never_silent(past: Past) -> None:
    past.grow("main", None, "")
    past.grow("side", "main", "a2b1")
    repo = past.out("main")
    repo.write(MODEL, model("a1"))
    told = repo.git("switch", "-m", "side", code=None).errors
    assert "1 tensor in conflict" in told
    in_conflict(repo, "a2b1", "a")
    repo.nn("resolve", "--theirs")
    repo.git("commit", "-q", "-m", "mine")
    holds(repo, "a1b1")


def test_merge_tree_writes_what_merge_writes(past: Past) -> None:
    repo = past.fork("a1", "b1c1")
    tree = repo.git("merge-tree", "--write-tree", "main", "side").text.strip()
    repo.git("merge", "-q", "--no-edit", "side")
    assert repo.git("rev-parse", "HEAD^{tree}").text.strip() == tree
    holds(repo, "a1b1c1")


def test_merge_file_of_pointers_gives_what_the_driver_gives(past: Past) -> None:
    repo = past.fork("a1", "b1c1")
    for name, spec in (("o", "start"), ("a", "main"), ("b", "side")):
        (repo.path.parent / name).write_bytes(repo.blob(f"{spec}:{MODEL}"))
    by_line = repo.git("merge-file", "-p", "../a", "../o", "../b").out
    repo.git("merge", "-q", "--no-edit", "side")
    assert repo.blob(f"HEAD:{MODEL}") == by_line
    holds(repo, "a1b1c1")


# --- names, kinds and modes -------------------------------------------------------------


def test_the_same_file_added_on_both_sides(past: Past) -> None:
    repo = past.fork({MODEL: "a1"}, {MODEL: "a1b1"}, base={"x": b"1"})
    assert "added on both sides" in repo.git("merge", "side", code=1).errors
    in_conflict(repo, "a1", "b")
    repo.nn("resolve", "--theirs")
    repo.git("commit", "-q", "--no-edit")
    holds_files(repo, {MODEL: "a1b1"}, "x")


@pytest.mark.parametrize(("removed", "end"), [("ours", "add"), ("theirs", "rm")])
def test_removed_on_one_side_and_changed_on_the_other(past: Past, removed: str, end: str) -> None:
    gone: dict[str, str | bytes | None] = {MODEL: None, "x": b"1"}
    repo = past.fork(*((gone, "a1") if removed == "ours" else ("a1", gone)))
    repo.git("merge", "-q", "side", code=1)
    assert f"removed by {removed}" in repo.nn("resolve").text
    is_model(repo, MODEL, arrays("a1"))
    repo.git(end, "-q" if end == "rm" else "-v", MODEL)
    repo.git("commit", "-q", "--no-edit")
    holds_files(repo, {MODEL: "a1"} if end == "add" else {}, "x")


def test_renamed_here_and_changed_there(past: Past) -> None:
    repo = past.fork({MODEL: None, "big model.safetensors": "a1"}, "b1")
    repo.git("merge", "-q", "--no-edit", "side")
    holds_files(repo, {"big model.safetensors": "a1b1"})


def test_changed_here_and_renamed_there(past: Past) -> None:
    repo = past.fork("b1", {MODEL: None, "models/é.safetensors": "a1"})
    repo.git("merge", "-q", "--no-edit", "side")
    holds_files(repo, {"models/é.safetensors": "a1b1"})


def test_renamed_to_two_names(past: Past) -> None:
    repo = past.fork(
        {MODEL: None, "ours.safetensors": "a1"}, {MODEL: None, "theirs.safetensors": "b1"}
    )
    repo.git("merge", "-q", "side", code=1)
    assert "renamed on both sides" in repo.nn("resolve").text
    repo.git("rm", "-q", "--cached", MODEL)
    repo.git("add", "ours.safetensors")
    repo.git("rm", "-q", "-f", "theirs.safetensors")
    repo.git("commit", "-q", "--no-edit")
    holds_files(repo, {"ours.safetensors": "a1b1"})


def test_two_models_renamed_to_one_name(past: Past) -> None:
    base = {"x.safetensors": "a1", "y.safetensors": "b1"}
    repo = past.fork(
        {"x.safetensors": None, "z.safetensors": "a1"},
        {"y.safetensors": None, "z.safetensors": "b1"},
        base=base,
    )
    repo.git("merge", "-q", "side", code=1)
    in_conflict(repo, "a1", "a", "b", path="z.safetensors")
    repo.nn("resolve", "--ours", "a")
    repo.nn("resolve", "--theirs", "b")
    repo.git("commit", "-q", "--no-edit")
    holds_files(repo, {"z.safetensors": "a1b1"})


def test_a_folder_renamed_here_and_a_model_changed_there(past: Past) -> None:
    base: dict[str, str | bytes | None] = {f"old/{MODEL}": "", "old/n": b"n"}
    repo = past.fork(
        {f"old/{MODEL}": None, "old/n": None, f"new/{MODEL}": "a1", "new/n": b"n"},
        {f"old/{MODEL}": "b1"},
        base=base,
    )
    repo.git("merge", "-q", "--no-edit", "side")
    holds_files(repo, {f"new/{MODEL}": "a1b1"}, "new/n")


def test_a_model_that_became_a_folder(past: Past) -> None:
    part = f"{MODEL}/part.safetensors"
    repo = past.fork("a1", {MODEL: None, part: "b1"})
    repo.git("merge", "-q", "-X", "find-renames=95%", "side", code=1)
    # Git moves the file to a name that no pattern covers, so the pointer stands there
    (repo.path / f"{MODEL}~HEAD").rename(repo.path / "whole.safetensors")
    repo.git("rm", "-q", "--cached", f"{MODEL}~HEAD")
    repo.git("add", "-A")
    repo.git("commit", "-q", "--no-edit")
    repo.nn("pull")
    holds_files(repo, {"whole.safetensors": "a1", part: "b1"})


def test_a_mode_changed_here_and_tensors_there(past: Past) -> None:
    repo = past.fork({MODEL: "a1x"}, "b1")
    repo.git("merge", "-q", "--no-edit", "side")
    assert os.access(repo.path / MODEL, os.X_OK)
    assert repo.git("ls-tree", "HEAD", MODEL).text.startswith("100755")
    holds(repo, "a1b1")


@pytest.mark.parametrize("path", ["sub dir/-a b.safetensors", "模型/é ☃.safetensors"])
def test_paths_of_any_name(past: Past, path: str) -> None:
    repo = past.fork({path: "a1"}, {path: "a2b1"}, base={path: ""})
    below = Repo((repo.path / path).parent)
    below.git("merge", "-q", "side", code=1)
    in_conflict(repo, "a1b1", "a", path=path)
    below.nn("resolve", "--theirs", "--path", f"./{Path(path).name}")
    below.git("commit", "-q", "--no-edit")
    holds_files(repo, {path: "a2b1"})


def test_many_models_in_one_merge(past: Past) -> None:
    names = [f"{i}.safetensors" for i in range(4)]
    repo = past.fork(
        dict.fromkeys(names, "a1"),
        {**dict.fromkeys(names, "b1"), names[2]: "a2"},
        base=dict.fromkeys(names, ""),
    )
    repo.git("merge", "-q", "side", code=1)
    in_conflict(repo, "a1", "a", path=names[2])
    repo.nn("resolve", "--theirs")
    repo.git("commit", "-q", "--no-edit")
    holds_files(repo, {**dict.fromkeys(names, "a1b1"), names[2]: "a2"})


# --- repositories of every kind ---------------------------------------------------------


def test_a_submodule_of_models_is_left_alone(past: Past, stock: Stock, tmp_path: Path) -> None:
    library = stock.copy(tmp_path / "library")
    library.grow("main", None, "c1")
    library.out("main")
    repo = past.fork("a1", "a2b1")
    repo.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", "../library", "lib")
    inner = Repo(repo.path / "lib")
    repo.git("commit", "-q", "-m", "library")
    before = inner.read(MODEL)
    repo.git("merge", "-q", "side", code=1)
    repo.nn("resolve", "--theirs")
    repo.git("commit", "-q", "--no-edit")
    assert inner.read(MODEL) == before
    holds_files(repo, {MODEL: "a2b1"}, ".gitmodules", "lib")


def test_merges_in_two_worktrees_at_once(past: Past) -> None:
    repo = past.fork("a1", "a2b1")
    repo.git("worktree", "add", "-q", "-b", "other", "../other", "main")
    other = Repo(repo.path.parent / "other")
    repo.git("merge", "-q", "side", code=1)
    other.git("merge", "-q", "side", code=1)
    in_conflict(other, "a1b1", "a")
    other.nn("resolve", "--theirs")
    other.git("commit", "-q", "--no-edit")
    holds(other, "a2b1")
    in_conflict(repo, "a1b1", "a")
    repo.nn("resolve", "--ours")
    repo.git("commit", "-q", "--no-edit")
    holds(repo, "a1b1")


@pytest.mark.parametrize("how", ["--depth=2", "--filter=blob:none", "--shared"])
def test_merges_in_a_clone_that_has_not_everything(past: Past, how: str) -> None:
    origin = past.fork("a1", "a2b1")
    origin.git("config", "uploadpack.allowFilter", "true")
    url = f"file://{origin.path}" if how != "--shared" else str(origin.path)
    origin.git("clone", "-q", "--no-checkout", how, "--no-single-branch", url, "../clone")
    clone = Repo(origin.path.parent / "clone")
    clone.nn("install", "--local")
    clone.git("checkout", "-q", "main")
    clone.git("merge", "-q", "origin/side", code=1)
    in_conflict(clone, "a1b1", "a")
    clone.nn("resolve", "--theirs")
    clone.git("commit", "-q", "--no-edit")
    holds(clone, "a2b1")


def test_a_model_outside_of_the_sparse_checkout_merges(past: Past) -> None:
    inside, outside = f"in/{MODEL}", f"out/{MODEL}"
    repo = past.fork(
        {inside: "a1", outside: "a1"}, {inside: "b1", outside: "b1"}, base={inside: "", outside: ""}
    )
    repo.git("sparse-checkout", "set", "in")
    repo.git("merge", "-q", "--no-edit", "side")
    is_model(repo, inside, arrays("a1b1"))
    repo.git("sparse-checkout", "disable")
    holds_files(repo, {inside: "a1b1", outside: "a1b1"})


def test_a_conflict_outside_of_the_sparse_checkout_is_shown(past: Past) -> None:
    inside, outside = f"in/{MODEL}", f"out/{MODEL}"
    repo = past.fork({outside: "a1"}, {outside: "a2b1"}, base={inside: "", outside: ""})
    repo.git("sparse-checkout", "set", "in")
    repo.git("merge", "-q", "side", code=1)
    in_conflict(repo, "a1b1", "a", path=outside)
    repo.nn("resolve", "--theirs")
    repo.git("commit", "-q", "--no-edit")
    repo.git("sparse-checkout", "disable")
    holds_files(repo, {inside: "", outside: "a2b1"})


def test_rerere_of_git_takes_a_tensor_as_before(past: Past) -> None:
    repo = past.fork("a1", "a2b1")
    repo.git("config", "rerere.enabled", "true")
    repo.git("config", "rerere.autoUpdate", "true")
    repo.git("merge", "-q", "side", code=1)
    in_conflict(repo, "a1b1", "a")
    repo.nn("resolve", "--theirs")
    repo.git("commit", "-q", "--no-edit")
    repo.git("reset", "-q", "--hard", "HEAD~1")
    assert "1 tensor settled as before: theirs" in repo.git("merge", "--no-edit", "side").errors
    holds(repo, "a2b1")


# --- merges by hand and without the driver ----------------------------------------------


def test_a_wrong_merge_by_hand_is_refused_with_the_tensor(past: Past) -> None:
    """Somebody takes a line of another shape into the pointer; nothing of it becomes a file."""
    repo = past.fork("a1", "b1")
    text = repo.blob(f"HEAD:{MODEL}").replace(b"tensor b\n  f32 3x4", b"tensor b\n  f32 3x5")
    blob = repo.git("hash-object", "-w", "--stdin", stdin=text).text.strip()
    repo.git("update-index", "--cacheinfo", f"100644,{blob},{MODEL}")
    repo.git("commit", "-q", "-m", "by hand")
    (repo.path / MODEL).unlink()
    assert "tensor b" in repo.git("checkout", "--", MODEL, code=None).errors
    repo.git("reset", "-q", "--hard", "HEAD~1")
    holds(repo, "a1")
