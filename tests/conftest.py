"""A fresh HOME, no configuration of this machine, fixed names and dates, for every test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.git import Repo, scrubbed_environment

if TYPE_CHECKING:
    from tests.support.lfs_server import LfsServer
    from tests.support.s3_server import S3Server
    from tests.support.ssh_server import SshServer
    from tests.support.stock import Past, Stock


@pytest.fixture(autouse=True)
def scrubbed(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every test runs with an empty HOME and none of this machine's Git settings."""
    home = tmp_path_factory.mktemp("home")
    clean = scrubbed_environment(home)
    for name in list(os.environ):
        if name not in clean:
            monkeypatch.delenv(name)
    for name, value in clean.items():
        monkeypatch.setenv(name, value)
    return home


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    """A new repository with git-nn installed in it and *.h5, *.safetensors, *.pt, *.bin tracked."""
    return Repo.create(tmp_path / "repo")


@pytest.fixture
def far(tmp_path: Path) -> Repo:
    """A bare repository to push to, which knows nothing of git-nn."""
    bare = Repo(tmp_path / "far.git")
    bare.path.mkdir()
    bare.git("init", "-q", "--bare", "-b", "main", ".")
    return bare


@pytest.fixture(scope="session")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Stock:
    """A repository with branches to be merged; see ``past``."""
    from tests.support.stock import Stock

    return Stock.create(tmp_path_factory.mktemp("stock") / "repo")


@pytest.fixture
def past(stock: Stock, tmp_path: Path) -> Past:
    """A copy of it for one test."""
    return stock.copy(tmp_path / "repo")


@pytest.fixture(scope="session")
def lfs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LfsServer]:
    """One giftless for all tests that ask for it; each takes a repository name of its own."""
    from tests.support.lfs_server import giftless

    with giftless(tmp_path_factory.mktemp("lfs")) as server:
        yield server


@pytest.fixture(scope="session")
def ssh_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    """One sshd for all tests that ask for it."""
    from tests.support.ssh_server import sshd

    with sshd(tmp_path_factory.mktemp("ssh")) as server:
        yield server


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """One S3 server for all tests that ask for it; each makes a bucket of its own."""
    from tests.support.s3_server import moto

    with moto() as server:
        yield server


@pytest.fixture(scope="session")
def other_s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """The same of another make."""
    from tests.support.s3_server import s3rver

    with s3rver(tmp_path_factory.mktemp("s3rver")) as server:
        yield server
