"""Whatever is flipped, cut or swapped in a pack: detected, never wrong bytes, the rest readable."""

from __future__ import annotations

from pathlib import Path

import pytest

from git_nn.errors import DamagedObjectError, MissingObjectError
from git_nn.objects.oid import Oid
from git_nn.store import frame, index
from git_nn.store.base import SEGMENT, read_bytes
from git_nn.store.info import PackInfo
from git_nn.store.local import LocalStore, open_store
from tests.unit.store.support import flip, id_of, noise, only_pack, overwrite, put, rewrite, weights

CONTENTS = [
    weights(9000, 1),
    b"",
    noise(700, 2),
    b"text " * 5000,
    weights(6000, 3),
    noise(SEGMENT + 60, 4),
]
REGIONS = [
    "pack header", "frame magic", "frame header", "frame id", "body start", "body middle",
    "body end", "list body", "list header", "index head", "index fanout", "index id",
    "index record", "index checksum",
]  # fmt: skip


def filled(root: Path) -> tuple[LocalStore, dict[Oid, bytes], PackInfo]:
    store = open_store(root)
    oids = put(store, *CONTENTS, dtype="f32")
    (info,) = store.packs()
    return store, dict(zip(oids, CONTENTS, strict=True)), info


def place_of(region: str, info: PackInfo, oids: list[Oid]) -> tuple[Path, int, Oid | None]:
    """(file, offset, the object that it hurts)."""
    frames = {item.id: item for item in info.frames}
    victim, long = frames[oids[0]], frames[oids[5]]
    body = victim.offset + frame.HEADER_SIZE
    size = info.index_path.stat().st_size
    return {
        "pack header": (info.path, 9, None),
        "frame magic": (info.path, victim.offset, victim.id),
        "frame header": (info.path, victim.offset + 17, victim.id),
        "frame id": (info.path, victim.offset + 40, victim.id),
        "body start": (info.path, body, victim.id),
        "body middle": (info.path, body + victim.clen // 2, victim.id),
        "body end": (info.path, body + victim.clen - 1, victim.id),
        "list body": (info.path, long.offset + frame.HEADER_SIZE + 5, long.id),
        "list header": (info.path, long.offset + 20, long.id),
        "index head": (info.index_path, 13, None),
        "index fanout": (info.index_path, 56 + 700, None),
        "index id": (info.index_path, 1080 + 3, None),
        "index record": (info.index_path, 1080 + 32 * len(info.frames) + 1, None),
        "index checksum": (info.index_path, size - 1, None),
    }[region]


def check_readable(root: Path, contents: dict[Oid, bytes], victim: Oid | None) -> None:
    store = open_store(root)
    for oid, content in contents.items():
        if oid == victim:
            with pytest.raises((DamagedObjectError, MissingObjectError)):
                read_bytes(store, oid)
        else:
            assert read_bytes(store, oid) == content


@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
@pytest.mark.parametrize("region", REGIONS)
def test_a_flip_is_found_hurts_one_object_at_most_and_is_repaired(
    tmp_path: Path, region: str, mask: int
) -> None:
    _, contents, info = filled(tmp_path)
    path, at, victim = place_of(region, info, list(contents))
    flip(path, at, mask)
    check_readable(tmp_path, contents, victim)
    found = open_store(tmp_path).verify_pack(info.name)
    assert found
    assert all(damage.pack == info.name and damage.what for damage in found)
    if region.startswith(("body", "list body")):
        assert victim in {damage.oid for damage in found}
    check_repair(tmp_path, contents, info, victim)


def check_repair(
    root: Path, contents: dict[Oid, bytes], info: PackInfo, victim: Oid | None
) -> None:
    """Quarantine keeps every readable object; adding the file again brings back the rest."""
    store = open_store(root)
    store.quarantine(info.name)
    check_readable(root, contents, victim)
    put(open_store(root), *contents.values(), dtype="f32")
    fresh = open_store(root)
    for oid, content in contents.items():
        assert read_bytes(fresh, oid) == content
    for pack in fresh.packs():
        assert fresh.verify_pack(pack.name) == []


@pytest.mark.parametrize("region", [name for name in REGIONS if not name.startswith("index")])
def test_a_second_copy_heals_by_itself(tmp_path: Path, region: str) -> None:
    _, contents, info = filled(tmp_path)
    spare = LocalStore(tmp_path / "spare", pack_target=1000)
    put(spare, *contents.values(), dtype="f32")
    for pack in spare.packs():
        target = tmp_path / "packs" / pack.name[:2]
        target.mkdir(exist_ok=True)
        pack.path.rename(target / pack.path.name)
    path, at, _ = place_of(region, info, list(contents))
    flip(path, at)
    check_readable(tmp_path, contents, None)


def test_a_second_copy_in_an_alternate_or_the_trash_heals(tmp_path: Path) -> None:
    _, contents, info = filled(tmp_path / "nn")
    put(open_store(tmp_path / "lender"), *contents.values(), dtype="f32")
    path, at, victim = place_of("body middle", info, list(contents))
    flip(path, at)
    store = open_store(tmp_path / "nn", alternates=[tmp_path / "lender"])
    assert victim is not None
    assert read_bytes(store, victim) == contents[victim]
    copy = tmp_path / "nn" / "trash" / "20260101T000000Z"
    copy.mkdir(parents=True)
    spare = LocalStore(tmp_path / "spare")
    put(spare, contents[victim], dtype="f32")
    only_pack(tmp_path / "spare").rename(copy / only_pack(tmp_path / "spare").name)
    assert read_bytes(open_store(tmp_path / "nn"), victim) == contents[victim]


@pytest.mark.parametrize("cut", [0, 5, 16, 100, 200, 5000, -1, -30, -100])
def test_a_cut_pack_gives_what_is_left_of_it(tmp_path: Path, cut: int) -> None:
    _, contents, info = filled(tmp_path)
    data = info.path.read_bytes()[:cut]
    overwrite(info.path, data)
    store = open_store(tmp_path)
    whole = {f.id for f in info.frames if f.offset + f.stored_size <= len(data)}
    for oid, content in contents.items():
        needed = {oid, *next(f.parts for f in info.frames if f.id == oid)}
        if needed <= whole:
            assert read_bytes(store, oid) == content
        else:
            with pytest.raises((DamagedObjectError, MissingObjectError)):
                read_bytes(store, oid)
    assert store.verify_pack(info.name)
    store.quarantine(info.name)
    put(open_store(tmp_path), *contents.values())
    check_readable(tmp_path, contents, None)


def test_zeroed_pages_are_found_and_the_rest_is_read(tmp_path: Path) -> None:
    _, contents, info = filled(tmp_path)
    data = bytearray(info.path.read_bytes())
    victim = info.frames[0]
    data[victim.offset : victim.offset + victim.stored_size] = bytes(victim.stored_size)
    overwrite(info.path, bytes(data))
    hurt = {oid for oid in contents if victim.id in {oid, *parts_of(info, oid)}}
    store = open_store(tmp_path)
    for oid, content in contents.items():
        if oid not in hurt:
            assert read_bytes(store, oid) == content
        else:
            with pytest.raises((DamagedObjectError, MissingObjectError)):
                read_bytes(store, oid)


def parts_of(info: PackInfo, oid: Oid) -> tuple[Oid, ...]:
    return next(item.parts for item in info.frames if item.id == oid)


@pytest.mark.parametrize("kind", ["missing", "empty", "of another pack", "lying"])
def test_a_bad_index_is_passed_over_and_rebuilt(tmp_path: Path, kind: str) -> None:
    _, contents, info = filled(tmp_path)
    right = info.index_path.read_bytes()
    info.index_path.unlink()
    if kind == "empty":
        info.index_path.write_bytes(b"")
    elif kind == "of another pack":
        put(open_store(tmp_path / "other"), b"abc")
        data = only_pack(tmp_path / "other").with_suffix(".idx").read_bytes()
        info.index_path.write_bytes(data)
    elif kind == "lying":
        entries = list(index.parse(right, info.name))
        shifted = [index.Entry(entry.header, entry.offset + 8) for entry in entries]
        info.index_path.write_bytes(index.render(info.name, info.size, shifted))
    check_readable(tmp_path, contents, None)
    store = open_store(tmp_path)
    assert store.unindexed() == ([] if kind == "lying" else [info.name])
    assert store.verify_pack(info.name)
    store.rebuild_index(info.name)
    assert info.index_path.read_bytes() == right
    assert store.unindexed() == []
    assert store.verify_pack(info.name) == []
    check_readable(tmp_path, contents, None)


def test_swapped_packs_are_found_and_cost_no_object(tmp_path: Path) -> None:
    a, b = noise(3000, 1), noise(4000, 2)
    put(open_store(tmp_path), a)
    first = only_pack(tmp_path)
    put(open_store(tmp_path), b)
    (second,) = set(tmp_path.glob("packs/*/*.nnp")) - {first}
    one, two = first.read_bytes(), second.read_bytes()
    overwrite(first, two)
    overwrite(second, one)
    store = open_store(tmp_path)
    assert store.verify_pack(first.stem)
    assert store.verify_pack(second.stem)
    for path in (first, second):
        store.rebuild_index(path.stem)
    assert read_bytes(store, id_of(a)) == a
    assert read_bytes(store, id_of(b)) == b


def test_an_index_without_its_pack_means_nothing_and_is_removed(tmp_path: Path) -> None:
    (oid,) = put(open_store(tmp_path), b"abc")
    path = only_pack(tmp_path)
    path.unlink()
    store = open_store(tmp_path)
    with pytest.raises(MissingObjectError):
        read_bytes(store, oid)
    assert [damage.what for damage in store.verify_pack(path.stem)] == ["the pack is missing"]
    put(store, b"abc")
    assert read_bytes(store, oid) == b"abc"
    only_pack(tmp_path).unlink()
    assert store.remove_stray_indexes() == [path.stem]
    assert not path.with_suffix(".idx").exists()


def test_a_healthy_pack_in_quarantine_stays(tmp_path: Path) -> None:
    store, contents, info = filled(tmp_path)
    assert store.quarantine(info.name) == [info.name]
    check_readable(tmp_path, contents, None)


def test_frames_to_keep_that_are_damaged_stop_a_rewrite(tmp_path: Path) -> None:
    for region in ("body middle", "frame magic"):
        root = tmp_path / region
        store, contents, info = filled(root)
        path, at, _ = place_of(region, info, list(contents))
        flip(path, at)
        with pytest.raises(DamagedObjectError):
            rewrite(store, set(contents), [info.name])
        assert only_pack(root) == info.path
