"""Pushes and fetches that die half way: nothing wrong is left, and the next one finishes them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.functional.test_gc import SYSTEM_DEATH
from tests.support.git import Repo
from tests.support.models import normal, safetensors_file

NAME = "model.safetensors"


def model(seed: int) -> bytes:
    return safetensors_file({"w": normal(seed, 64, 32), "b": normal(seed + 1, 32)})


@pytest.fixture
def near(repo: Repo, tmp_path: Path) -> Repo:
    """Three versions in packs of their own; the weights go to a folder."""
    repo.git("init", "-q", "--bare", str(tmp_path / "far.git"))
    repo.git("remote", "add", "origin", str(tmp_path / "far.git"))
    repo.git("config", "nn.url", str(tmp_path / "weights"))
    for seed in (1, 2, 3):
        repo.write(NAME, model(seed))
        repo.commit(f"{seed}")
    return repo


def dying(repo: Repo, call: int, *command: str) -> int:
    """The exit code of a command that dies at a system call of the store that changes something."""
    done = subprocess.run(
        [sys.executable, "-c", SYSTEM_DEATH, str(call), *command],
        cwd=repo.path, capture_output=True, check=False,
    )  # fmt: skip
    return done.returncode


def lazy_clone(near: Repo, tmp_path: Path) -> Repo:
    near.git("push", "-q", "origin", "main")
    near.nn("install")
    near.path.rename(tmp_path / "gone")
    place = tmp_path / "lazy"
    weights = f"nn.url={tmp_path / 'weights'}"
    argv = (
        "git",
        "clone",
        "-q",
        "-b",
        "main",
        "-c",
        weights,
        str(tmp_path / "far.git"),
        str(place),
    )
    Repo(tmp_path).run(*argv, env={"GIT_NN_SKIP_SMUDGE": "1"})
    return Repo(place)


@pytest.mark.parametrize("call", [1, 4, 7, 10, 14, 19, 25])
def test_a_push_that_is_killed_is_finished_by_the_next(
    near: Repo, tmp_path: Path, call: int
) -> None:
    assert dying(near, call, "push", "origin", "main") == 77
    for pack in (tmp_path / "weights").rglob("*.idx"):
        assert pack.with_suffix(".nnp").exists()
    near.nn("push", "origin", "main")
    there = lazy_clone(near, tmp_path)
    there.nn("fetch", "--all")
    there.nn("fsck")
    assert there.nn("checkout").text == "1 file written\n"
    assert there.read(NAME) == model(3)


@pytest.mark.parametrize("call", [1, 4, 8, 13, 18])
def test_a_fetch_that_is_killed_is_finished_by_the_next(
    near: Repo, tmp_path: Path, call: int
) -> None:
    there = lazy_clone(near, tmp_path)
    assert dying(there, call, "fetch", "--all") == 77
    assert there.status() == ""
    there.nn("fetch", "--all")
    there.nn("fsck")
    there.nn("checkout")
    assert there.read(NAME) == model(3)


def test_what_is_wrong_at_the_remote_is_never_taken(near: Repo, tmp_path: Path) -> None:
    there = lazy_clone(near, tmp_path)
    packs = sorted((tmp_path / "weights").rglob("*.nnp"))
    for pack in packs:
        data = bytearray(pack.read_bytes())
        data[len(data) // 2] ^= 1
        pack.chmod(0o644)
        pack.write_bytes(data)
    failed = there.nn("pull", code=3)
    assert "wrong bytes" in failed.errors
    assert "stays a pointer" in failed.errors
    assert there.read(NAME).startswith(b"git-nn pointer 1\n")
    said = there.nn("fsck", code=None).text
    assert "not here" in said
    assert "damaged" not in said


def test_a_pack_that_is_cut_off_or_gone_is_told(near: Repo, tmp_path: Path) -> None:
    there = lazy_clone(near, tmp_path)
    for number, pack in enumerate(sorted((tmp_path / "weights").rglob("*.nnp"))):
        pack.chmod(0o644)
        if number % 2:
            pack.unlink()
        else:
            pack.write_bytes(pack.read_bytes()[:-20])
    failed = there.nn("pull", code=3).errors
    assert "stays a pointer" in failed
    (tmp_path / "gone").rename(near.path)
    near.nn("push")
    assert there.nn("pull").text == "1 file written\n"
    assert there.read(NAME) == model(3)


def test_an_index_that_lies_is_refused(near: Repo, tmp_path: Path) -> None:
    there = lazy_clone(near, tmp_path)
    for index in (tmp_path / "weights").rglob("*.idx"):
        index.chmod(0o644)
        data = bytearray(index.read_bytes())
        data[-40] ^= 1
        index.write_bytes(data)
    failed = there.nn("pull", code=3).errors
    assert "index of pack" in failed
    assert "damaged" in failed
