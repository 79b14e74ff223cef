"""A merge commit says how its models were merged, and can be made again bit for bit."""

from __future__ import annotations

from pathlib import Path

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
    assert "the same, bit for bit" in repo.nn("merge", "--replay", "HEAD").text
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


def test_a_fast_forward_to_a_merge_that_says_nothing_does_not_rewrite_it(tmp_path: Path) -> None:
    repo = start(tmp_path, model(a=X), model(a=Y)).repo
    repo.git("switch", "-q", "-c", "merged")
    repo.git("merge", "-q", "--no-edit", "side", env={"GIT_NN_MERGE": "mean"})
    repo.git("switch", "-q", "main")
    repo.nn("merge", "merged")
    assert repo.git("rev-parse", "main").text == repo.git("rev-parse", "merged").text
    assert trailers(repo) == []


def test_the_hook_says_it_for_plain_git_merge_and_names_the_rules_that_counted(
    tmp_path: Path,
) -> None:
    branches = start(tmp_path, model(a=X, b=X, c=X), model(a=Y, b=Y, d=Y))
    repo = hooked(branches)
    for pattern, strategy in (("*", "mean"), ("b", "ours"), ("zz", "ties")):
        repo.git("config", f"nn.merge.{pattern}.strategy", strategy)
    repo.git("merge", "-q", "--no-edit", "side")
    rules = [f"NN-Merge: {PATH} mean:weight=0.5 *", f"NN-Merge: {PATH} ours b"]
    assert trailers(repo) == rules
    assert repo.git("log", "-1", "--format=%s").text == "Merge branch 'side'\n"
    repo.git("config", "--remove-section", "nn.merge.*")
    repo.git("config", "--remove-section", "nn.merge.b")
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


def test_files_that_were_added_whole_are_said_to_be_what_they_are(tmp_path: Path) -> None:
    repo = hooked(start(tmp_path, model(a=X), model(a=Y, b=Z)))
    for how, trailer, replay in (
        ("as it stands", "ours", 0),
        ("--theirs", "file=theirs", 0),
        ("by hand", "hand", 1),
    ):
        repo.git("merge", "-q", "--no-edit", "side", code=1)
        if how == "--theirs":
            repo.git("checkout", "-q", "--theirs", MODEL)
        if how == "by hand":
            repo.write(MODEL, model(a=Z))
        repo.git("add", MODEL)
        repo.git("commit", "-q", "-m", "a message of one's own")
        assert trailers(repo) == [f"NN-Resolve: {PATH} {trailer}"]
        done = repo.nn("merge", "--replay", "HEAD", code=replay)
        assert ("settled by hand" in done.text) == (how == "by hand")
        repo.git("reset", "-q", "--hard", "HEAD^")


def test_a_replay_names_the_tensor_that_differs(tmp_path: Path) -> None:
    repo = start(tmp_path, model(a=X), model(a=Y)).repo
    repo.nn("merge", "--no-edit", "-s", "mean", "side")
    repo.write(MODEL, model(a=mean(X, Y), c=Z))
    message = repo.git("log", "-1", "--format=%B").text.replace("weight=0.5", "weight=0.6")
    repo.git("commit", "-q", "-a", "--amend", "-m", message)
    assert "a, c differ" in repo.nn("merge", "--replay", "HEAD", code=1).text


def test_commits_that_have_nothing_to_say_keep_their_message(tmp_path: Path) -> None:
    repo = hooked(start(tmp_path, model(a=X), model(b=Y, a=Y)))
    repo.git("branch", "keep")
    for begin, words in (
        ("start", ("merge", "-q", "--no-ff", "--no-edit", "side")),  # changed on one side only
        ("keep", ("cherry-pick", "side")),
        ("keep", ("rebase", "side")),
        ("keep", ("merge", "--squash", "side")),
    ):
        repo.git("reset", "-q", "--hard", begin)
        repo.git(*words, env={"GIT_NN_MERGE": "mean"})
        if "--squash" in words:
            repo.git("commit", "-q", "-m", "squashed")
        assert trailers(repo) == []
        assert repo.status() == ""
        assert "git-nn: " in repo.nn("merge", "--replay", "HEAD", code=2).errors


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
