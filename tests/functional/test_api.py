"""git_nn.api: tensors of any version, read one by one, with the work tree left alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import git
import ml_dtypes
import numpy as np
import pytest

from git_nn.api import Tensors, open_model
from git_nn.errors import MissingObjectError, UsageError
from git_nn.objects.oid import Oid
from git_nn.store.local import LocalStore
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
        assert same(open_model(repo, NAME, rev="HEAD~1"), FIRST)
        assert same(open_model(repo, NAME, rev="main"), SECOND)
        assert same(open_model(repo, NAME), STAGED)


def test_a_commit_of_gitpython_names_a_version(history: Repo, opened: git.Repo) -> None:
    versions = [open_model(opened, NAME, rev=c.hexsha) for c in opened.iter_commits(paths=NAME)]
    assert [version["half"].tobytes() for version in versions] == [
        SECOND["half"].tobytes(), FIRST["half"].tobytes(),
    ]  # fmt: skip


def test_only_the_tensor_that_is_asked_for_is_read(history: Repo, read: list[Oid]) -> None:
    model = open_model(history.path, NAME, rev="HEAD")
    oids = {name: entry.oid for name, entry in model.pointer.stored.items()}
    assert list(model) == ["bits", "emb", "half", "step"]
    assert not set(read) & set(oids.values())
    assert model["half"].tobytes() == SECOND["half"].tobytes()
    assert [oid for oid in read if oid in oids.values()] == [oids["half"]]


def test_asking_for_a_name_reads_nothing(history: Repo, read: list[Oid]) -> None:
    model = open_model(history.path, NAME, rev="HEAD")
    oids = {entry.oid for entry in model.pointer.stored.values()}
    assert "half" in model
    assert not set(read) & oids


def test_the_work_tree_and_the_index_are_left_alone(history: Repo) -> None:
    def state() -> dict[str, tuple[bytes, int]]:
        files = [path for path in history.path.rglob("*") if path.is_file()]
        return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}

    before = state()
    assert same(open_model(history.path, NAME, rev="HEAD~1"), FIRST)
    open_model(history.path, NAME).write(history.path.parent / "written")
    assert state() == before
    assert (history.path.parent / "written").read_bytes() == safetensors_file(STAGED)


def test_a_file_that_is_there_is_not_overwritten(history: Repo) -> None:
    with pytest.raises(FileExistsError):
        open_model(history.path, NAME).write(history.path / NAME)
    assert history.read(NAME) == OTHER


def test_what_is_not_there_is_named(history: Repo) -> None:
    for path, rev, words in (
        ("nope.h5", "HEAD", "there is no nope.h5 in HEAD"),
        ("nope.h5", None, "there is no nope.h5 in the index"),
        (NAME, "nope", f"there is no {NAME} in nope"),
        (".gitattributes", "HEAD", ".gitattributes in HEAD is not a git-nn pointer"),
    ):
        with pytest.raises(UsageError, match=words):
            open_model(history.path, path, rev=rev)


def test_an_unknown_tensor_is_a_key_that_is_missing(history: Repo) -> None:
    model = open_model(history.path, NAME)
    with pytest.raises(KeyError, match="nope"):
        model["nope"]
    assert model.get("nope") is None
    assert "nope" not in model


def test_a_folder_without_repository_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"{tmp_path} is not in a Git repository"):
        open_model(tmp_path, NAME)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=str(tmp_path / "nowhere")):
        open_model(tmp_path / "nowhere", NAME)


def test_a_tensor_that_is_not_here_is_named(history: Repo) -> None:
    for pack in (history.path / ".git/nn").rglob("*.nn*"):
        pack.unlink()
    model = open_model(history.path, NAME, rev="HEAD")
    assert "half" in list(model)
    with pytest.raises(MissingObjectError, match="tensor half"):
        model["half"]


def test_a_bare_clone_takes_the_tensors_from_its_origin(history: Repo, tmp_path: Path) -> None:
    bare = tmp_path / "bare.git"
    history.git("clone", "-q", "--bare", str(history.path), str(bare))
    with git.Repo(bare) as opened:
        assert same(open_model(opened, NAME, rev="main~1"), FIRST)
    assert same(open_model(bare, NAME, rev="main"), SECOND)


def test_a_linked_worktree_has_an_index_of_its_own(history: Repo, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    history.git("worktree", "add", "-q", "--detach", str(linked), "HEAD~1")
    with git.Repo(linked) as opened:
        assert same(open_model(opened, NAME), FIRST)
    assert same(open_model(history.path, NAME), STAGED)


def test_a_compressed_dataset_is_decoded(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = {"dense/kernel": normal(1, 30, 20), "step": np.array(7)}
    repo.write("m.h5", h5_file(arrays, {"/": {"note": "x"}}, chunks=(8, 8), compression="gzip"))
    repo.commit()
    monkeypatch.chdir(repo.path)
    assert same(open_model(".", "m.h5", rev="HEAD"), arrays)


def test_a_dataset_that_cannot_be_decoded_is_an_error_that_names_it(repo: Repo) -> None:
    whole = np.arange(64, dtype="<i4").reshape(8, 8)
    repo.write("m.h5", h5_file({"codes": whole}, chunks=(8, 8), scaleoffset=0))
    repo.commit()
    with pytest.raises(ValueError, match="codes"):
        open_model(repo.path, "m.h5")["codes"]
