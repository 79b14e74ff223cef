"""Clones that lack some of Git's own objects: partial, sparse and shallow ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.damage import packs, weights
from tests.support.git import Repo


@pytest.fixture
def url(repo: Repo, far: Repo) -> str:
    """Two models in two folders, three versions of each; only the remote is left."""
    for seed in (1, 2, 3):
        repo.write("a/model.safetensors", weights(seed))
        repo.write("b/model.safetensors", weights(10 + seed))
        repo.commit(f"version {seed}")
    far.git("config", "uploadpack.allowFilter", "true")
    repo.git("push", "-q", str(far.path), "main")
    repo.nn("install")
    repo.path.rename(repo.path.with_name("gone"))
    return far.path.as_uri()


def cloned(far: Repo, url: str, *options: str) -> Repo:
    place = far.path.with_name("clone")
    far.git("clone", "-q", *options, url, str(place))
    return Repo(place)


def test_a_sparse_partial_clone_fetches_the_weights_of_its_cone(far: Repo, url: str) -> None:
    repo = cloned(far, url, "--filter=blob:none", "--sparse")
    assert not (repo.path / ".git/nn").exists()
    repo.git("sparse-checkout", "set", "a")
    assert repo.read("a/model.safetensors") == weights(3)
    held = sum(path.stat().st_size for path in packs(repo))
    assert held < 1.2 * len(weights(3)), "one version of one model"
    repo.git("sparse-checkout", "add", "b")
    assert repo.read("b/model.safetensors") == weights(13)
    assert repo.status() == ""


@pytest.mark.parametrize("options", [["--filter=blob:none", "--sparse"], ["--depth=1"]])
def test_what_is_committed_there_is_pushed_and_complete(
    far: Repo, url: str, options: list[str]
) -> None:
    repo = cloned(far, url, *options)
    repo.git("sparse-checkout", "set", "a")
    repo.write("a/model.safetensors", weights(4))
    repo.git("commit", "-qam", "version 4")
    repo.git("push", "-q")
    repo.nn("fsck", "--remote")
    repo.path.rename(repo.path.with_name("gone too"))
    new = cloned(far, url)
    assert new.read("a/model.safetensors") == weights(4)
    assert new.read("b/model.safetensors") == weights(13)
    new.nn("fetch", "--all")
    new.nn("fsck")


def test_a_gc_that_cannot_know_what_is_needed_takes_nothing_away(far: Repo, url: str) -> None:
    repo = cloned(far, url, "--filter=blob:none", "--sparse")
    repo.git("sparse-checkout", "set", "a")
    before = packs(repo)
    assert "so what they need is not known" in repo.nn("gc", code=3).errors
    assert packs(repo) == before


def test_progress_is_written_for_a_program_that_asks(
    far: Repo, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_NN_PROGRESS", str(tmp_path / "progress"))
    cloned(far, url)
    lines = (tmp_path / "progress").read_text().splitlines()
    last: dict[str, tuple[int, int]] = {}
    for line in lines:
        stamp, done, total, what = line.split(" ", 3)
        assert float(stamp) > 1e9
        assert last.get(what, (0, 0))[0] <= int(done) <= int(total)
        last[what] = int(done), int(total)
    assert last
    assert all(done == total > 0 for done, total in last.values())
