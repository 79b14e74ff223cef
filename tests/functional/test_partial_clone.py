"""Clones that lack some of Git's own objects: partial, sparse and shallow ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.damage import packs, weights
from tests.support.git import Repo


@pytest.fixture
def url(repo: Repo, far: Repo) -> str:
    """Two models in two folders, three versions of each; only the remote is left."""
    for seed in (1, 2, 3):
        for folder, number in (("a", seed), ("b", 10 + seed)):  # each in a pack of its own
            repo.write(f"{folder}/model.safetensors", weights(number))
            repo.commit(f"version {seed} of {folder}")
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
    there = repo.nn("whereis", "b/model.safetensors", "HEAD", "--json", code=None).text
    assert json.loads(there)["files"][0]["places"][0]["missing_tensors"] == ["w"]
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
    repo: Repo, far: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo.nn("install")
    repo.git("config", "--global", "nn.url", str(tmp_path / "weights"))
    repo.write("model.safetensors", weights(1))
    repo.commit("one")
    repo.git("push", "-q", str(far.path), "main")
    monkeypatch.setenv("GIT_NN_PROGRESS", str(tmp_path / "progress"))
    assert cloned(far, far.path.as_uri()).read("model.safetensors") == weights(1)
    lines = [line.split(" ", 3) for line in (tmp_path / "progress").read_text().splitlines()]
    fetched = [(int(done), int(total)) for _, done, total, what in lines if "Fetching" in what]
    assert fetched == sorted(fetched)
    done, total = fetched[-1]
    assert done == total >= len(weights(1)) * 0.5
    assert all(float(stamp) > 1e9 for stamp, *_ in lines)
