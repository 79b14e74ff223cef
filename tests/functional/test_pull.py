"""git nn pull turns pointers into weights; GIT_NN_SMUDGE=full gives a diff real bytes."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.git import Repo
from tests.support.models import normal, safetensors_file

A, B = "a.safetensors", "sub dir/b.safetensors"


def model(seed: int) -> bytes:
    return safetensors_file({"first": normal(1, 30, 10), "second": normal(seed, 20)})


@dataclass(frozen=True)
class Pair:
    """``origin`` holds the weights; ``clone`` of it is all pointers, with an empty store."""

    origin: Repo
    clone: Repo

    def pointers(self) -> set[str]:
        """Files of the clone that are pointers in its work tree."""
        return {name for name in (A, B) if self.clone.read(name) == self.clone.blob(f":{name}")}


@pytest.fixture
def pair(repo: Repo, tmp_path: Path) -> Pair:
    repo.write(A, model(2))
    repo.write(B, model(3)).chmod(0o755)
    repo.commit("base")
    repo.nn("install")
    clone = tmp_path / "clone"
    repo.git("clone", "-q", str(repo.path), str(clone), env={"GIT_NN_SKIP_SMUDGE": "1"})
    made = Pair(repo, Repo(clone))
    assert made.pointers() == {A, B}
    return made


def test_pull_writes_the_weights_and_status_stays_clean(pair: Pair) -> None:
    clone = pair.clone
    assert clone.nn("pull").text == "2 files written\n"
    assert (clone.read(A), clone.read(B)) == (model(2), model(3))
    assert (clone.path / B).stat().st_mode & 0o777 == 0o755
    assert clone.status() == ""
    assert clone.nn("pull").text == "0 files written\n"
    shutil.rmtree(pair.origin.path)
    clone.nn("fsck")


def test_pull_of_a_path_leaves_the_others(pair: Pair) -> None:
    assert pair.clone.nn("pull", B).text == "1 file written\n"
    assert pair.pointers() == {A}
    assert pair.clone.nn("pull", ".").text == "1 file written\n"
    assert pair.pointers() == set()


def test_pull_takes_paths_as_they_are_typed(pair: Pair) -> None:
    below = Repo(pair.clone.path / "sub dir")
    assert below.nn("pull", "b.safetensors").text == "1 file written\n"
    assert pair.pointers() == {A}
    assert below.nn("pull", "../a.safetensors").text == "1 file written\n"
    assert pair.pointers() == set()
    assert below.nn("pull", ".", "..").text == "0 files written\n"


def test_pull_of_what_is_no_weight_file_is_an_error(pair: Pair) -> None:
    (pair.clone.path / "notes.txt").write_text("x")
    for wrong in ("nope", "notes.txt", ".gitattributes", "sub"):
        result = pair.clone.nn("pull", A, wrong, code=2)
        assert f"no weight file that Git tracks at {wrong};" in result.errors
    assert "is outside of the repository" in pair.clone.nn("pull", "..", code=2).errors
    assert pair.pointers() == {A, B}
    bare = pair.clone.path.parent / "bare"
    pair.origin.git("clone", "-q", "--bare", ".", str(bare))
    assert "no work tree" in Repo(bare).nn("pull", code=2).errors


def test_pull_follows_a_link_that_leads_into_the_repository(pair: Pair, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(pair.clone.path / "sub dir")
    Repo(tmp_path).nn(
        "pull", str(link / "b.safetensors"), code=2
    )  # as for Git: where one is counts
    assert pair.clone.nn("pull", str(link / "b.safetensors")).text == "1 file written\n"
    assert pair.pointers() == {A}


def test_pull_leaves_a_file_that_is_no_pointer_any_more(pair: Pair) -> None:
    clone = pair.clone
    clone.write(A, model(9))
    (clone.path / B).unlink()
    assert clone.nn("pull").text == "0 files written\n"
    assert clone.read(A) == model(9)
    assert not (clone.path / B).exists()


def test_pull_says_what_is_missing_and_writes_the_rest(pair: Pair) -> None:
    """The tensors of a second model are in no store; what it shares with the first is."""
    origin, clone = pair.origin, pair.clone
    kept = origin.path.parent / "kept"
    shutil.copytree(origin.path / ".git/nn", kept)
    origin.write(A, model(4))
    origin.commit("another")
    full = origin.path.parent / "full"
    (origin.path / ".git/nn").rename(full)
    kept.rename(origin.path / ".git/nn")
    clone.git("pull", "-q", env={"GIT_NN_SKIP_SMUDGE": "1"})
    result = clone.nn("pull", code=3)
    assert result.text == "1 file written\n"
    line, advice = result.errors.splitlines()
    assert line.startswith(f"git-nn: {A} stays a pointer: tensor second is not in the store")
    assert "git remote add NAME FOLDER" in advice
    assert pair.pointers() == {A}
    assert clone.read(B) == model(3)
    assert clone.status() == ""

    shutil.rmtree(origin.path / ".git/nn")
    full.rename(origin.path / ".git/nn")
    assert clone.nn("pull").text == "1 file written\n"
    assert clone.read(A) == model(4)


def test_pull_without_anything_to_pull_from_names_every_file(pair: Pair) -> None:
    pair.clone.git("remote", "remove", "origin")
    result = pair.clone.nn("pull", code=3)
    assert result.text == "0 files written\n"
    *lines, advice = result.errors.splitlines()
    for name, line in zip((A, B), lines, strict=True):
        assert line.startswith(f"git-nn: {name} stays a pointer: the skeleton is not in the store")
    assert pair.clone.status() == ""
    assert advice.endswith("git remote add NAME FOLDER && git nn pull")
    pair.clone.git("remote", "add", "again", "../repo")
    assert pair.clone.nn("pull").text == "2 files written\n"


def test_pull_without_the_filter_says_what_comes_of_it(pair: Pair) -> None:
    pair.clone.nn("uninstall")
    result = pair.clone.nn("pull")
    assert result.text == "2 files written\n"
    assert "run 'git nn install'" in result.errors
    pair.clone.nn("install")
    assert pair.clone.nn("pull").errors == ""


def test_a_diff_is_given_pointers_unless_it_asks_for_full_bytes(repo: Repo) -> None:
    """A textconv of one's own shows what Git hands to it, which nobody has cached."""
    repo.write(A, model(2))
    repo.commit("base")
    show = ("-c", "diff.nn.textconv=sha256sum <", "-c", "diff.nn.cachetextconv=false", "show")
    pointer, weights = (hashlib.sha256(x).hexdigest() for x in (repo.blob(f":{A}"), model(2)))
    for env, digest in (
        ({}, pointer),
        ({"GIT_NN_SMUDGE": "full"}, weights),
        ({"GIT_NN_SMUDGE": "full", "GIT_NN_SKIP_SMUDGE": "1"}, weights),
    ):
        assert f"\n+{digest}  -\n" in repo.git(*show, "HEAD", env=env).text, env


def test_an_alias_is_answered_as_what_it_stands_for(repo: Repo) -> None:
    """Git ignores an alias that hides a command, and starts all others as commands."""
    repo.write(A, model(2))
    repo.commit("base")
    hidden = repo.git("-c", "alias.cat-file=show", "cat-file", "--filters", f"HEAD:{A}")
    assert hidden.out == model(2)
    pointer = hashlib.sha256(repo.blob(f":{A}")).hexdigest()
    show = ("-c", "diff.nn.textconv=sha256sum <", "-c", "diff.nn.cachetextconv=false",
            "-c", "alias.last=again -1", "-c", "alias.again=log -p")  # fmt: skip
    assert f"\n+{pointer}  -\n" in repo.git(*show, "last").text
    (repo.path / A).unlink()
    repo.git("-c", "nn.largeThreshold=1", "-c", "alias.co=checkout", "co", ".")
    assert repo.read(A) == model(2)
    assert repo.status() == ""


def test_full_bytes_give_the_same_diff(repo: Repo) -> None:
    for seed in (2, 3):
        repo.write(A, model(seed))
        repo.commit("base")
    repo.git("config", "diff.nn.cachetextconv", "false")
    for argv in (("diff", "HEAD~1", "HEAD"), ("log", "-p")):
        shown = repo.git(*argv).text
        assert "second" in shown
        assert repo.git(*argv, env={"GIT_NN_SMUDGE": "full"}).text == shown
