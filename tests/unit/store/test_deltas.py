"""Frames upon a base: smaller, in short chains, and never trusted further than they reach."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from git_nn.errors import DamagedObjectError, MissingObjectError
from git_nn.objects.oid import Oid
from git_nn.store.base import SEGMENT, read_bytes
from git_nn.store.batch import MAX_DEPTH
from git_nn.store.frame import DATA, Header
from git_nn.store.info import FrameInfo
from git_nn.store.local import LocalStore, open_store
from git_nn.store.recode import Job
from git_nn.store.staging import Staging
from tests.unit.store.support import id_of, noise, pack_paths, put

RNG = np.random.default_rng(3)
BASE = RNG.standard_normal(60_000).astype("<f4")


def tuned(values: np.ndarray, step: int = 1) -> np.ndarray:
    """The same weights after a little training."""
    moved = values + np.float32(1e-5) * np.random.default_rng(step).standard_normal(
        len(values)
    ).astype("<f4")
    return moved.astype("<f4")


def put_one(store: LocalStore, data: bytes, base: Oid | None = None) -> Oid:
    with store.batch() as batch:
        return batch.put([data], dtype="f32", base=base)[0]


def frame_of(store: LocalStore, oid: Oid) -> FrameInfo:
    (found,) = (frame for pack in store.packs() for frame in pack.frames if frame.id == oid)
    return found


def test_a_version_is_stored_by_what_changed(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    first = put_one(store, BASE.tobytes())
    second = put_one(store, tuned(BASE).tobytes(), first)
    found = frame_of(store, second)
    assert (found.base, found.depth) == (first, 1)
    assert found.clen < 0.8 * frame_of(store, first).clen
    assert read_bytes(open_store(tmp_path), second) == tuned(BASE).tobytes()


def test_chains_stay_short_and_every_version_can_be_read(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    versions, oids = [BASE], [put_one(store, BASE.tobytes())]
    for step in range(2 * MAX_DEPTH):
        versions.append(tuned(versions[-1], step))
        oids.append(put_one(store, versions[-1].tobytes(), oids[-1]))
    depths = [frame_of(store, oid).depth for oid in oids]
    assert max(depths) <= MAX_DEPTH
    assert sum(depth > 0 for depth in depths) > MAX_DEPTH
    for oid, values in zip(oids, versions, strict=True):
        assert read_bytes(open_store(tmp_path), oid) == values.tobytes()
    for pack in store.packs():
        assert store.verify_pack(pack.name) == []


def test_each_segment_of_a_long_object_has_its_own_base(tmp_path: Path) -> None:
    values = RNG.standard_normal(SEGMENT // 4 * 2 + 5000).astype("<f4")
    changed = values.copy()
    changed[SEGMENT // 4 + 7 : -3] = tuned(changed[SEGMENT // 4 + 7 : -3])
    store = open_store(tmp_path)
    first = put_one(store, values.tobytes())
    second = put_one(store, changed.tobytes(), first)
    assert read_bytes(open_store(tmp_path), second) == changed.tobytes()
    shared = set(store.parts(first)) & set(store.parts(second))
    assert len(shared) == 1
    bases = [frame_of(store, oid).base for oid in store.parts(second) if oid not in shared]
    assert bases == store.parts(first)[1:]


@pytest.mark.parametrize("what", ["missing", "another length", "noise"])
def test_a_base_that_does_not_help_is_not_used(tmp_path: Path, what: str) -> None:
    store = open_store(tmp_path)
    data = BASE.tobytes()
    base = {"missing": b"", "another length": data[:-4], "noise": noise(len(data))}[what]
    oid = id_of(b"never stored") if what == "missing" else put_one(store, base)
    assert frame_of(store, put_one(store, data, oid)).base is None


def test_a_delta_is_missing_with_its_base(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    first = put_one(store, BASE.tobytes())
    (path,) = pack_paths(tmp_path)
    second = put_one(store, tuned(BASE).tobytes(), first)
    assert frame_of(store, second).base == first
    path.unlink()
    fresh = open_store(tmp_path)
    assert fresh.size(second) is None
    assert fresh.missing([second]) == [second]
    with pytest.raises(MissingObjectError, match=first.hex()[:12]):
        read_bytes(fresh, second)


def test_deltas_upon_each_other_are_damage_and_end(tmp_path: Path) -> None:
    a, b = id_of(b"a"), id_of(b"b")
    staging = Staging(LocalStore(tmp_path).folders)
    staging.add(Header(a, DATA, 6, 0, 1, b, 1, 3), b"x")
    staging.add(Header(b, DATA, 6, 0, 1, a, 1, 3), b"y")
    staging.publish()
    staging.drop()
    with pytest.raises(DamagedObjectError):
        read_bytes(open_store(tmp_path), a)
    assert open_store(tmp_path).size(a) is None


def test_another_copy_serves_where_the_base_of_one_is_gone(tmp_path: Path) -> None:
    store = open_store(tmp_path / "one")
    first = put_one(store, BASE.tobytes())
    put_one(store, tuned(BASE).tobytes(), first)
    other = open_store(tmp_path / "two")
    second = put_one(other, tuned(BASE).tobytes())
    delta = next(p for p in pack_paths(tmp_path / "one") if frame_in(p, second))
    target = tmp_path / "two" / "packs" / delta.stem[:2]
    target.mkdir(exist_ok=True)
    (target / delta.name).write_bytes(delta.read_bytes())
    assert read_bytes(open_store(tmp_path / "two"), second) == tuned(BASE).tobytes()


def frame_in(pack: Path, oid: Oid) -> bool:
    return bytes(oid) in pack.with_suffix(".idx").read_bytes()


def test_coding_again_writes_only_what_is_smaller_and_only_once(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    first, other = put(store, BASE.tobytes(), noise(70_000), dtype="f32")
    second = put_one(store, tuned(BASE).tobytes())
    jobs = [Job(first, "f32"), Job(other), Job(second, "f32", first)]
    done = store.recode(jobs)
    assert (done.tried, done.smaller) == (3, 1)
    assert done.after < 0.8 * done.before
    assert read_bytes(open_store(tmp_path), second) == tuned(BASE).tobytes()
    assert store.recode(jobs).tried == 0
