"""git nn remote gc: what no ref needs goes, by way of the trash; a push meanwhile loses nothing."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Collection
from pathlib import Path

import pytest

from git_nn.errors import RemoteError
from git_nn.gitio.repository import find
from git_nn.remote.folder import FolderKeys
from git_nn.remote.keys import KeyedRemote
from git_nn.transfer.sweep import sweep
from tests.support.damage import store_of, weights
from tests.support.git import Repo

NAME = "model.safetensors"
LONG = 30 * 86_400


@pytest.fixture
def near(repo: Repo, far: Repo) -> Repo:
    """A branch was pushed and deleted again, a month ago."""
    repo.git("remote", "add", "origin", str(far.path))
    repo.write(NAME, weights(1))
    repo.commit("kept")
    repo.git("switch", "-qc", "side")
    repo.write(NAME, weights(2))
    repo.commit("not kept")
    repo.git("push", "-q", "origin", "main", "side")
    repo.git("push", "-q", "origin", ":side")
    repo.git("switch", "-q", "main")
    repo.git("branch", "-q", "-D", "side")
    age(far)
    return repo


def age(far: Repo) -> None:
    then = time.time() - LONG
    for path in (far.path / "nn/packs").rglob("*.*"):
        os.utime(path, (then, then))


def packs(far: Repo, folder: str = "packs") -> set[str]:
    return {path.name for path in (far.path / "nn" / folder).rglob("*.nnp")}


def gc(repo: Repo, *options: str) -> dict[str, list[str]]:
    found = json.loads(repo.nn("remote", "gc", "origin", "--json", *options).text)
    return {key: found[key] for key in ("retire", "restore", "delete")}


def test_a_plan_changes_nothing_and_says_what_would_go(near: Repo, far: Repo) -> None:
    before = packs(far)
    text = near.nn("remote", "gc", "origin").text
    assert "would move to the trash: 1 pack" in text
    assert "--yes" in text
    assert packs(far) == before
    assert len(gc(near, "--yes", "-n")["retire"]) == 1
    assert packs(far) == before


def test_what_no_ref_needs_goes_to_the_trash_and_then_for_good(near: Repo, far: Repo) -> None:
    (name,) = gc(near, "--yes")["retire"]
    assert (len(packs(far)), packs(far, "trash")) == (1, {f"{name}.nnp"})
    assert gc(near, "--yes", "--grace", "0")["delete"] == []  # a day at least
    (bin_,) = (far.path / "nn/trash").iterdir()
    bin_.rename(bin_.with_name("20260102T030405Z"))
    assert len(gc(near, "--yes")["delete"]) == 2
    assert packs(far, "trash") == set()
    near.path.rename(near.path.with_name("gone"))
    Repo(far.path.parent).nn("install")
    far.git("clone", "-q", str(far.path), str(near.path))
    assert near.read(NAME) == weights(1)


def test_what_is_young_stays(near: Repo, far: Repo) -> None:
    for path in (far.path / "nn/packs").rglob("*.*"):
        os.utime(path)
    assert gc(near, "--yes")["retire"] == []
    assert "but new" in near.nn("remote", "gc", "origin").text


def test_a_ref_that_comes_back_brings_its_weights_out_of_the_trash(near: Repo, far: Repo) -> None:
    """As when a push had relied on a pack just before it went."""
    (name,) = gc(near, "--yes")["retire"]
    side = near.git("log", "-g", "-1", "--format=%H", "--grep-reflog=not kept", "HEAD").text.strip()
    near.git("push", "-q", "--no-verify", "origin", f"{side}:refs/heads/side")
    assert {item["name"] for item in gc(near, "--yes")["restore"]} == {name}  # type: ignore[call-overload]
    assert packs(far, "trash") == set()
    assert len(packs(far)) == 2
    assert gc(near, "--yes")["retire"] == []


def test_refs_that_move_meanwhile_bring_everything_back(near: Repo, far: Repo) -> None:
    side = near.git("log", "-g", "-1", "--format=%H", "--grep-reflog=not kept", "HEAD").text.strip()

    class Raced(KeyedRemote):
        """A push that relied on what goes moves its ref just then."""

        def retire(self, names: Collection[str], time: str) -> None:
            super().retire(names, time)
            assert len(packs(far)) == 1
            far.git("update-ref", "refs/heads/side", side)

    remote = Raced(FolderKeys(far.path / "nn"))
    with pytest.raises(RemoteError, match="moved meanwhile"):
        sweep(find(near.path, os.environ), store_of(near), remote, "origin", time.time() - 1)
    assert len(packs(far)) == 2
    assert len(remote.packs()) == 2


def test_a_push_after_it_sends_again_what_went(near: Repo, far: Repo) -> None:
    gc(near, "--yes")
    side = near.git("log", "-g", "-1", "--format=%H", "--grep-reflog=not kept", "HEAD").text.strip()
    near.git("push", "-q", "origin", f"{side}:refs/heads/side")
    assert len(packs(far)) == 2


def test_a_ref_that_is_not_here_forbids_it(near: Repo, far: Repo, tmp_path: Path) -> None:
    other = Repo(tmp_path / "other")
    near.git("clone", "-q", str(far.path), str(other.path))
    other.git("switch", "-qc", "theirs")
    other.git("commit", "-q", "--allow-empty", "-m", "theirs")
    other.git("push", "-q", "origin", "theirs")
    told = near.nn("remote", "gc", "origin", "--yes", code=2).errors
    assert "refs/heads/theirs of origin is not in this clone" in told
    near.git("fetch", "-q")
    assert len(gc(near, "--yes")["retire"]) == 1


def test_other_remotes_that_share_the_place_are_asked_too(near: Repo, far: Repo) -> None:
    fork = far.path.with_name("fork.git")
    near.git("clone", "-q", "--bare", str(far.path), str(fork))
    side = near.git("log", "-g", "-1", "--format=%H", "--grep-reflog=not kept", "HEAD").text.strip()
    near.git("remote", "add", "fork", str(fork))
    near.git("config", "nn.url", str(far.path / "nn"))
    near.git("push", "-q", "--no-verify", "fork", f"{side}:refs/heads/side")
    near.git("update-ref", "-d", "refs/remotes/fork/side")
    assert gc(near, "--yes")["retire"] == []


def test_where_only_the_server_can_free_space_it_says_so(near: Repo) -> None:
    near.nn("remote", "add", "origin", "git")
    assert "only its server" in near.nn("remote", "gc", "origin", code=2).errors


def test_where_refs_do_not_tell_all_it_is_refused(near: Repo, far: Repo, tmp_path: Path) -> None:
    shallow = Repo(tmp_path / "shallow")
    near.nn("install")
    near.git("clone", "-q", "--depth", "1", far.path.as_uri(), str(shallow.path))
    (shallow.path / ".git/shallow").write_text(near.git("rev-parse", "HEAD").text)
    assert "is shallow" in shallow.nn("remote", "gc", "origin", "--yes", code=2).errors
    near.git("remote", "add", "friend", str(shallow.path))
    told = near.nn("remote", "gc", "friend", "--yes", code=2).errors
    assert "work tree" in told
    assert "'git nn gc' there" in told
