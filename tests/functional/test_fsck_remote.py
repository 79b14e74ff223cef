"""git nn fsck --remote: what a remote has lost is named, and sent again from here."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.damage import flip, nn_dir, truncate, weights
from tests.support.git import Repo
from tests.support.git_servers import put_entry
from tests.support.lfs_server import LfsServer

NAME = "model.safetensors"


@pytest.fixture
def near(repo: Repo, far: Repo) -> Repo:
    """One pack is there, and something is here that was not pushed."""
    repo.git("remote", "add", "origin", str(far.path))
    repo.write(NAME, weights(1))
    repo.commit("pushed")
    repo.git("push", "-qu", "origin", "main")
    repo.write(NAME, weights(2))
    repo.commit("not pushed")
    return repo


def files(far: Repo, suffix: str) -> list[Path]:
    return sorted((far.path / "nn/packs").rglob(f"*{suffix}"))


def is_mended(near: Repo, *level: str) -> None:
    told = near.nn("fsck", "--remote", *level, "--repair").text  # it checks again
    assert "repaired: " in told
    assert "ok: 1 pack" in told


def heals(near: Repo, far: Repo, tmp_path: Path, *level: str) -> None:
    """And a clone that has nothing but the remote gets all of it."""
    is_mended(near, *level)
    near.path.rename(tmp_path / "gone")
    Repo(tmp_path).nn("install")
    far.git("clone", "-q", str(far.path), str(tmp_path / "new"))
    new = Repo(tmp_path / "new")
    new.nn("fetch", "--all")
    new.nn("fsck")
    assert new.read(NAME) == weights(1)


def test_a_whole_remote_is_well_though_not_all_was_pushed(near: Repo) -> None:
    assert near.nn("fsck", "--remote").text.startswith("ok: 1 pack")
    near.nn("fsck", "--remote", "origin", "--full")


@pytest.mark.parametrize("suffix", [".nnp", ".idx"])
def test_what_is_lost_is_named_and_sent_again(
    near: Repo, far: Repo, tmp_path: Path, suffix: str
) -> None:
    for path in files(far, suffix):
        path.chmod(0o644)
        path.unlink()
    told = near.nn("fsck", "--remote", code=3)
    assert f"tensor w of {NAME}" in told.text
    assert "but it is here" in told.text
    heals(near, far, tmp_path)


def test_a_pack_that_was_cut_off_is_sent_again(near: Repo, far: Repo) -> None:
    truncate(files(far, ".nnp")[0], 100)
    assert "it has 100 of" in near.nn("fsck", "--remote", code=4).text
    is_mended(near)


def test_an_index_that_is_damaged_is_found_and_replaced(near: Repo, far: Repo) -> None:
    flip(files(far, ".idx")[0], 1200)
    assert "index" in near.nn("fsck", "--remote", code=4).text
    is_mended(near)


def test_a_flipped_bit_is_found_by_reading_all(near: Repo, far: Repo, tmp_path: Path) -> None:
    flip(files(far, ".nnp")[0], 300)
    near.nn("fsck", "--remote")
    assert "do not match its name" in near.nn("fsck", "--remote", "--full", code=4).text
    heals(near, far, tmp_path, "--full")


def test_a_damaged_pack_stays_where_the_weights_are_not_here(near: Repo, far: Repo) -> None:
    """Some of its frames may still be whole."""
    for path in files(far, ".nnp"):
        flip(path, 300)
    for path in (nn_dir(near) / "packs").rglob("*.nnp"):
        path.chmod(0o644)
        path.unlink()
    before = [path.name for path in files(far, ".nnp")]
    told = near.nn("fsck", "--remote", "--full", "--repair", code=4)
    assert "nor is it here" in told.text
    assert [path.name for path in files(far, ".nnp")] == before


def test_a_fetch_goes_on_without_a_damaged_index_and_says_which(
    near: Repo, far: Repo, tmp_path: Path
) -> None:
    shutil.rmtree(far.path / "nn")
    near.git("config", "nn.url", "git")
    near.nn("push", "origin", "HEAD~1")
    argv = ("ls-tree", "-r", "--name-only", "refs/nn/packs")
    (path,) = (path for path in far.git(*argv).text.split() if path.endswith(".idx"))
    near.write("other.safetensors", weights(9, "v", rows=70))
    near.commit("another model")
    near.git("push", "-q", "origin", "main")
    put_entry(far.path, "refs/nn/packs", path, b"damaged")
    name = Path(path).stem[:12]
    Repo(tmp_path).nn("install")
    far.git("clone", "-q", "-c", "nn.url=git", far.path.as_uri(), str(tmp_path / "new"))
    new = Repo(tmp_path / "new")
    assert new.read("other.safetensors") == weights(9, "v", rows=70)
    told = new.nn("fetch", "--all", code=3).errors
    assert f"the index of pack {name} is damaged" in told
    assert "git nn fsck --remote --repair" in told
    assert name in near.nn("fsck", "--remote", code=4).text
    near.nn("fsck", "--remote", "--repair")
    new.nn("fetch", "--all")
    new.nn("fsck")


def test_a_git_lfs_server_that_lost_an_object_is_found_out_without_a_download(
    near: Repo, tmp_path: Path, lfs_server: LfsServer
) -> None:
    near.git("config", "nn.url", f"lfs+{lfs_server.endpoint(tmp_path.name)}")
    near.nn("push", "origin", "HEAD~1")
    assert near.nn("fsck", "--remote").text.startswith("ok: 1 pack")
    objects = list(lfs_server.stored(tmp_path.name, "").iterdir())
    for path in objects:
        path.unlink()
    assert f"tensor w of {NAME}" in near.nn("fsck", "--remote", code=3).text
    is_mended(near)
    assert [path.exists() for path in objects] == [True] * len(objects)
    near.nn("fsck", "--remote", "--full")
