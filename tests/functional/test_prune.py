"""git nn prune: what a remote holds may go and comes back; nothing else ever goes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from tests.functional.test_gc import SYSTEM_DEATH
from tests.support.damage import forget_reflogs, nn_dir, weights
from tests.support.git import Repo
from tests.support.lfs_server import LfsServer

NAME = "model.safetensors"


@pytest.fixture
def near(repo: Repo, far: Repo) -> Repo:
    """Three versions, of which origin/main has the second, so that the first is an old one."""
    repo.git("remote", "add", "origin", str(far.path))
    for seed in (1, 2):
        repo.write(NAME, weights(seed))
        repo.commit(f"version {seed}")
    repo.git("push", "-qu", "origin", "main")
    repo.write(NAME, weights(3))
    repo.commit("version 3")
    return repo


def prune(repo: Repo, *options: str, code: int = 0) -> dict[str, int]:
    found: dict[str, int] = json.loads(repo.nn("prune", "--json", *options, code=code).text)
    return found


def tensors_here(repo: Repo, rev: str) -> bool:
    (file,) = json.loads(repo.nn("whereis", NAME, rev, "--json", code=None).text)["files"]
    return file["places"][0]["missing_tensors"] == []


def test_old_pushed_versions_go_and_come_back(near: Repo) -> None:
    assert prune(near, "-n")["objects"] == 1
    assert tensors_here(near, "HEAD~2")
    found = prune(near)
    assert found["objects"] == 1
    assert found["freed"] > 7000
    assert not tensors_here(near, "HEAD~2")
    assert tensors_here(near, "HEAD")
    assert near.status() == ""
    near.nn("fsck")
    near.nn("gc", "--grace", "0")
    near.git("checkout", "-q", "HEAD~2")
    assert near.read(NAME) == weights(1)
    assert near.status() == ""


def test_what_was_not_pushed_or_is_not_held_stays(near: Repo, far: Repo) -> None:
    near.write(NAME, weights(4))
    near.commit("version 4")
    near.nn("push")  # weights alone: no ref of the remote needs them, so its gc may take them
    assert prune(near)["objects"] == 1
    assert tensors_here(near, "HEAD^")
    near.git("fetch", "-q")
    near.nn("fetch", "--all")
    for path in (far.path / "nn/packs").rglob("*.nnp"):
        data = path.read_bytes()
        path.unlink()  # it may be the very file that stands here
        path.write_bytes(data[:-1])
    assert prune(near)["objects"] == 0
    shutil.rmtree(far.path / "nn")
    assert prune(near)["objects"] == 0
    far.path.rename(far.path.with_name("moved.git"))
    assert prune(near, code=8)["objects"] == 0
    assert tensors_here(near, "HEAD~3")


def test_stashes_worktrees_and_other_paths_stay(near: Repo) -> None:
    near.git("worktree", "add", "-q", "--detach", str(near.path.with_name("other")), "HEAD~2")
    near.write(NAME, weights(2))
    near.git("stash", "-q")
    assert prune(near)["objects"] == 0
    near.git("worktree", "remove", str(near.path.with_name("other")))
    near.git("stash", "drop", "-q")
    assert prune(near, "-X", "*.safetensors")["objects"] == 0
    assert prune(near, "-I", "*.h5")["objects"] == 0
    assert prune(near, "-I", "*.safetensors")["objects"] == 1


def test_a_remote_that_is_this_very_store_holds_nothing(near: Repo) -> None:
    near.git("remote", "add", "self", str(near.path))
    found = prune(near, "--remote", "self", code=8)
    assert found["objects"] == 0
    assert "this very clone" in str(found["failures"])


def test_a_delta_keeps_what_it_is_upon(near: Repo) -> None:
    for seed in (5, 6):
        near.write(NAME, weights(seed, "w", "x"))
        near.commit("more")
    near.git("push", "-q")
    near.nn("gc", "--grace", "0")
    prune(near)
    near.nn("fsck")
    near.git("rm", "-q", "--cached", NAME)
    (near.path / NAME).unlink()
    near.git("reset", "-q", "--hard")
    assert near.read(NAME) == weights(6, "w", "x")


@pytest.mark.parametrize("call", [12, 21, 25])
def test_killed_anywhere_it_loses_nothing(near: Repo, call: int) -> None:
    """Before, while and after what stays of a pack is written to a new one (20 to 27 here)."""
    near.nn("gc", "--grace", "0")
    forget_reflogs(near)
    argv = [sys.executable, "-c", SYSTEM_DEATH, str(call), "prune"]
    assert subprocess.run(argv, cwd=near.path, capture_output=True, check=False).returncode == 77
    near.nn("fsck")
    assert near.git("cat-file", "--filters", f"HEAD:{NAME}").out == weights(3)
    prune(near)
    near.nn("fsck")
    near.git("checkout", "-q", "HEAD~2")
    assert near.read(NAME) == weights(1)


def test_what_a_git_lfs_server_has_lost_stays_here(
    near: Repo, far: Repo, lfs_server: LfsServer
) -> None:
    """The list of its packs may be from before."""
    place = far.path.parent.name
    near.git("config", "nn.url", f"lfs+{lfs_server.endpoint(place)}")
    near.nn("push", "origin", "origin/main")
    assert prune(near, "-n")["objects"] == 1
    for path in lfs_server.stored(place, "").iterdir():
        path.unlink()
    assert prune(near)["objects"] == 0
    assert tensors_here(near, "HEAD~2")


def test_git_lfs_in_the_same_repository_harms_nothing(near: Repo) -> None:
    near.git("lfs", "install", "--local", "--skip-smudge", code=None)
    near.git("lfs", "track", "*.bin.lfs")
    near.write("data.bin.lfs", b"large" * 100)
    near.commit("with LFS")
    before = sorted(path.name for path in (nn_dir(near) / "packs").rglob("*"))
    near.git("lfs", "prune")
    near.git("lfs", "fsck")
    assert sorted(path.name for path in (nn_dir(near) / "packs").rglob("*")) == before
    prune(near)
    near.git("lfs", "fsck")
    assert near.status() == ""
