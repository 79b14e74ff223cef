"""kill -9 at any time, and two at once: nothing committed is lost, the next try works."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.support.git import Repo
from tests.support.models import normal, safetensors_file

CHUNK = 300_000


def model(seed: int) -> bytes:
    return safetensors_file({f"w{i}": normal(seed * 100 + i, CHUNK) for i in range(8)})


def kill_after(repo: Repo, seconds: float, *argv: str) -> bool:
    """Run git and kill its whole process group; whether it was still running."""
    process = subprocess.Popen(
        ["git", *argv], cwd=repo.path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    return False


def unlock(repo: Repo) -> None:
    """What Git itself tells a person to do after a crash of git."""
    for lock in repo.path.glob(".git/*.lock"):
        lock.unlink()


def test_killed_adds_and_checkouts_lose_nothing(repo: Repo) -> None:
    clock = random.Random(7)
    first, second = model(1), model(2)
    repo.write("m.safetensors", first)
    repo.commit("first")
    repo.git("branch", "first")
    killed = 0
    for round_ in range(6):
        repo.write("m.safetensors", model(10 + round_))
        killed += kill_after(repo, clock.uniform(0.02, 0.5), "add", "m.safetensors")
        unlock(repo)
        assert repo.nn("fsck").code == 0
    repo.write("m.safetensors", second)
    repo.commit("second")
    for round_ in range(6):
        target = "first" if round_ % 2 else "main"
        killed += kill_after(repo, clock.uniform(0.02, 0.4), "checkout", "-f", target)
        unlock(repo)
        assert repo.nn("fsck").code == 0
        repo.git("checkout", "-q", "-f", target)
        assert repo.read("m.safetensors") == (first if round_ % 2 else second)
        assert repo.status() == ""
    assert killed


def test_a_killed_filter_leaves_large_files_as_clean_pointers(repo: Repo) -> None:
    repo.git("config", "nn.largeThreshold", "1k")
    first, second = model(1), model(2)
    repo.write("m.safetensors", first)
    repo.commit("first")
    repo.write("m.safetensors", second)
    repo.commit("second")
    repo.git("checkout", "-q", "HEAD~1")
    assert repo.read("m.safetensors") == first
    clock = random.Random(3)
    for target in ("main", "main~1") * 4:
        kill_after(repo, clock.uniform(0.05, 0.3), "checkout", "-q", "-f", target)
        unlock(repo)
        repo.git("checkout", "-q", "-f", target)
        repo.nn("pull")
        assert repo.read("m.safetensors") == (second if target == "main" else first)
        assert repo.status() == ""
        assert not list(repo.path.glob(".nn-*"))


@pytest.mark.parametrize("count", [2, 6])
def test_adds_in_several_worktrees_at_once_lose_nothing(
    repo: Repo, tmp_path: Path, count: int
) -> None:
    repo.write("m.safetensors", model(1))
    repo.commit("base")
    trees = []
    for i in range(count):
        repo.git("worktree", "add", "-q", "-b", f"b{i}", str(tmp_path / f"w{i}"))
        trees.append(Repo(tmp_path / f"w{i}"))
    shared = {f"s{i}": normal(i, CHUNK // 10) for i in range(8)}
    contents = [
        safetensors_file({**shared, "own": np.full(1000, i, np.float32)}) for i in range(count)
    ]
    for tree, data in zip(trees, contents, strict=True):
        tree.write("m.safetensors", data)
    threads = [threading.Thread(target=tree.commit) for tree in trees]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert repo.nn("fsck").code == 0
    for i, data in enumerate(contents):
        repo.git("checkout", "-q", "--detach", f"b{i}")
        assert repo.read("m.safetensors") == data
        assert repo.status() == ""


def test_gc_in_a_loop_beside_adds_loses_nothing(repo: Repo) -> None:
    repo.write("m.safetensors", model(1))
    repo.commit("base")
    stop = threading.Event()
    failures: list[str] = []

    def collect() -> None:
        while not stop.is_set():
            result = repo.nn("gc", "--grace", "0", code=None)
            if result.code != 0 and "in use" not in result.errors:
                failures.append(result.errors)

    collector = threading.Thread(target=collect)
    collector.start()
    for seed in range(2, 10):
        repo.write("m.safetensors", safetensors_file({"w": normal(seed % 3, CHUNK)}))
        repo.commit(f"version {seed}")
    stop.set()
    collector.join()
    assert not failures
    assert repo.nn("fsck").code == 0
    for back in range(8):
        repo.git("checkout", "-q", f"main~{7 - back}")
        expected = safetensors_file({"w": normal((2 + back) % 3, CHUNK)})
        assert repo.read("m.safetensors") == expected
