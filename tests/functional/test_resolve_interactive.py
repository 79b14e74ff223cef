"""git nn resolve --interactive and git mergetool, on a real terminal."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from tests.support.git import Repo
from tests.support.models import safetensors_file
from tests.support.stock import MODEL, Arrays, arrays, holds, is_model
from tests.support.terminal import on_terminal

NAMES = ("a", "b", "c", "d")
MERGETOOL = ("git", "-c", "mergetool.keepBackup=false", "mergetool", "--tool=nn", "--no-prompt")
OPEN = ("layers.0.b", "layers.0.w", "layers.1.b", "layers.1.w")
SIDES = {
    side: {name: arrays(version)[key] for name, key in zip(OPEN, NAMES, strict=True)}
    for side, version in (("base", ""), ("ours", "a1b1c1d1"), ("theirs", "a2b2c2d2"))
}


def mixed(**taken: str) -> Arrays:
    """The model with these sides, by layer and tensor: ``_0b="theirs"``; else ours."""
    made = dict(SIDES["ours"])
    for key, side in taken.items():
        name = f"layers.{key[1]}.{key[2]}"
        made[name] = SIDES[side][name]
    return made


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> Repo:
    """A merge that has not begun: both sides changed two layers of two tensors."""
    repo = Repo.create(tmp_path_factory.mktemp("layers") / "repo", patterns=())
    repo.write(".gitattributes", b"*.safetensors filter=nn diff=nn merge=nn -text\n")
    for branch, side in (("main", "base"), ("side", "theirs"), ("main", "ours")):
        repo.git("switch", "-q", *(["-C"] if branch == "side" else []), branch, code=None)
        repo.write(MODEL, safetensors_file(SIDES[side]))
        repo.commit(side)
    return repo


@pytest.fixture
def repo(merged: Repo) -> Repo:
    merged.git("reset", "-q", "--hard", "main")
    merged.git("merge", "-q", "side", code=1)
    return merged


def asked(repo: Repo, typed: str, *argv: str, code: int = 0) -> str:
    command = list(argv) or [sys.executable, "-m", "git_nn.cli.main", "resolve", "-i"]
    return on_terminal(command, repo.path, 200, typed=typed.encode(), code=code)


def test_each_block_is_asked_for_with_numbers(repo: Repo) -> None:
    told = asked(repo, "t\nb\n")
    assert "layers.0, 2 tensors [o,t,b,m,s,e,k,q,?]" in told
    assert f"{MODEL}: settled and staged" in told
    base, ours, theirs = (SIDES[side]["layers.0.b"].astype(np.float64) for side in SIDES)
    moved = np.linalg.norm(ours - base) / np.linalg.norm(base)
    cosine = np.vdot(ours - base, theirs - base) / (
        np.linalg.norm(ours - base) * np.linalg.norm(theirs - base)
    )
    (line,) = [line for line in told.splitlines() if "layers.0.b  f32 3x4" in line and "(" in line]
    assert f"ours moved {moved:.3g}" in line
    assert f"cosine {cosine:+.2f}" in line
    repo.git("commit", "-q", "--no-edit")
    holds(repo, mixed(_0b="theirs", _0w="theirs", _1b="base", _1w="base"))
    repo.git("reset", "-q", "--hard", "HEAD~1")


def test_a_block_is_taken_apart_and_left_open(repo: Repo) -> None:
    told = asked(repo, "x\ne\nt\nk\nm\n", code=1)
    assert "s  another strategy" in told
    assert f"{MODEL}: 1 tensor still in conflict" in told
    mean = mixed(_0b="theirs")
    for name in OPEN[2:]:
        both = [SIDES[side][name].astype(np.float64) for side in ("ours", "theirs")]
        mean[name] = ((both[0] + both[1]) / 2).astype(np.float32)
    is_model(repo, MODEL, mean)
    assert repo.status() == f"UU {MODEL}\n"
    assert "layers.0.w  f32" in repo.nn("resolve").text


def test_a_capital_is_for_all_that_is_left_and_a_wrong_strategy_is_asked_again(repo: Repo) -> None:
    told = asked(repo, "o\nS\naverage\nS\nmean:weight=1\n")
    assert "names no merge strategy" in told
    assert "settled and staged" in told
    is_model(repo, MODEL, mixed(_1b="theirs", _1w="theirs"))


@pytest.mark.parametrize(("typed", "code"), [("t\nq\n", 1), ("t\n\x04", 130)])
def test_ending_early_keeps_what_was_answered(repo: Repo, typed: str, code: int) -> None:
    told = asked(repo, typed, code=code)
    assert "2 tensors still in conflict" in told
    is_model(repo, MODEL, mixed(_0b="theirs", _0w="theirs"))
    assert asked(repo, "T\n").count("[o,t,b,m,s,e,k,q,?]") == 1
    is_model(repo, MODEL, SIDES["theirs"])


def test_without_a_terminal_nothing_is_asked(repo: Repo) -> None:
    before = repo.read(MODEL)
    assert "needs a terminal" in repo.nn("resolve", "--interactive", code=2).errors
    assert "asks for every tensor" in repo.nn("resolve", "-i", "--ours", code=2).errors
    assert repo.read(MODEL) == before


def test_mergetool_asks_and_stages(repo: Repo) -> None:
    told = asked(repo, "T\n", *MERGETOOL)
    assert f"{MODEL}: settled and staged" in told
    assert repo.status() == f"M  {MODEL}\n"
    is_model(repo, MODEL, SIDES["theirs"])


def test_mergetool_believes_that_tensors_are_open(repo: Repo) -> None:
    asked(repo, "t\nq\n", *MERGETOOL, code=1)
    assert repo.status() == f"UU {MODEL}\n"
    assert "2 tensors in conflict" in repo.nn("resolve").text
    repo.nn("resolve", "--base")
    is_model(repo, MODEL, mixed(_0b="theirs", _0w="theirs", _1b="base", _1w="base"))


def test_mergetool_without_a_terminal_changes_nothing(repo: Repo) -> None:
    before = repo.read(MODEL)
    repo.run(*MERGETOOL, code=1)
    assert repo.read(MODEL) == before
    assert repo.status() == f"UU {MODEL}\n"
