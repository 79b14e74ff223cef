"""git push --mirror to remotes that list their packs in a ref: nobody's weights are lost.

Git servers are bare repositories, Git LFS servers giftless; all commands are the person's own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from git_nn.errors import RemoteError
from git_nn.gitio.repository import find
from git_nn.transfer import mirrored
from tests.support.git import Repo
from tests.support.git_servers import bare, git, http_backend
from tests.support.lfs_server import LfsServer
from tests.support.models import normal, safetensors_file

NAME = "model.safetensors"
AGAIN = "run the same command again"


def weights(seed: int) -> bytes:
    return safetensors_file({"w": normal(seed, 40, 32), "b": normal(seed + 1000, 32)})


@dataclass(frozen=True)
class Hosts:
    """Git remotes of one kind, each with its own place for weights."""

    folder: Path
    kind: str
    server: LfsServer

    @property
    def ref(self) -> str:
        return "refs/nn/catalog" if self.kind == "lfs" else "refs/nn/packs"

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.git"

    def weights(self, name: str) -> str:
        endpoint = self.server.endpoint(f"{self.folder.name}-{name}")
        return f"lfs+{endpoint}" if self.kind == "lfs" else "git"

    def add(self, repo: Repo, name: str) -> None:
        if not self.path(name).exists():
            bare(self.path(name))
        repo.git("remote", "add", name, self.path(name).as_uri())
        repo.git("config", f"remote.{name}.nnurl", self.weights(name))

    def clone(self, name: str, *options: str) -> Repo:
        """A clone for somebody who has git-nn; ``name`` is the remote that it knows."""
        place = self.folder / f"clone-{uuid4().hex[:6]}"
        home = Repo(self.folder)
        home.nn("install")
        url, chosen = self.path(name).as_uri(), f"nn.url={self.weights(name)}"
        home.git("clone", "-q", "-c", chosen, *options, url, str(place))
        return Repo(place)

    def refs(self, name: str) -> dict[str, str]:
        lines = git(self.path(name), "for-each-ref", "--format=%(refname) %(objectname)")
        return dict(line.split() for line in lines.decode().splitlines())

    def packs(self, name: str) -> set[str]:
        return set(git(self.path(name), "ls-tree", "-r", "--name-only", self.ref).decode().split())


@pytest.fixture(params=["lfs", "git"])
def hosts(request: pytest.FixtureRequest, tmp_path: Path, lfs_server: LfsServer) -> Hosts:
    return Hosts(tmp_path, request.param, lfs_server)


@pytest.fixture
def near(repo: Repo, hosts: Hosts) -> Repo:
    hosts.add(repo, "a")
    repo.write(NAME, weights(1))
    repo.commit("one")
    return repo


def more(repo: Repo, seed: int) -> None:
    repo.write(NAME, weights(seed))
    repo.commit(f"version {seed}")


def mirror(repo: Repo, name: str, *options: str) -> int:
    """``git push --mirror`` until it succeeds; how often it was refused."""
    for refusals in range(3):
        done = repo.git(*options, "push", "-q", "--mirror", name, code=None)
        if done.code == 0:
            return refusals
        assert AGAIN in done.errors
    raise AssertionError(done.errors)


@pytest.mark.parametrize("hosts", ["lfs"], indirect=True)
def test_a_clone_that_mirrors_again_and_again_keeps_the_weights(near: Repo, hosts: Hosts) -> None:
    assert mirror(near, "a") == 0
    more(near, 2)
    assert mirror(near, "a") == 0
    assert mirror(near, "a") == 0
    there = hosts.clone("a")
    assert there.read(NAME) == weights(2)
    assert there.nn("fetch", "--all").code == 0
    there.nn("fsck")


@pytest.mark.parametrize(
    ("hosts", "how"),
    [("git", "short"), ("lfs", "setting"), ("git", "refspec")],
    indirect=["hosts"],
)
def test_a_mirroring_push_after_plain_ones_is_refused_once(
    near: Repo, hosts: Hosts, how: str
) -> None:
    near.git("push", "-q", "a", "main")
    before = hosts.refs("a")
    if how == "setting":
        near.git("config", "remote.a.mirror", "true")
    words = {"short": ["--mir", "a"], "setting": ["a"],
             "refspec": ["--prune", "a", "+refs/*:refs/*"]}[how]  # fmt: skip
    refused = near.git("push", "-q", *words, code=1)
    assert AGAIN in refused.errors
    assert hosts.ref in refused.errors
    assert hosts.refs("a") == before
    more(near, 2)
    near.git("push", "-q", *words)
    assert hosts.clone("a").read(NAME) == weights(2)
    assert hosts.refs("a").keys() >= before.keys()


@pytest.mark.parametrize("hosts", ["lfs"], indirect=True)
def test_what_others_pushed_meanwhile_stays_on_the_list(near: Repo, hosts: Hosts) -> None:
    mirror(near, "a")
    other = hosts.clone("a")
    more(other, 7)
    other.git("push", "-q", "origin", "HEAD:refs/heads/theirs")
    theirs = hosts.packs("a")
    more(near, 8)
    assert mirror(near, "a") == 1
    assert hosts.packs("a") > theirs
    assert "refs/heads/theirs" not in hosts.refs("a")  # which is what a mirror is
    other.git("push", "-q", "origin", "HEAD:refs/heads/theirs")
    assert hosts.clone("a", "-b", "theirs").read(NAME) == weights(7)


@pytest.mark.parametrize(
    ("hosts", "when"), [("lfs", "before"), ("git", "after")], indirect=["hosts"]
)
def test_a_push_of_others_in_the_middle_of_ours_loses_nothing(
    near: Repo, hosts: Hosts, when: str, tmp_path: Path
) -> None:
    """After Git has looked at the remote, before or after our hook has."""
    mirror(near, "a")
    other = hosts.clone("a")
    more(other, 7)
    ours = 'git nn hook pre-push "$@" || exit 1'
    theirs = (
        f"test -e '{tmp_path}/once' || (touch '{tmp_path}/once'; unset GIT_DIR;"
        f" cd '{other.path}' && git push -q origin HEAD:refs/heads/theirs </dev/null) || exit 1"
    )
    lines = [ours, theirs] if when == "after" else [theirs, ours]
    hook = near.write("../hooks/pre-push", "\n".join(["#!/bin/sh", *lines, ""]).encode())
    hook.chmod(0o755)
    near.git("config", "core.hooksPath", str(hook.parent))
    more(near, 8)
    near.git("push", "-q", "--mirror", "a")
    there = hosts.clone("a")
    assert there.read(NAME) == weights(8)
    there.git("checkout", "-q", "theirs")
    assert there.read(NAME) == weights(7)
    before = hosts.packs("a")
    assert mirror(near, "a") <= 1
    assert hosts.packs("a") == before


@pytest.mark.parametrize("hosts", ["lfs"], indirect=True)
def test_two_mirrors_in_turn_keep_each_its_own_list(near: Repo, hosts: Hosts) -> None:
    hosts.add(near, "b")
    mirror(near, "a")
    assert mirror(near, "b") == 1
    assert mirror(near, "a") == 1
    more(near, 2)
    for name in ("a", "b"):  # the command that the documents have for this
        near.git("push", "-q", "--prune", name, "+refs/*:refs/*", "^refs/nn/*")
        assert hosts.clone(name).read(NAME) == weights(2)


@pytest.mark.parametrize("hosts", ["lfs"], indirect=True)
def test_a_list_is_deleted_by_nobody_who_does_not_insist(near: Repo, hosts: Hosts) -> None:
    near.git("push", "-q", "a", "main")
    before = hosts.refs("a")
    for again in (True, False):
        refused = near.git("push", "-q", "a", f":{hosts.ref}", code=1).errors
        assert (AGAIN in refused) is again
        assert "git push --no-verify" in refused
        assert hosts.refs("a") == before
    near.git("push", "-q", "--no-verify", "a", f":{hosts.ref}")
    assert hosts.ref not in hosts.refs("a")
    more(near, 2)
    near.git("push", "-q", "a", "main")  # sends again what nobody lists any more
    assert hosts.clone("a").read(NAME) == weights(2)


@pytest.mark.parametrize("hosts", ["git"], indirect=True)
def test_the_list_in_a_mirror_is_in_nobodys_way(near: Repo, hosts: Hosts) -> None:
    mirror(near, "a")
    more(near, 2)
    mirror(near, "a")
    near.nn("fsck")
    near.nn("gc")
    near.git("gc", "-q", "--prune=now")
    near.git("fsck", "--strict")
    near.nn("fetch", "--all")
    near.nn("log", NAME)
    assert mirror(near, "a") == 0
    assert near.git("log", "--format=%s", "HEAD").text == "version 2\none\n"
    assert "refs/nn" not in hosts.clone("a").git("for-each-ref").text


def test_a_bare_mirror_without_hooks_moves_to_another_host(near: Repo, hosts: Hosts) -> None:
    """'git clone --mirror' and 'git push --mirror', which is how hosts say to move."""
    near.git("push", "-q", "a", "main")
    more(near, 2)
    near.git("push", "-q", "a", "main")
    moving = hosts.clone("a", "--mirror")
    assert not list((moving.path / "hooks").glob("pre-push"))
    near.path.rename(near.path.with_name("gone"))
    hosts.add(moving, "b")
    moving.git("push", "-q", "--mirror", "b")
    assert hosts.refs("b")[hosts.ref] == hosts.refs("a")[hosts.ref]
    if hosts.kind == "lfs":
        there = hosts.clone("b")
        assert there.read(NAME).startswith(b"git-nn pointer 1\n")
        moving.nn("fetch", "origin", "--all")
        moving.nn("push", "b", "--all")
    hosts.path("a").rename(hosts.path("a").with_name("moved.git"))
    there = hosts.clone("b")
    assert there.read(NAME) == weights(2)
    there.nn("fetch", "--all")
    assert there.git("checkout", "-q", "HEAD~1").code == 0
    assert there.read(NAME) == weights(1)


def test_a_mirror_over_http_with_a_password(repo: Repo, tmp_path: Path) -> None:
    bare(tmp_path / "far.git")
    repo.git("config", "nn.url", "git")
    repo.write(NAME, weights(1))
    repo.commit("one")
    with http_backend(tmp_path, "s3cret") as server:
        url = server.url.replace("://", "://ann:s3cret@") + "/far.git"
        repo.git("push", "-q", url, "main")
        refused = repo.git("push", "-q", "--mirror", url, code=1).errors
        assert AGAIN in refused
        assert "s3cret" not in refused.partition("error: failed to push")[0]  # which Git says
        more(repo, 2)
        repo.git("push", "-q", "--mirror", url)
        there = Repo(tmp_path)
        there.nn("install")
        there.git("clone", "-q", "-c", "nn.url=git", url, str(tmp_path / "new"))
    assert Repo(tmp_path / "new").read(NAME) == weights(2)


def test_a_failure_tells_no_password(tmp_path: Path) -> None:
    repo = find(bare(tmp_path / "far.git"), os.environ)
    with pytest.raises(RemoteError, match=r"127\.0\.0\.1:9") as caught:
        mirrored.keep(repo, "http://ann:s3cret@127.0.0.1:9/far.git")
    assert "s3cret" not in str(caught.value)
