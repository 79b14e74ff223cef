"""Taking away: only under the exclusive lock, and never what a batch relies on."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from git_nn.errors import MissingObjectError, StoreError
from git_nn.objects.oid import Oid
from git_nn.store import system
from git_nn.store.base import SEGMENT, read_bytes
from git_nn.store.local import LocalStore, open_store
from tests.unit.store.support import (
    id_of,
    leftovers,
    noise,
    only_pack,
    pack_paths,
    put,
    rewrite,
    weights,
)


def impatient(root: Path) -> LocalStore:
    return LocalStore(root, lock_timeout=0)


def sweep(store: LocalStore, keep: set[Oid], older_than: float) -> None:
    """gc in its simplest form: what is not kept and not fresh goes to the trash."""
    with store.exclusive():
        for pack in list(store.packs()):
            live = {frame.id for frame in pack.frames} & keep
            if pack.mtime < time.time() - older_than and not live:
                store.retire(pack.name)


def test_packs_are_described_as_they_are(tmp_path: Path) -> None:
    contents = [weights(30_000, 1), b"", noise(SEGMENT + 9)]
    store = open_store(tmp_path)
    oids = put(store, *contents, dtype="f32")
    (pack,) = open_store(tmp_path).packs()
    path = only_pack(tmp_path)
    assert (pack.name, pack.path, pack.size) == (path.stem, path, path.stat().st_size)
    assert pack.mtime == path.stat().st_mtime
    frames = {frame.id: frame for frame in pack.frames}
    assert set(frames) == {*oids, *store.parts(oids[2])}
    assert frames[oids[2]].parts == tuple(store.parts(oids[2]))
    assert frames[oids[0]].parts == ()
    assert [frames[oid].rawlen for oid in oids] == [120_000, 0, SEGMENT + 9]
    assert [frames[oid].codec == 0 for oid in oids] == [False, True, True]
    assert [frames[oid].hint for oid in oids] == [2, 2, 2]
    assert all(frame.base is None for frame in pack.frames)
    spans = sorted((frame.offset, frame.offset + frame.stored_size) for frame in pack.frames)
    assert spans[0][0] == 16
    assert [end for _, end in spans] == [*(start for start, _ in spans[1:]), pack.size]


def test_the_exclusive_lock_excludes_batches_and_itself(tmp_path: Path) -> None:
    one, other = impatient(tmp_path), impatient(tmp_path)
    with one.batch() as batch:
        batch.put([b"abc"])
        with pytest.raises(StoreError, match="in use by another"), other.exclusive():
            pass
    with one.exclusive():
        with one.exclusive():
            put(one, b"from within")
        with pytest.raises(StoreError, match="in use by another"):
            put(other, b"def")
        with pytest.raises(StoreError, match="in use by another"), other.exclusive():
            pass
        assert read_bytes(other, id_of(b"abc")) == b"abc"
    assert put(other, b"def") == [id_of(b"def")]


def test_retire_needs_the_exclusive_lock(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    put(store, b"abc")
    with pytest.raises(RuntimeError):
        store.retire(only_pack(tmp_path).stem)


def test_an_error_inside_the_exclusive_lock_is_the_callers(tmp_path: Path) -> None:
    store = impatient(tmp_path)
    with pytest.raises(KeyError), store.exclusive():
        raise KeyError
    with pytest.raises(OSError, match="mine") as caught, store.exclusive():
        raise OSError("mine")
    assert not isinstance(caught.value, StoreError)
    put(store, b"the lock is free again")


def test_a_dedup_hit_keeps_an_old_pack_from_the_sweep(tmp_path: Path) -> None:
    put(open_store(tmp_path), noise(1000))
    path = only_pack(tmp_path)
    os.utime(path, (1, 1))
    put(open_store(tmp_path), noise(1000))
    sweep(open_store(tmp_path), set(), older_than=3600)
    assert pack_paths(tmp_path) == [path]
    os.utime(path, (1, 1))
    sweep(open_store(tmp_path), set(), older_than=3600)
    assert pack_paths(tmp_path) == []


def test_a_sweep_between_two_batches_of_one_store_is_noticed(tmp_path: Path) -> None:
    """The second batch must not rely on what the first one saw."""
    store, collector = open_store(tmp_path), open_store(tmp_path)
    content = noise(1000)
    put(store, content)
    with collector.exclusive():
        collector.retire(only_pack(tmp_path).stem)
        collector.empty_trash(-10)
    (oid,) = put(store, content)
    assert read_bytes(open_store(tmp_path), oid) == content


def test_a_sweep_without_locks_in_the_middle_of_a_batch_is_noticed(tmp_path: Path) -> None:
    """As on a file system that does not keep flock: the pack vanishes between look-up and use."""
    store, collector = open_store(tmp_path), open_store(tmp_path)
    first, second = noise(1000, 1), noise(1000, 2)
    put(store, first)
    put(store, second)
    with store.batch() as batch:
        batch.put([first])
        collector._alone = True
        for pack in list(collector.packs()):
            if id_of(second) in {frame.id for frame in pack.frames}:
                collector.retire(pack.name)
        collector.empty_trash(-10)
        batch.put([second])
    for content in (first, second):
        assert read_bytes(open_store(tmp_path), id_of(content)) == content


def test_rewriting_keeps_the_frames_verbatim_and_only_those(tmp_path: Path) -> None:
    contents = [weights(5000, seed) for seed in range(6)]
    store = open_store(tmp_path)
    oids = [put(store, content, dtype="f32")[0] for content in contents]
    old = {pack.name: pack for pack in store.packs()}
    bodies = {
        pack.frames[0].id: pack.path.read_bytes()[pack.frames[0].offset :] for pack in old.values()
    }
    with store.exclusive():
        (name,) = rewrite(store, set(oids[:4]), old)
        for gone in old:
            store.retire(gone)
        assert len(store.empty_trash(-10)) == 6
    (pack,) = store.packs()
    assert pack.name == name
    data = pack.path.read_bytes()
    for frame in pack.frames:
        assert data[frame.offset : frame.offset + frame.stored_size] == bodies[frame.id]
    assert {frame.id for frame in pack.frames} == set(oids[:4])
    assert store.verify_pack(name) == []
    fresh = open_store(tmp_path)
    assert [read_bytes(fresh, oid) for oid in oids[:4]] == contents[:4]
    assert fresh.missing(oids) == oids[4:]


def test_rewriting_several_copies_writes_one(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    put(store, noise(100), noise(200))
    put(open_store(tmp_path / "b"), noise(100), noise(300))
    other = only_pack(tmp_path / "b")
    (tmp_path / "packs" / other.parent.name).mkdir(exist_ok=True)
    other.rename(tmp_path / "packs" / other.parent.name / other.name)
    packs = list(store.packs())
    assert len(packs) == 2
    (name,) = rewrite(
        store, {frame.id for pack in packs for frame in pack.frames}, [pack.name for pack in packs]
    )
    (new,) = (pack for pack in store.packs() if pack.name == name)
    assert len(new.frames) == 3


def test_rewriting_nothing_makes_no_pack(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    put(store, b"abc")
    assert rewrite(store, set(), [only_pack(tmp_path).stem]) == []
    assert len(pack_paths(tmp_path)) == 1


def test_the_trash_is_kept_for_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path)
    (oid,) = put(store, b"abc")
    now = time.time()
    with store.exclusive():
        store.retire(only_pack(tmp_path).stem)
    monkeypatch.setattr(system, "now", lambda: now + 3600)
    assert store.empty_trash(7200) == []
    assert store.size(oid) == 3
    with store.exclusive():
        store.retire(only_pack(tmp_path).stem)
    monkeypatch.setattr(system, "now", lambda: now + 3600 + 7300)
    assert store.empty_trash(7200) == [id_of_pack(tmp_path, oid)]
    with pytest.raises(MissingObjectError):
        read_bytes(open_store(tmp_path), oid)


def id_of_pack(root: Path, oid: Oid) -> str:
    """The name of the pack that holds just b"abc", from a store made anew."""
    put(open_store(root / "again"), b"abc")
    assert oid == id_of(b"abc")
    return only_pack(root / "again").stem


def test_folders_of_dead_writers_are_cleaned_and_those_of_living_ones_are_not(
    tmp_path: Path,
) -> None:
    store = open_store(tmp_path)
    dead = tmp_path / "tmp" / "host.1.dead"
    dead.mkdir(parents=True)
    (dead / "lock").write_bytes(b"")
    (dead / "0.nnp").write_bytes(b"half a pack")
    lockless = tmp_path / "tmp" / "host.2.lockless"
    lockless.mkdir()
    with store.batch() as batch:
        batch.put([b"abc"])
        (alive,) = {path.parent for path in leftovers(tmp_path)} - {dead}
        assert store.clean_tmp(3600) == []
        assert dead.exists()
        for folder in (dead, lockless, alive):
            os.utime(folder, (1, 1))
        assert store.clean_tmp(3600) == ["host.1.dead", "host.2.lockless"]
        assert alive.exists()
    assert not dead.exists()
    assert read_bytes(store, id_of(b"abc")) == b"abc"
    assert open_store(tmp_path / "none").clean_tmp(0) == []
