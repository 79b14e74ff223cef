"""'git nn gc' stores the same smaller, whatever happens to it on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import numpy as np
import pytest

from git_nn.drivers.open import store_of
from git_nn.gitio.repository import find
from git_nn.repack import repack
from tests.support.git import Repo, scrubbed_environment
from tests.support.models import Tensor, normal, safetensors_file

BASE = {f"layer{i}.weight": normal(i, 300, 200) for i in range(5)}


def lora(weights: np.ndarray, seed: int) -> np.ndarray:
    """A low-rank update merged into dense weights."""
    down, up = normal(seed, 4, weights.shape[1]), normal(seed + 1, weights.shape[0], 4)
    return (weights + np.float32(0.01) * (up @ down)).astype(np.float32)


def versions() -> list[dict[str, np.ndarray]]:
    """Base, a full fine-tune, last layer, LoRA merged, and one more epoch."""
    tuned = {n: w + np.float32(1e-5) * normal(7, *w.shape) for n, w in BASE.items()}
    last = {**tuned, "layer4.weight": tuned["layer4.weight"] + normal(8, 300, 200)}
    merged = {n: lora(w, i) for i, (n, w) in enumerate(last.items())}
    epoch = {n: w + np.float32(1e-5) * normal(9, *w.shape) for n, w in merged.items()}
    return [BASE, tuned, last, merged, epoch]


def file_of(version: dict[str, np.ndarray]) -> bytes:
    tensors: dict[str, Tensor] = dict(version)
    return safetensors_file(tensors)


FILES = [file_of(version) for version in versions()]


@pytest.fixture
def history(repo: Repo) -> Repo:
    for data in FILES:
        repo.write("m.safetensors", data)
        repo.commit()
    return repo


def stored(repo: Repo) -> int:
    return sum(path.stat().st_size for path in (repo.path / ".git/nn/packs").glob("*/*.nnp"))


def assert_whole(repo: Repo) -> None:
    repo.nn("fsck", "--full") if "--full" in repo.nn("fsck", "-h").text else repo.nn("fsck")
    for back, data in enumerate(reversed(FILES)):
        shown = repo.git("cat-file", "--filters", f"HEAD~{back}:m.safetensors").out
        assert shown == data


def test_everything_is_smaller_and_comes_back(history: Repo) -> None:
    before = stored(history)
    done = json.loads(history.nn("gc", "--json").text)
    assert stored(history) < 0.95 * before
    assert done["recoded"]["smaller"] > 0
    assert_whole(history)
    assert history.status() == ""


def test_a_second_time_there_is_nothing_to_do(history: Repo) -> None:
    history.nn("gc")
    packs = sorted(path.name for path in (history.path / ".git/nn/packs").glob("*/*"))
    done = json.loads(history.nn("gc", "--json").text)
    assert done["recoded"]["tried"] == 0
    assert packs == sorted(path.name for path in (history.path / ".git/nn/packs").glob("*/*"))


def test_no_pack_is_needed_that_has_gone(history: Repo) -> None:
    """The old packs are not in the trash: they had better copies, which were checked."""
    history.nn("gc")
    history.nn("gc", "--grace", "0")
    assert not list((history.path / ".git/nn/trash").glob("*/*.nnp"))
    assert_whole(history)


def test_without_repack_nothing_is_coded_again(history: Repo) -> None:
    before = stored(history)
    assert json.loads(history.nn("gc", "--no-repack", "--json").text)["recoded"] is None
    assert stored(history) == before


def test_damaged_better_copies_stop_everything(history: Repo) -> None:
    store = store_of(find(history.path, os.environ))
    old = {pack.name for pack in store.packs()}
    repack(find(history.path, os.environ), store)
    (new,) = [pack for pack in store.packs() if pack.name not in old]
    data = bytearray(new.path.read_bytes())
    for frame in new.frames:
        data[frame.offset + frame.stored_size - 1] ^= 1
    new.path.chmod(0o644)
    new.path.write_bytes(data)
    failed = history.nn("gc", "--no-repack", code=None)
    assert failed.code not in (0, 70)
    assert {path.stem for path in (history.path / ".git/nn/packs").glob("*/*.nnp")} >= old
    history.nn("fsck", "--repair", code=None)
    history.nn("gc")
    assert_whole(history)


@pytest.mark.parametrize("call", [0, 14, 28, 56])
def test_killed_anywhere_it_loses_nothing_and_goes_on(history: Repo, call: int) -> None:
    """Dies at the n-th system call of the store that changes something."""
    program = (
        "import os, sys\n"
        "from git_nn.store import system\n"
        "left = [int(sys.argv[1])]\n"
        "def dying(name, real):\n"
        "    def call(*a, **k):\n"
        "        left[0] -= 1\n"
        "        if left[0] < 0: os.kill(os.getpid(), 9)\n"
        "        return real(*a, **k)\n"
        "    return call\n"
        "for name in ('write', 'fsync', 'rename', 'unlink', 'fsync_dir', 'utime'):\n"
        "    setattr(system, name, dying(name, getattr(system, name)))\n"
        "from git_nn.cli.main import main\n"
        "main(['gc'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(call)], cwd=history.path, capture_output=True,
        env=scrubbed_environment(history.path.parent), check=False,
    )  # fmt: skip
    assert done.returncode in (0, -signal.SIGKILL)
    assert_whole(history)
    history.nn("gc")
    assert_whole(history)


def test_adds_beside_it_lose_nothing(history: Repo) -> None:
    gc = subprocess.Popen(
        [sys.executable, "-m", "git_nn.cli.main", "gc"], cwd=history.path,
        env=scrubbed_environment(history.path.parent), stdout=subprocess.DEVNULL,
    )  # fmt: skip
    more = []
    for number in range(4):
        more.append(safetensors_file({"layer0.weight": lora(BASE["layer0.weight"], 90 + number)}))
        history.write(f"{number}.safetensors", more[-1])
        history.git("add", f"{number}.safetensors")
    assert gc.wait(120) == 0
    history.git("commit", "-qm", "more")
    history.nn("gc")
    history.nn("fsck")
    for number, data in enumerate(more):
        assert history.git("cat-file", "--filters", f"HEAD:{number}.safetensors").out == data


def test_it_runs_by_itself_when_much_is_new_and_not_when_told_not_to(history: Repo) -> None:
    assert history.nn("gc", "--auto").text == ""
    cache = history.path / ".git/nn/cache/recoded"
    assert not cache.exists()
    history.git("config", "nn.gcAuto", "0")
    history.nn("gc", "--auto")
    assert not cache.exists()
    history.git("config", "nn.gcAuto", "3")
    before = stored(history)
    history.nn("gc", "--auto")
    assert stored(history) < before
    assert_whole(history)


@pytest.mark.parametrize("command", ["git", "git nn"])
def test_an_add_that_makes_it_due_starts_it(history: Repo, command: str) -> None:
    history.git("config", "nn.gcAuto", "3")
    before = stored(history)
    history.write("n.txt", b"nothing that is stored")
    history.write("n.safetensors", FILES[1][:-4] + b"1234")
    (history.git if command == "git" else history.nn)("add", ".")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(FileNotFoundError):  # a pack that goes while we look
            if stored(history) < before:
                break
        history.git("status")
    assert stored(history) < before
    assert_whole(history)
