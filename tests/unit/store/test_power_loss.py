"""Whatever the power cut leaves of the unsynced: what was acknowledged is there, whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from git_nn.objects.oid import Oid
from git_nn.store import system
from git_nn.store.base import read_bytes
from git_nn.store.local import LocalStore
from tests.unit.store.power_loss import Disk, materialise
from tests.unit.store.support import CALLS, id_of, noise, put, rewrite

OLD = [noise(3000, 1), noise(70_000, 2)]
NEW = [noise(40_000, 3), b"", noise(90_000, 4), OLD[0]]


def make_store(root: Path) -> LocalStore:
    return LocalStore(root, pack_target=60_000, lock_timeout=0)


def recorded(monkeypatch: pytest.MonkeyPatch, disk: Disk, action: Callable[[], None]) -> None:
    """Run ``action`` with every call of the store told to ``disk``."""

    def wrapped(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            result = real(*args, **options)
            disk.record(name, args, result)
            return result

        return call

    with monkeypatch.context() as patch:
        for name in CALLS:
            patch.setattr(system, name, wrapped(name, getattr(system, name)))
        action()


def check(states: list[dict[str, bytes | None]], folder: Path, contents: list[bytes]) -> int:
    """Every state opens, has ``contents``, gives no wrong bytes and takes new objects."""
    seen: set[frozenset[Any]] = set()
    for state in states:
        key = frozenset(state.items())
        if key in seen:
            continue
        seen.add(key)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        materialise(state, folder)
        store = make_store(folder / "nn")
        for content in contents:
            assert read_bytes(store, id_of(content)) == content
        put(make_store(folder / "nn"), *NEW)
        fresh = make_store(folder / "nn")
        for content in [*contents, *NEW]:
            assert read_bytes(fresh, id_of(content)) == content
        for pack in fresh.packs():
            # A pack that nobody was promised may be torn; it must be known to be.
            fresh.verify_pack(pack.name)
    return len(seen)


@pytest.mark.parametrize("there", [False, True], ids=["new store", "old store"])
def test_adding_survives_a_power_cut_at_any_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    above = tmp_path / "git"
    above.mkdir()
    old = OLD if there else []
    if there:
        put(make_store(above / "nn"), *OLD)
    disk = Disk(above)
    disk.load()
    recorded(monkeypatch, disk, lambda: put(make_store(above / "nn"), *NEW) and None)
    monkeypatch.setattr(os, "fsync", lambda fd: None)  # the checks need no real disk
    states = [state for step in disk.states for state in step]
    assert check(states, tmp_path / "cut", old) > 20
    last = [*disk.survivors()]
    check(last, tmp_path / "cut", [*old, *NEW])


def collect(store: LocalStore, keep: set[Oid]) -> None:
    with store.exclusive():
        old = list(store.packs())
        new = rewrite(store, keep, [pack.name for pack in old])
        for pack in old:
            if pack.name not in new:
                store.retire(pack.name)
        store.empty_trash(-10)


def quarantine(store: LocalStore, keep: set[Oid]) -> None:
    for pack in list(store.packs()):
        store.quarantine(pack.name)


def rebuild(store: LocalStore, keep: set[Oid]) -> None:
    for pack in list(store.packs()):
        store.rebuild_index(pack.name)


def adopt(store: LocalStore, keep: set[Oid]) -> None:
    store.adopt_packs(make_store(store.root.parent / "other"), [id_of(data) for data in NEW])


@pytest.mark.parametrize("action", [collect, quarantine, rebuild, adopt])
def test_housekeeping_survives_a_power_cut_at_any_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: Callable[..., None]
) -> None:
    above = tmp_path / "git"
    for content in OLD:
        put(make_store(above / "nn"), content)
    put(make_store(above / "other"), *NEW)
    disk = Disk(above)
    disk.load()
    keep = {id_of(content) for content in OLD}
    recorded(monkeypatch, disk, lambda: action(make_store(above / "nn"), keep))
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    states = [state for step in disk.states for state in step]
    check(states, tmp_path / "cut", OLD)
    if action is adopt:
        check([*disk.survivors()], tmp_path / "cut", [*OLD, *NEW])


def test_the_model_forgets_what_was_not_synced(tmp_path: Path) -> None:
    """A store that forgot its syncs would be caught."""
    disk = Disk(tmp_path)
    disk.record("mkdir", (tmp_path / "nn",), None)
    disk.record("fsync_dir", (tmp_path,), None)
    disk.record("open_excl", (tmp_path / "nn" / "a",), 9)
    disk.record("write", (9, b"bytes"), 5)
    disk.record("rename", (tmp_path / "nn" / "a", tmp_path / "nn" / "b"), None)
    assert {"nn": None} in list(disk.survivors())
    assert {"nn": None, "nn/b": b""} in list(disk.survivors())
    disk.record("fsync", (9,), None)
    disk.record("fsync_dir", (tmp_path / "nn",), None)
    assert list(disk.survivors()) == [{"nn": None, "nn/b": b"bytes"}] * 2
