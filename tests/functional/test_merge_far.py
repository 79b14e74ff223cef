"""Merges of weights that are at a remote only: they are fetched when something needs them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.damage import store_of
from tests.support.git import Repo
from tests.support.models import normal, safetensors_file

NAME = "model.safetensors"
COMMON = normal(1, 40, 32)
OURS, THEIRS = COMMON + normal(2, 40, 32), COMMON + normal(3, 40, 32)
MEAN = ((OURS.astype("f8") + THEIRS) / 2).astype("f4")


def model(shared: np.ndarray, **others: np.ndarray) -> bytes:
    return safetensors_file({"still": normal(9, 40, 32), "w": shared, **others})


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return tmp_path / "weights"


@pytest.fixture
def mine(repo: Repo, far: Repo, weights: Path) -> Repo:
    """A clone whose branch and that of origin/main both changed w; theirs was never here."""
    repo.nn("install")
    repo.git("config", "--global", "nn.url", str(weights))
    repo.git("remote", "add", "origin", str(far.path))
    repo.write(NAME, model(COMMON))
    repo.commit("start")
    repo.git("push", "-qu", "origin", "main")
    repo.git("clone", "-q", str(far.path), "../other")
    other = Repo(repo.path.with_name("other"))
    other.write(NAME, model(THEIRS, added=normal(4, 40, 32)))
    other.commit("theirs")
    other.git("push", "-q")
    repo.write(NAME, model(OURS))
    repo.commit("ours")
    repo.git("fetch", "-q")
    return repo


MERGED = model(MEAN, added=normal(4, 40, 32))


def test_a_merge_fetches_what_its_strategy_reads(mine: Repo) -> None:
    mine.git("config", "nn.merge.strategy", "mean")
    mine.git("pull", "-q", "--no-rebase")
    assert mine.read(NAME) == MERGED
    assert mine.status() == ""


def test_so_does_what_settles_a_conflict(mine: Repo) -> None:
    told = mine.git("pull", "--no-rebase", code=1).errors
    assert "not on this machine" not in told
    mine.nn("resolve", "--strategy", "mean")
    mine.git("commit", "-qm", "merged")
    assert mine.read(NAME) == MERGED


def test_so_does_a_sweep_also_where_a_value_gives_back_one_side(mine: Repo) -> None:
    measured = ("--sweep", "weight=0:1:1", "--eval", "cksum < {}; echo 1")
    told = mine.nn("merge", "-s", "mean", *measured, "origin/main")
    assert "     0  1\n     1  1\n" in told.text


def test_so_does_a_soup(mine: Repo) -> None:
    mine.nn("soup", "-s", "mean", "origin/main")
    assert mine.read(NAME) == MERGED
    assert mine.status() == ""


def test_a_preview_has_its_numbers(mine: Repo) -> None:
    told = mine.nn("merge", "--preview", "origin/main", code=1).text
    assert "not here" not in told
    assert "cos" in told


def test_what_one_side_changed_is_not_fetched_to_merge_it(mine: Repo) -> None:
    mine.git("reset", "-q", "--hard", "HEAD~1")
    mine.write(NAME, model(COMMON, own=normal(5, 40, 32)))
    mine.git("commit", "-qam", "ours")
    tree = mine.git("merge-tree", "--write-tree", "HEAD", "origin/main").text.split()[0]
    pointer = mine.git("cat-file", "blob", f"{tree}:{NAME}").text
    assert "\ntensor own\n" in pointer
    oid = bytes.fromhex(pointer.partition("\ntensor added\n")[2].split()[2])
    assert store_of(mine).missing([oid]) == [oid]


def test_where_the_remote_is_away_it_is_a_conflict_that_says_why(mine: Repo, weights: Path) -> None:
    weights.rename(weights.with_name("away"))
    told = mine.git("pull", "--no-rebase", code=1).errors
    assert "1 tensor in conflict" in told
    assert "rows were not compared: some weights are not on this machine" in told
    told = mine.nn("resolve", "--strategy", "mean", code=3).errors
    assert "cannot be had: " in told
    assert str(weights) in told
    weights.with_name("away").rename(weights)
    mine.nn("resolve", "--strategy", "mean")
    assert mine.read(NAME) == MERGED
