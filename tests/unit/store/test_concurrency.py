"""Many processes at one store: nothing is lost, and nobody needs to know of the others."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

from git_nn.store.base import SEGMENT, read_bytes
from git_nn.store.local import LocalStore, open_store
from tests.unit.store.support import id_of, leftovers, noise, pack_paths, put

ROOT = Path(__file__).parents[3]
WRITER = """
import random, sys
from pathlib import Path
from git_nn.store.local import LocalStore
from tests.unit.store.support import noise
root, me = Path(sys.argv[1]), int(sys.argv[2])
store = LocalStore(root, pack_target=20_000)
for turn in range(12):
    with store.batch() as batch:
        for seed in range(turn * 3, turn * 3 + 6):
            batch.put([noise(4000, seed)])
        batch.put([noise(70_000, 1000 * me + turn)])
"""
COLLECTOR = """
import sys
from pathlib import Path
from git_nn.store.local import LocalStore
from tests.unit.store.support import collect
store = LocalStore(Path(sys.argv[1]), pack_target=20_000)
for turn in range(15):
    collect(store)
"""


def start(program: str, *argv: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *argv], cwd=ROOT, stderr=subprocess.PIPE
    )


def finish(*processes: subprocess.Popen[bytes]) -> None:
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()


def check_all(root: Path, writers: int) -> None:
    store = open_store(root)
    for seed in range(39):
        assert read_bytes(store, id_of(noise(4000, seed))) == noise(4000, seed)
    for me in range(writers):
        for turn in range(12):
            content = noise(70_000, 1000 * me + turn)
            assert read_bytes(store, id_of(content)) == content
    for pack in store.packs():
        assert store.verify_pack(pack.name) == []
    assert store.unindexed() == []
    assert leftovers(root) == []


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    finish(*(start(WRITER, str(tmp_path / "nn"), str(me)) for me in range(4)))
    check_all(tmp_path / "nn", writers=4)


def test_a_collector_that_rewrites_everything_all_the_time_loses_nothing(tmp_path: Path) -> None:
    root = tmp_path / "nn"
    put(open_store(root), b"first")
    finish(
        start(WRITER, str(root), "0"),
        start(WRITER, str(root), "1"),
        start(COLLECTOR, str(root)),
    )
    check_all(root, writers=2)


def test_threads_may_share_a_store_for_reading(tmp_path: Path) -> None:
    contents = [noise(50_000 + seed, seed) for seed in range(12)] + [noise(2 * SEGMENT + 1)]
    put(LocalStore(tmp_path, pack_target=100_000), *contents)
    store = open_store(tmp_path)
    wrong: list[object] = []

    def read_all(first: int) -> None:
        try:
            for content in contents[first:] + contents[:first]:
                assert read_bytes(store, id_of(content)) == content
        except Exception as error:  # noqa: BLE001
            wrong.append(error)

    threads = [threading.Thread(target=read_all, args=(first,)) for first in range(0, 12, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_two_batches_of_the_same_content_publish_one_pack(tmp_path: Path) -> None:
    one, two = open_store(tmp_path), open_store(tmp_path)
    with one.batch() as first, two.batch() as second:
        first.put([noise(1000)])
        second.put([noise(1000)])
    assert len(pack_paths(tmp_path)) == 1
    assert read_bytes(one, id_of(noise(1000))) == noise(1000)
