"""git nn merge: git merge, with a strategy for one merge."""

from __future__ import annotations

from pathlib import Path

from tests.functional.test_merge import MODEL, X, Y, Z, content, mean, model, start


def test_the_strategy_and_its_parameters_are_for_this_merge_only(tmp_path: Path) -> None:
    repo = start(tmp_path, model(a=X), model(a=Y), attributes="*.safetensors nn-merge=ours\n").repo
    words = ("-s", "mean", "--set", "weight=0.25", "side")
    repo.nn("merge", "--preview", *words)  # which ends with 1 where there would be conflicts
    done = repo.nn("merge", "--no-edit", *words)
    assert "1 tensor by mean:weight=0.25" in done.errors
    assert content(repo) == model(a=(0.75 * X.astype("f8") + 0.25 * Y.astype("f8")).astype("f4"))
    assert len(repo.git("rev-list", "--parents", "-1", "HEAD").text.split()) == 3
    repo.git("reset", "-q", "--hard", "HEAD^")
    repo.git("merge", "-q", "--no-edit", "side")
    assert content(repo) == model(a=X)


def test_without_a_strategy_it_is_git_merge(tmp_path: Path) -> None:
    repo = start(tmp_path, model(a=X), model(a=Y, b=Z)).repo
    failed = repo.nn("merge", "--no-edit", "side", code=1)
    assert "1 tensor from theirs; 1 tensor in conflict" in failed.errors
    assert "Automatic merge failed" in failed.text
    assert repo.read(MODEL) == model(a=X, b=Z)
    repo.nn("merge", "--abort")
    assert content(repo) == model(a=X)


def test_what_the_strategy_cannot_settle_is_left_as_git_merge_leaves_it(tmp_path: Path) -> None:
    ints = {"n": X.astype("i4")}
    repo = start(tmp_path, model(a=X, **ints), model(a=Y, n=Y.astype("i4") + 9)).repo
    repo.nn("merge", "--no-edit", "-s", "mean", "side", code=1)
    assert repo.status().startswith("UU")
    repo.nn("resolve", "--theirs")
    repo.nn("merge", "--continue")
    assert content(repo) == model(a=mean(X, Y), n=Y.astype("i4") + 9)


def test_options_of_git_merge_reach_it(tmp_path: Path) -> None:
    repo = start(tmp_path, model(a=X), model(a=Y)).repo
    head = repo.git("rev-parse", "HEAD").text
    repo.nn("merge", "-s", "mean", "--no-commit", "--log", "side")
    assert repo.git("rev-parse", "HEAD").text == head
    assert "* side:" in (repo.path / ".git/MERGE_MSG").read_text()
    repo.git("merge", "--abort")
    repo.nn("merge", "-s", "mean", "--squash", "side")
    assert repo.git("diff", "--cached", "--name-only").text.strip() == MODEL
    repo.git("reset", "-q", "--hard")
    repo.nn("merge", "-qs", "mean", "-m", "two", "-m", "words", "-X", "theirs", "side")
    assert repo.git("log", "-1", "--format=%s%b").text.startswith("twowords")
    repo.git("switch", "-q", "-c", "late", "start")
    repo.nn("merge", "-s", "mean", "--no-ff", "-m", "no fast-forward", "side")
    assert repo.git("log", "-1", "--format=%s").text == "no fast-forward\n"
    assert repo.read(MODEL) == model(a=Y)
    repo.git("switch", "-q", "main")
    assert "Already up to date" in repo.nn("merge", "-").text + repo.nn("merge", "side").text
    assert "nowhere - not something we can merge" in repo.nn("merge", "nowhere", code=1).errors


REFUSED = [
    (["-s", "ort", "side"], "'ort', which names no merge strategy; use one of: ours"),
    (["-s", "mean", "--set", "wieght=1", "side"], "mean has no parameter 'wieght'"),
    (["-s", "mean", "--set", "weight=2", "side"], "use a number from 0 to 1"),
    (["--set", "weight=1", "side"], "add -s S"),
    (["-s", "mean", "side", "other"], "run 'git nn soup'"),
    (["--preview"], "no branch is named"),
]


def test_what_makes_no_sense_is_refused_before_anything_happens(tmp_path: Path) -> None:
    repo = start(tmp_path, model(a=X), model(a=Y)).repo
    for words, told in REFUSED:
        assert told in repo.nn("merge", *words, code=2).errors
    repo.git("config", "--unset", "merge.nn.driver")  # Git would not ask for the strategy
    assert "run 'git nn install'" in repo.nn("merge", "-s", "mean", "side", code=2).errors
    assert not (repo.path / ".git/MERGE_HEAD").exists()
    assert content(repo) == model(a=X)
