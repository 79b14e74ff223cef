"""git_nn.api: tensors of any version, read one by one, with the work tree left alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import git
import ml_dtypes
import numpy as np
import pytest

import git_nn
from git_nn.errors import MissingObjectError, UsageError
from git_nn.objects.oid import Oid
from git_nn.store.frame import Part
from git_nn.store.frames import Frames
from git_nn.store.local import LocalStore
from git_nn.tensors import Tensors
from tests.support.git import Repo
from tests.support.models import h5_file, normal, safetensors_file

NAME = "sub dir/m.safetensors"
FIRST = {
    "emb": normal(1, 40, 8),
    "half": normal(2, 5, 6).astype(ml_dtypes.bfloat16),
    "bits": np.array([0x7FC12345, 0x80000000, 0xFF800000], "<u4").view("<f4"),
    "step": np.array(2**50 + 1),
}
SECOND = {**FIRST, "half": normal(3, 5, 6).astype(ml_dtypes.bfloat16)}
STAGED = {**SECOND, "emb": normal(4, 40, 8)}
OTHER = safetensors_file({"emb": normal(5, 40, 8)})


@pytest.fixture
def history(repo: Repo) -> Repo:
    """HEAD~1 is FIRST, HEAD is SECOND, the index STAGED, and the work tree OTHER."""
    for message, tensors in (("first", FIRST), ("second", SECOND)):
        repo.write(NAME, safetensors_file(tensors))
        repo.commit(message)
    repo.write(NAME, safetensors_file(STAGED))
    repo.git("add", NAME)
    repo.write(NAME, OTHER)
    return repo


@pytest.fixture
def opened(history: Repo) -> Iterator[git.Repo]:
    with git.Repo(history.path) as found:
        yield found


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Oid]:
    """Every object that is read from a store on disk, in order."""
    asked: list[Oid] = []
    real = LocalStore.read

    def counted(self: LocalStore, oid: Oid) -> object:
        asked.append(oid)
        return real(self, oid)

    monkeypatch.setattr(LocalStore, "read", counted)
    return asked


def same(model: Tensors, tensors: dict[str, np.ndarray]) -> bool:
    """Equal names, dtypes, shapes and bits."""
    assert set(model) == set(tensors)
    assert len(model) == len(tensors)
    return all(
        (model[name].dtype, model[name].shape, model[name].tobytes())
        == (array.dtype, array.shape, array.tobytes())
        for name, array in tensors.items()
    )


def test_every_version_is_read_bit_for_bit(history: Repo, opened: git.Repo) -> None:
    for repo in (history.path, str(history.path), history.path / "sub dir", opened):
        assert same(git_nn.open(repo, "HEAD~1", NAME), FIRST)
        assert same(git_nn.open(repo, "main", NAME), SECOND)
        assert same(git_nn.open(repo, None, NAME), STAGED)


def test_a_commit_of_gitpython_names_a_version(history: Repo, opened: git.Repo) -> None:
    versions = [git_nn.open(opened, c.hexsha, NAME) for c in opened.iter_commits(paths=NAME)]
    assert [version["half"].tobytes() for version in versions] == [
        SECOND["half"].tobytes(), FIRST["half"].tobytes(),
    ]  # fmt: skip


def test_only_the_tensor_that_is_asked_for_is_read(history: Repo, read: list[Oid]) -> None:
    model = git_nn.open(history.path, "HEAD", NAME)
    oids = {name: entry.oid for name, entry in model.pointer.stored.items()}
    assert list(model) == ["bits", "emb", "half", "step"]
    assert not set(read) & set(oids.values())
    assert model["half"].tobytes() == SECOND["half"].tobytes()
    assert [oid for oid in read if oid in oids.values()] == [oids["half"]]


def test_asking_for_a_name_reads_nothing(history: Repo, read: list[Oid]) -> None:
    model = git_nn.open(history.path, "HEAD", NAME)
    oids = {entry.oid for entry in model.pointer.stored.values()}
    assert "half" in model
    assert not set(read) & oids


def test_the_work_tree_and_the_index_are_left_alone(history: Repo) -> None:
    def state() -> dict[str, tuple[bytes, int]]:
        files = [path for path in history.path.rglob("*") if path.is_file()]
        return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}

    before = state()
    assert same(git_nn.open(history.path, "HEAD~1", NAME), FIRST)
    git_nn.open(history.path, None, NAME).write(history.path.parent / "written")
    assert state() == before
    assert (history.path.parent / "written").read_bytes() == safetensors_file(STAGED)


def test_a_file_that_is_there_is_not_overwritten(history: Repo) -> None:
    with pytest.raises(FileExistsError):
        git_nn.open(history.path, None, NAME).write(history.path / NAME)
    assert history.read(NAME) == OTHER


def test_what_is_not_there_is_named(history: Repo) -> None:
    for path, rev, words in (
        ("nope.h5", "HEAD", "there is no nope.h5 in HEAD"),
        ("nope.h5", None, "there is no nope.h5 in the index"),
        (NAME, "nope", f"there is no {NAME} in nope"),
    ):
        with pytest.raises(UsageError, match=words):
            git_nn.open(history.path, rev, path)


def test_an_unknown_tensor_is_a_key_that_is_missing(history: Repo) -> None:
    model = git_nn.open(history.path, None, NAME)
    with pytest.raises(KeyError, match="nope"):
        model["nope"]
    assert model.get("nope") is None
    assert "nope" not in model


def test_a_folder_without_repository_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"{tmp_path} is not in a Git repository"):
        git_nn.open(tmp_path, None, NAME)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=str(tmp_path / "nowhere")):
        git_nn.open(tmp_path / "nowhere", None, NAME)


def test_a_tensor_that_is_not_here_is_named(history: Repo) -> None:
    for pack in (history.path / ".git/nn").rglob("*.nn*"):
        pack.unlink()
    model = git_nn.open(history.path, "HEAD", NAME)
    assert "half" in list(model)
    with pytest.raises(MissingObjectError, match="tensor half"):
        model["half"].numpy()
    with pytest.raises(MissingObjectError, match="tensor emb"):
        model["emb"][1:3]


def test_a_bare_clone_takes_the_tensors_from_its_origin(history: Repo, tmp_path: Path) -> None:
    bare = tmp_path / "bare.git"
    history.git("clone", "-q", "--bare", str(history.path), str(bare))
    with git.Repo(bare) as opened:
        assert same(git_nn.open(opened, "main~1", NAME), FIRST)
    assert same(git_nn.open(bare, "main", NAME), SECOND)


def test_a_linked_worktree_has_an_index_of_its_own(history: Repo, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    history.git("worktree", "add", "-q", "--detach", str(linked), "HEAD~1")
    with git.Repo(linked) as opened:
        assert same(git_nn.open(opened, None, NAME), FIRST)
    assert same(git_nn.open(history.path, None, NAME), STAGED)


def test_a_compressed_dataset_is_decoded(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = {"dense/kernel": normal(1, 30, 20), "step": np.array(7)}
    repo.write("m.h5", h5_file(arrays, {"/": {"note": "x"}}, chunks=(8, 8), compression="gzip"))
    repo.commit()
    monkeypatch.chdir(repo.path)
    assert same(git_nn.open(".", "HEAD", "m.h5"), arrays)


def test_a_dataset_that_cannot_be_decoded_is_an_error_that_names_it(repo: Repo) -> None:
    whole = np.arange(64, dtype="<i4").reshape(8, 8)
    repo.write("m.h5", h5_file({"codes": whole}, chunks=(8, 8), scaleoffset=0))
    repo.commit()
    with pytest.raises(ValueError, match="codes"):
        git_nn.open(repo.path, None, "m.h5")["codes"].numpy()


def test_a_slice_is_that_of_numpy_and_reads_only_its_segments(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    big = normal(9, 3000, 1024)  # three segments of 4 MiB
    half = normal(8, 7, 5).astype(ml_dtypes.bfloat16)
    repo.write("m.safetensors", safetensors_file({"big": big, "half": half, "one": np.array(3)}))
    repo.commit()
    read: list[int] = []
    real = Frames.segment

    def counted(self: Frames, part: Part) -> object:
        read.append(part.length)
        return real(self, part)

    monkeypatch.setattr(Frames, "segment", counted)
    model = git_nn.open(repo.path, "HEAD", "m.safetensors")
    read.clear()
    tensor = model["big"]
    assert (tensor.shape, tensor.dtype, len(tensor)) == ((3000, 1024), np.dtype("<f4"), 3000)
    assert read == []
    assert np.array_equal(tensor[10:12], big[10:12])
    assert len(read) == 1
    for index in (
        0, -1, 2999, slice(1020, 1030), slice(None, 5), slice(-3, None), slice(5, 2), slice(0, 0),
        slice(None, None, 7), slice(None, None, -1), (3, 4), (slice(2, 4), slice(None, None, 100)),
        (slice(2, 4), 5), (..., 0), np.array([5, 3]), (slice(0, 2), None),
    ):  # fmt: skip
        assert np.array_equal(tensor[index], big[index]), index
    for index in (0, -7, slice(2, 5), slice(None, None, 2), (1, 2), (slice(1, 3), -1)):
        assert model["half"][index].tobytes() == half[index].tobytes()
    for wrong in (3000, -3001, (0, 1024), "x"):
        with pytest.raises(IndexError):
            tensor[wrong]
    assert model["one"][()] == 3
    with pytest.raises(IndexError):
        model["one"][0]
    assert np.array_equal(np.asarray(tensor), big)
    assert float(np.sum(model["one"])) == 3.0


def test_a_diff_is_typed_and_shows_itself(history: Repo) -> None:
    old, new = (git_nn.open(history.path, rev, NAME) for rev in ("HEAD~1", "HEAD"))
    found = git_nn.diff(old, new)
    assert [delta.name for delta in found.tensors] == ["half"]
    assert found.tensors[0].numbers is not None
    assert found.counts == {"changed": 1}
    assert "half" in str(found)
    page = found._repr_html_()
    assert "half" in page
    assert "<script src" not in page
    assert git_nn.diff(old, old).is_empty
    assert git_nn.diff(None, new).total == 4


def test_a_version_that_was_committed_raw_is_opened_too(tmp_path: Path) -> None:
    repo = Repo.create(tmp_path / "raw", patterns=())
    repo.write("m.safetensors", OTHER)
    repo.commit()
    model = git_nn.open(repo.path, "HEAD", "m.safetensors")
    assert np.array_equal(model["emb"][2:4], normal(5, 40, 8)[2:4])


def test_importing_git_nn_loads_nothing_and_unknown_names_are_errors() -> None:
    script = "import sys, git_nn; print([m for m in sys.modules if m.startswith('git_nn')])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['git_nn']"
    with pytest.raises(AttributeError):
        git_nn.nothing  # noqa: B018
