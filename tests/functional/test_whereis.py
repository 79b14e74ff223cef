"""git nn whereis: this clone, alternates and remotes, as they are now."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.damage import weights
from tests.support.git import Repo

NAME = "model.safetensors"


@pytest.fixture
def near(repo: Repo, tmp_path: Path) -> Repo:
    """Two remotes; the first has what was committed first."""
    for name in ("one", "two"):
        repo.git("init", "-q", "--bare", str(tmp_path / f"{name}.git"))
        repo.git("remote", "add", name, str(tmp_path / f"{name}.git"))
    repo.write(NAME, weights(1, "a", "b"))
    repo.commit("first")
    repo.git("push", "-q", "one", "main")
    return repo


def missing(repo: Repo, *argv: str, code: int = 0) -> dict[str, list[str]]:
    (file,) = json.loads(repo.nn("whereis", *argv, "--json", code=code).text)["files"]
    return {place["name"]: place["missing_tensors"] for place in file["places"]}


def test_each_place_says_what_it_has(near: Repo) -> None:
    near.write(NAME, weights(1, "a", "b", "c"))
    near.commit("second")
    assert missing(near, NAME, "HEAD^") == {"here": [], "one": [], "two": ["a", "b"]}
    assert missing(near, NAME) == {"here": [], "one": ["c"], "two": ["a", "b", "c"]}
    text = near.nn("whereis", NAME).text
    assert "2 of 3 tensors" in text
    assert "all 3 tensors" in text


def test_what_only_a_remote_has_and_what_nobody_has(near: Repo) -> None:
    for path in (near.path / ".git/nn/packs").rglob("*.nnp"):
        path.unlink()
    assert missing(near, NAME)["here"] == ["a", "b"]
    assert missing(near, NAME)["one"] == []
    near.git("remote", "remove", "one")
    missing(near, NAME, code=3)


def test_a_borrowed_store_is_a_place_of_its_own(near: Repo) -> None:
    near.nn("install")
    there = Repo(near.path.with_name("borrower"))
    near.git("clone", "-q", "--shared", str(near.path), str(there.path))
    found = missing(there, NAME)
    assert found.pop(str(near.path / ".git/nn")) == []
    assert found.pop("here") == ["a", "b"]


def test_a_remote_that_does_not_answer_is_told_of(near: Repo, tmp_path: Path) -> None:
    (tmp_path / "two.git").rename(tmp_path / "moved.git")
    told = near.nn("whereis", NAME, code=8)
    assert "two   does not answer" in told.text
    assert "no repository" in told.errors


def test_a_path_without_a_model_is_refused(near: Repo) -> None:
    assert "no model" in near.nn("whereis", ".gitattributes", code=2).errors
    assert "no revision" in near.nn("whereis", NAME, "nope", code=2).errors
