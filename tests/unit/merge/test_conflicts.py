"""Conflict records on disk; no Git is started."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from git_nn import conflicts
from git_nn.conflicts import Record, Spec, Tensor
from git_nn.errors import StoreError
from git_nn.gitio.repository import Repository
from git_nn.merge.decide import Conflict
from git_nn.objects import skeleton as skeletons
from git_nn.objects.oid import oid_of
from git_nn.objects.pointer import Pointer, Stored, Window, sorted_entries
from git_nn.objects.skeleton import Blob, Part, Skeleton
from git_nn.store.memory import MemoryStore

SPEC = Spec("bf16", (4, 0), oid_of(b"x").hex())


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    git_dir = tmp_path / "wörk tree" / ".git"
    git_dir.mkdir(parents=True)
    return Repository(git_dir, git_dir, git_dir.parent, {})


def record(repo: Repository, path: bytes = b"a b/m.h5") -> Record:
    tensors = (
        Tensor("layers.0", "changed on both sides", SPEC, SPEC, SPEC),
        Tensor("bad \udcff\n name", "added on both sides", None, replace(SPEC, shape=()), SPEC),
    )
    blobs = (None, "1" * 40, "2" * 40)
    return Record(path, str(repo.git_dir), blobs, b"git-nn pointer 1\n", tensors, "", ("ab", "cd"))


@pytest.mark.parametrize("path", [b"m.h5", b"a b/\xff\xfe.h5", "é\n.h5".encode(), b'"quoted"'])
def test_a_record_comes_back_as_it_was(repo: Repository, path: bytes) -> None:
    made = record(repo, path)
    conflicts.save(repo, made)
    assert conflicts.load(repo) == [made]
    (file,) = (repo.nn_dir / "merge").iterdir()
    assert file.read_bytes().isascii()
    conflicts.drop(repo, made)
    conflicts.drop(repo, made)
    assert conflicts.load(repo) == []


def test_one_record_for_each_path_worktree_and_its_versions(repo: Repository) -> None:
    first = record(repo)
    others = [
        replace(first, path=b"other"),
        replace(first, git_dir="/elsewhere"),
        replace(first, blobs=("1" * 40, None, "2" * 40)),
    ]
    for made in (first, *others, replace(first, whole="again")):
        conflicts.save(repo, made)
    assert len(conflicts.load(repo)) == 4
    assert replace(first, whole="again") in conflicts.load(repo)


def test_the_file_is_named_as_specified(repo: Repository) -> None:
    made = record(repo)
    conflicts.save(repo, made)
    parts = (str(repo.git_dir).encode(), made.path, b"", b"1" * 40, b"2" * 40)
    name = oid_of(b"\0".join(parts)).hex()[:32]
    assert [file.name for file in (repo.nn_dir / "merge").iterdir()] == [f"{name}.json"]
    value = json.loads((repo.nn_dir / "merge" / f"{name}.json").read_bytes())
    assert list(value) == [
        "version", "path", "git_dir", "blobs", "result", "whole", "tensors", "oids"
    ]  # fmt: skip
    assert value["tensors"][0]["base"] == {"dtype": "bf16", "shape": [4, 0], "oid": SPEC.oid}


def test_a_damaged_or_newer_record_is_an_error_that_names_the_file(repo: Repository) -> None:
    conflicts.save(repo, record(repo))
    (file,) = (repo.nn_dir / "merge").iterdir()
    whole = file.read_bytes()
    for damage in (b"", b"\xff", whole[:-9], whole.replace(b'"path"', b'"pat"'), b"[1]"):
        file.write_bytes(damage)
        with pytest.raises(StoreError, match=file.name):
            conflicts.load(repo)
    file.write_bytes(whole.replace(b'"version": 1', b'"version": 2'))
    with pytest.raises(StoreError, match="newer git-nn"):
        conflicts.load(repo)


def test_a_record_is_written_whole_or_not_at_all(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    conflicts.save(repo, record(repo))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        conflicts.save(repo, replace(record(repo), whole="new"))
    assert conflicts.load(repo) == [record(repo)]
    assert len(list((repo.nn_dir / "merge").iterdir())) == 1


def test_the_oids_are_all_that_the_pointers_need() -> None:
    store = MemoryStore()
    text = skeletons.encode(Skeleton((Blob(oid_of(b"blob"), 4), Part("a", 0, 8))))
    with store.batch() as batch:
        skeleton, size = batch.put([text])
    a = Stored("a", "f32", (2,), oid_of(b"a"), 8)
    view = Window("b", "f32", (2,), "a", 0, (1,))
    pointer = Pointer("torch", 1, skeleton, size, sorted_entries([a, view]))
    gone = Pointer("torch", 1, oid_of(b"not here"), 9, ())
    found = conflicts.oids_of((pointer, None, gone), store)
    expected = {skeleton, oid_of(b"blob"), a.oid, gone.skeleton}
    assert found == tuple(sorted(oid.hex() for oid in expected))


def test_a_view_is_recorded_with_its_payload() -> None:
    a = Stored("a", "f32", (2,), oid_of(b"a"), 8)
    view = Window("b", "f32", (1,), "a", 1, (1,))
    side = Pointer("torch", 1, oid_of(b"s"), 1, (a, view))
    made = conflicts.tensor(Conflict("b", None, view, None, "why"), (None, side, side))
    assert made == Tensor("b", "why", None, Spec("f32", (1,), a.oid.hex()), None)
