"""A merge commit says how its models were merged, and can be made again bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.functional.test_merge import MODEL, X, Y, Z, content, mean, model, start
from tests.support.branches import Branches
from tests.support.git import Repo

PATH = MODEL.replace(" ", "%20")


def trailers(repo: Repo, rev: str = "HEAD") -> list[str]:
    """Our trailers, as Git itself finds them."""
    text = repo.git("log", "-1", "--format=%(trailers:only,unfold)", rev).text
    return [line for line in text.splitlines() if line.startswith("NN-") and "-Version" not in line]


def hooked(branches: Branches) -> Repo:
    branches.repo.nn("install", "--hooks")
    return branches.repo


def replayed(repo: Repo) -> None:
    """The commit in HEAD is made again; nothing else is touched, whatever is chosen by now."""
    repo.git("config", "nn.merge.strategy", "base")
    head, status = repo.git("rev-parse", "HEAD").text, repo.status()
    assert "same, bit for bit" in repo.nn("merge", "--replay", "HEAD").text
    assert (repo.git("rev-parse", "HEAD").text, repo.status()) == (head, status)


def test_git_nn_merge_says_what_it_did_without_a_hook(tmp_path: Path) -> None:
    repo = start(tmp_path, model(a=X, b=X), model(a=Y, c=Y)).repo
    before = repo.git("rev-parse", "HEAD").text.strip()
    options = ("-s", "mean", "--set", "weight=0.1234567", "-m", "Two\n\nSigned-off-by: Me <m@e>")
    repo.nn("merge", *options, "side")
    assert trailers(repo) == [f"NN-Merge: {PATH} mean:weight=0.1234567"]
    message = repo.git("log", "-1", "--format=%B").text
    assert message.startswith("Two\n\nSigned-off-by: Me <m@e>\nNN-Merge: ")
    assert repo.git("rev-parse", "HEAD^1").text.strip() == before
    assert repo.status() == ""
    replayed(repo)


def test_the_hook_says_it_for_plain_git_merge_and_names_the_rules_that_counted(
    tmp_path: Path,
) -> None:
    branches = start(tmp_path, model(a=X, b=X, c=X), model(a=Y, b=Y, d=Y))
    repo = hooked(branches)
    for pattern, strategy in (("*", "mean"), ("b", "ours"), ("[cd]", "theirs"), ("zz", "ties")):
        repo.git("config", f"nn.merge.{pattern}.strategy", strategy)
    repo.git("merge", "-q", "--no-edit", "side")
    rules = [f"NN-Merge: {PATH} mean:weight=0.5 *", f"NN-Merge: {PATH} ours b"]
    assert trailers(repo) == rules
    assert repo.git("log", "-1", "--format=%s").text == "Merge branch 'side'\n"
    for name in ("*", "b", "[cd]", "zz"):
        repo.git("config", "--unset", f"nn.merge.{name}.strategy")
    replayed(repo)


def test_how_conflicts_were_settled_is_said_too(tmp_path: Path) -> None:
    ours, theirs = (model(**dict.fromkeys("abcd", value)) for value in (X, Y))
    repo = hooked(start(tmp_path, ours, theirs))
    repo.git("config", "nn.merge.d.strategy", "mean")
    repo.git("merge", "-q", "--no-edit", "side", code=1)
    repo.nn("resolve", "--strategy", "mean:weight=1", "a")
    repo.nn("resolve", "--theirs")
    repo.git("commit", "-q", "--no-edit")
    assert trailers(repo) == [
        f"NN-Merge: {PATH} mean:weight=0.5 d",
        f"NN-Resolve: {PATH} mean:weight=1 a",
        f"NN-Resolve: {PATH} theirs",
    ]
    assert content(repo) == model(a=Y, b=Y, c=Y, d=mean(X, Y))
    repo.git("config", "--unset", "nn.merge.d.strategy")
    replayed(repo)


def test_what_was_added_as_it_stood_is_ours(tmp_path: Path) -> None:
    repo = hooked(start(tmp_path, model(a=X), model(a=Y, b=Z)))
    repo.git("merge", "-q", "--no-edit", "side", code=1)
    repo.git("add", MODEL)
    repo.git("commit", "-q", "-m", "a message of one's own")
    assert trailers(repo) == [f"NN-Resolve: {PATH} ours"]
    assert content(repo) == model(a=X, b=Z)
    replayed(repo)


def test_a_whole_file_of_one_side_is_said(tmp_path: Path) -> None:
    repo = hooked(start(tmp_path, model(a=X), model(a=Y, b=Z)))
    repo.git("merge", "-q", "--no-edit", "side", code=1)
    repo.git("checkout", "-q", "--theirs", MODEL)
    repo.git("add", MODEL)
    repo.git("commit", "-q", "--no-edit")
    assert trailers(repo) == [f"NN-Resolve: {PATH} file=theirs"]
    assert repo.nn("merge", "--replay", "HEAD").code == 0


def test_what_a_person_made_is_not_claimed_to_be_made_again(tmp_path: Path) -> None:
    repo = hooked(start(tmp_path, model(a=X), model(a=Y)))
    repo.git("merge", "-q", "--no-edit", "side", code=1)
    repo.write(MODEL, model(a=Z))
    repo.git("add", MODEL)
    repo.git("commit", "-q", "--no-edit")
    assert trailers(repo) == [f"NN-Resolve: {PATH} hand"]
    told = repo.nn("merge", "--replay", "HEAD", code=1).text
    assert "settled by hand" in told


def test_a_replay_names_the_tensor_that_differs(tmp_path: Path) -> None:
    repo = start(tmp_path, model(a=X), model(a=Y)).repo
    repo.nn("merge", "--no-edit", "-s", "mean", "side")
    repo.write(MODEL, model(a=mean(X, Y), c=Z))
    repo.git("commit", "-q", "-a", "--amend", "--no-edit")
    assert "c differs" in repo.nn("merge", "--replay", "HEAD", code=1).text
    message = repo.git("log", "-1", "--format=%B").text.replace("weight=0.5", "weight=0.6")
    repo.git("commit", "-q", "--amend", "-m", message)
    assert "a, c differ" in repo.nn("merge", "--replay", "HEAD", code=1).text


@pytest.mark.parametrize("rev", ["HEAD", "HEAD^2"])
def test_a_commit_that_says_nothing_cannot_be_replayed(tmp_path: Path, rev: str) -> None:
    repo = hooked(start(tmp_path, model(a=X), model(b=Y)))
    repo.git("merge", "-q", "--no-edit", "side")
    assert trailers(repo) == []  # each tensor was changed on one side only
    assert repo.nn("merge", "--replay", rev, code=2).errors.startswith("git-nn: ")


def test_commits_with_one_parent_keep_their_message(tmp_path: Path) -> None:
    repo = hooked(start(tmp_path, model(a=X), model(a=Y)))
    repo.git("config", "nn.merge.strategy", "mean")
    repo.git("branch", "keep")
    for words in (("cherry-pick", "side"), ("rebase", "side"), ("merge", "--squash", "side")):
        repo.git("reset", "-q", "--hard", "keep")
        repo.git(*words)
        if words[0] == "merge":
            repo.git("commit", "-q", "-m", "squashed")
        assert trailers(repo) == []
        assert repo.status() == ""


def test_a_merge_that_was_rebased_says_what_is_true_of_it_now(tmp_path: Path) -> None:
    repo = hooked(start(tmp_path, model(a=X), model(a=Y)))
    repo.git("config", "nn.merge.strategy", "mean:weight=0.25")
    repo.git("merge", "-q", "--no-edit", "side")
    repo.git("config", "nn.merge.strategy", "mean:weight=0.75")
    repo.git("switch", "-q", "-c", "other", "start")
    repo.write("note", b"1")
    repo.commit()
    repo.git("rebase", "-q", "--rebase-merges", "other", "main")
    assert trailers(repo) == [f"NN-Merge: {PATH} mean:weight=0.75"]
    replayed(repo)


def test_renames_and_criss_cross_merges_are_made_again(tmp_path: Path) -> None:
    branches = start(tmp_path, model(a=X), model(a=Y))
    repo = hooked(branches)
    repo.git("config", "nn.merge.strategy", "mean")
    repo.git("branch", "side2", "side")
    repo.git("branch", "main2")
    repo.git("merge", "-q", "--no-edit", "side2")
    repo.git("switch", "-q", "side")
    repo.git("merge", "-q", "--no-edit", "-s", "ours", "main2")
    repo.git("mv", MODEL, "moved.safetensors")
    branches.put("moved.safetensors", model(a=Z), "changed and moved")
    repo.git("switch", "-q", "main")
    branches.put(MODEL, model(a=X, b=Z), "changed")
    repo.git("merge", "-q", "--no-edit", "side")
    assert len(repo.git("merge-base", "--all", "HEAD^1", "HEAD^2").text.split()) == 2
    assert trailers(repo) == ["NN-Merge: moved.safetensors mean:weight=0.5"]
    repo.git("config", "nn.merge.strategy", "base")
    told = repo.nn("merge", "--replay", "HEAD").text
    assert told == "moved.safetensors: the same, bit for bit\n"
