"""The same day with every kind of remote: push, clone, change, push, pull, read one tensor.

Servers are real ones on loopback; the clone knows the repository that pushed by the remote alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

import git_nn
from git_nn.objects.pointer import parse
from git_nn.store.local import open_store
from tests.support.git import Repo
from tests.support.git_servers import bare, http_backend
from tests.support.lfs_server import LfsServer
from tests.support.models import normal, safetensors_file
from tests.support.s3_server import S3Server
from tests.support.ssh_server import SshServer

NAME = "model.safetensors"
BIG, SMALL = normal(1, 700, 800), normal(2, 32)


@dataclass(frozen=True)
class Far:
    """``url`` is for Git, ``weights`` for nn.url where it is not what Git's address says."""

    url: str
    weights: str = ""


def model(small: int) -> bytes:
    return safetensors_file({"big": BIG, "small": normal(small, 32)})


@pytest.fixture(params=["file", "ssh", "http", "s3", "lfs"])
def far(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Far]:
    path = bare(tmp_path / "far.git")
    match request.param:
        case "file":
            yield Far(path.as_uri())
        case "ssh":
            server: SshServer = request.getfixturevalue("ssh_server")
            monkeypatch.setenv("GIT_SSH_COMMAND", server.command)
            yield Far(server.address(path))
        case "http":
            with http_backend(tmp_path, "s3cret") as backend:
                url = backend.url.replace("://", "://ann:s3cret@") + "/far.git"
                yield Far(url, "git")
        case "s3":
            bucket: S3Server = request.getfixturevalue("s3_server")
            for key, value in bucket.environment.items():
                monkeypatch.setenv(key, value)
            name = f"bucket-{uuid4().hex}"
            bucket.make_bucket(name)
            yield Far(path.as_uri(), f"s3://{name}/models")
        case _:
            lfs: LfsServer = request.getfixturevalue("lfs_server")
            yield Far(path.as_uri(), "lfs+" + lfs.endpoint(tmp_path.name))


@pytest.fixture
def near(repo: Repo, far: Far) -> Repo:
    repo.git("remote", "add", "origin", far.url)
    if far.weights:
        repo.git("config", "nn.url", far.weights)
    repo.write(NAME, model(2))
    repo.commit("one")
    return repo


@pytest.fixture
def clone(near: Repo, far: Far, tmp_path: Path) -> Callable[..., Repo]:
    """Clones for somebody who has git-nn; ``lazy`` ones have pointers."""
    near.nn("install")

    def made(*, lazy: bool = False) -> Repo:
        place = tmp_path / f"clone-{uuid4().hex[:6]}"
        weights = ["-c", f"nn.url={far.weights}"] if far.weights else []
        env = {"GIT_NN_SKIP_SMUDGE": "1"} if lazy else {}
        Repo(tmp_path).run("git", "clone", "-q", *weights, far.url, str(place), env=env)
        return Repo(place)

    return made


def test_a_day_of_two_people(near: Repo, clone: Callable[..., Repo]) -> None:
    near.git("push", "-q", "-u", "origin", "main")
    said = near.git("push", "origin", "main").errors
    assert said == "Everything up-to-date\n"
    other = clone()
    assert other.read(NAME) == model(2)
    assert other.status() == ""
    other.write(NAME, model(3))
    other.commit("two")
    other.git("push", "-q")
    near.git("pull", "-q", "--ff-only")
    assert near.read(NAME) == model(3)
    assert near.status() == ""
    near.nn("fsck")
    assert "all weights" in near.nn("push").text


def test_one_tensor_is_read_without_the_others(near: Repo, clone: Callable[..., Repo]) -> None:
    near.git("push", "-q", "-u", "origin", "main")
    lazy = clone(lazy=True)
    assert lazy.read(NAME).startswith(b"git-nn pointer 1\n")
    tensors = git_nn.open(lazy.path, "HEAD", NAME)
    assert (tensors["small"].numpy() == SMALL).all()
    big = parse(lazy.blob(f"HEAD:{NAME}")).stored["big"]
    assert open_store(lazy.path / ".git/nn").size(big.oid) is None
    assert lazy.nn("pull").text == "1 file written\n"
    assert lazy.read(NAME) == model(2)
