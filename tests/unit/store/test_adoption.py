"""Packs of another store on this machine are linked or copied, and believed only after a look."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from git_nn.errors import DamagedObjectError
from git_nn.store import system
from git_nn.store.base import SEGMENT, read_bytes
from git_nn.store.local import LocalStore, open_store
from tests.unit.store.support import flip, id_of, leftovers, noise, only_pack, pack_paths, put

CONTENT = noise(2 * SEGMENT + 5)


def lender(root: Path) -> LocalStore:
    """Segments of one object spread over several packs, and a pack of no interest."""
    store = open_store(root)
    put(store, CONTENT[:SEGMENT])
    put(store, CONTENT, b"small")
    put(store, b"of no interest")
    return store


def no_links(source: Path, target: Path) -> None:
    raise OSError(errno.EXDEV, "Invalid cross-device link")


@pytest.mark.parametrize("links", [True, False], ids=["links", "copies"])
def test_the_packs_of_an_object_come_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    other = lender(tmp_path / "other")
    if not links:
        monkeypatch.setattr(system, "link", no_links)
    store = open_store(tmp_path / "nn")
    unknown = id_of(b"nobody has this")
    assert store.adopt_packs(other, [id_of(CONTENT), unknown, id_of(b"small")]) == [unknown]
    assert read_bytes(store, id_of(CONTENT)) == CONTENT
    assert store.size(id_of(b"of no interest")) is None
    taken = pack_paths(tmp_path / "nn")
    assert len(taken) == 2
    for path in taken:
        assert (path.stat().st_nlink == 2) is links
        assert path.stat().st_mode & 0o222 == 0
        assert store.verify_pack(path.stem) == []
    assert (tmp_path / "nn" / "format").exists()
    assert leftovers(tmp_path / "nn") == []
    for path in pack_paths(tmp_path / "other"):
        path.unlink()
    assert read_bytes(open_store(tmp_path / "nn"), id_of(CONTENT)) == CONTENT


def test_what_is_here_already_is_not_taken_again(tmp_path: Path) -> None:
    other = lender(tmp_path / "other")
    store = open_store(tmp_path / "nn")
    put(store, b"small")
    assert store.adopt_packs(other, [id_of(b"small")]) == []
    assert len(pack_paths(tmp_path / "nn")) == 1
    assert store.adopt_packs(open_store(tmp_path / "nowhere"), [id_of(b"x")]) == [id_of(b"x")]


def test_adopting_twice_is_harmless(tmp_path: Path) -> None:
    other = lender(tmp_path / "other")
    for _ in range(2):
        assert open_store(tmp_path / "nn").adopt_packs(other, [id_of(CONTENT)]) == []
    assert len(pack_paths(tmp_path / "nn")) == 2


def test_a_copy_of_a_damaged_pack_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = open_store(tmp_path / "other")
    put(other, noise(5000))
    flip(only_pack(tmp_path / "other"), 3000)
    monkeypatch.setattr(system, "link", no_links)
    store = open_store(tmp_path / "nn")
    oid = id_of(noise(5000))
    assert store.adopt_packs(open_store(tmp_path / "other"), [oid]) == [oid]
    assert pack_paths(tmp_path / "nn") == []


def test_a_linked_damaged_pack_never_gives_wrong_bytes(tmp_path: Path) -> None:
    other = open_store(tmp_path / "other")
    put(other, noise(5000))
    flip(only_pack(tmp_path / "other"), 3000)
    store = open_store(tmp_path / "nn")
    oid = id_of(noise(5000))
    store.adopt_packs(open_store(tmp_path / "other"), [oid])
    with pytest.raises(DamagedObjectError):
        read_bytes(store, oid)


def test_a_symbolic_link_is_never_taken(tmp_path: Path) -> None:
    other = open_store(tmp_path / "other")
    put(other, b"abc")
    path = only_pack(tmp_path / "other")
    secret = tmp_path / "secret"
    path.rename(secret)
    path.symlink_to(secret)
    store = open_store(tmp_path / "nn")
    assert store.adopt_packs(open_store(tmp_path / "other"), [id_of(b"abc")]) == [id_of(b"abc")]
    assert pack_paths(tmp_path / "nn") == []


def test_a_pack_that_becomes_a_symbolic_link_meanwhile_is_not_taken(tmp_path: Path) -> None:
    other = open_store(tmp_path / "other")
    (oid,) = put(other, b"abc")
    path = only_pack(tmp_path / "other")
    assert read_bytes(other, oid) == b"abc"  # the shelf of ``other`` knows the pack now
    path.rename(tmp_path / "secret")
    path.symlink_to(tmp_path / "secret")
    assert open_store(tmp_path / "nn").adopt_packs(other, [oid]) == [oid]
    assert pack_paths(tmp_path / "nn") == []
