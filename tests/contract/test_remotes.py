"""The contract of remotes, for every remote."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from git_nn.errors import RemoteError
from git_nn.remote.cloud import open_bucket
from git_nn.remote.folder import FolderKeys
from git_nn.remote.in_git import GitRemote
from git_nn.remote.keys import KeyedRemote
from git_nn.remote.lfs import LfsRemote
from git_nn.remote.ssh import open_folder
from tests.contract.remote_contract import Connect, KeyedContract, RemoteContract, made
from tests.support.git_servers import bare, clone, git, http_backend, put_entry
from tests.support.lfs_server import LfsServer
from tests.support.s3_server import S3Server
from tests.support.ssh_server import SshServer


class TestFolder(KeyedContract):
    @pytest.fixture
    def connect(self, tmp_path: Path) -> Connect:
        return lambda: KeyedRemote(FolderKeys(tmp_path / "remote" / "nn"))

    def published_bytes(self, tmp_path: Path, name: str) -> bytes:
        (path,) = (tmp_path / "remote").rglob(f"{name}.nnp")
        return path.read_bytes()

    def plant_index(self, tmp_path: Path, name: str, data: bytes) -> None:
        (path,) = (tmp_path / "remote").rglob(f"{name}.idx")
        path.chmod(0o644)
        path.write_bytes(data)


class TestSsh(KeyedContract):
    """OpenSSH's sshd on loopback."""

    @pytest.fixture
    def connect(
        self, tmp_path: Path, ssh_server: SshServer, monkeypatch: pytest.MonkeyPatch
    ) -> Connect:
        monkeypatch.setenv("GIT_SSH_COMMAND", ssh_server.command)
        repo = clone(tmp_path / "clone")
        url = ssh_server.address(tmp_path / "remote/nn")
        return lambda: KeyedRemote(open_folder(repo, url, beside=False))

    def published_bytes(self, tmp_path: Path, name: str) -> bytes:
        (path,) = (tmp_path / "remote").rglob(f"{name}.nnp")
        return path.read_bytes()

    def plant_index(self, tmp_path: Path, name: str, data: bytes) -> None:
        (path,) = (tmp_path / "remote").rglob(f"{name}.idx")
        path.chmod(0o644)
        path.write_bytes(data)


class TestBucket(KeyedContract):
    """An S3 server of moto's."""

    @pytest.fixture
    def connect(
        self, tmp_path: Path, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
    ) -> Connect:
        for name, value in s3_server.environment.items():
            monkeypatch.setenv(name, value)
        self.server = s3_server
        self.bucket = f"bucket-{uuid4().hex}"
        s3_server.make_bucket(self.bucket)
        url = f"s3://{self.bucket}/some/prefix"
        return lambda: KeyedRemote(open_bucket(url, os.environ))

    def published_bytes(self, tmp_path: Path, name: str) -> bytes:
        return self.server.value(self.bucket, f"some/prefix/packs/{name[:2]}/{name}.nnp")

    def plant_index(self, tmp_path: Path, name: str, data: bytes) -> None:
        self.server.put(self.bucket, f"some/prefix/packs/{name[:2]}/{name}.idx", data)


class TestBucketWithoutConditions(TestBucket):
    """s3rver, which replaces what is there whatever the condition of a PUT says."""

    @pytest.fixture
    def s3_server(self, other_s3_server: S3Server) -> S3Server:
        return other_s3_server

    @pytest.mark.parametrize("cut", [(0, 16), (17, 4000), (-9, -1), (1, -1), (5, 5)])
    def test_a_range_is_just_these_bytes(
        self, connect: Connect, tmp_path: Path, cut: tuple[int, int]
    ) -> None:
        super().test_a_range_is_just_these_bytes(connect, tmp_path, cut)

    def test_all_bytes_where_the_first_was_asked_for_are_refused(
        self, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Version 3.7.1 takes 'bytes=0-0' for no range."""
        monkeypatch.setattr("git_nn.remote.retry.pause", lambda *_: None)
        pack = made(tmp_path, 1)
        with connect() as remote:
            remote.publish([pack])
            with pytest.raises(RemoteError, match=r"Requested 0\.\.1"):
                list(remote.read(pack.name, 0, 1))


class TestInGit(RemoteContract):
    @pytest.fixture
    def connect(self, tmp_path: Path) -> Connect:
        far, repo = bare(tmp_path / "far.git"), clone(tmp_path / "clone")
        return lambda: GitRemote(repo, far.as_uri())

    def published_bytes(self, tmp_path: Path, name: str) -> bytes:
        path = f"refs/nn/packs:packs/{name[:2]}/{name}.nnp"
        return git(tmp_path / "far.git", "cat-file", "blob", path)

    def plant_index(self, tmp_path: Path, name: str, data: bytes) -> None:
        put_entry(tmp_path / "far.git", "refs/nn/packs", f"packs/{name[:2]}/{name}.idx", data)


class TestGitHttp(TestInGit):
    """git http-backend behind nginx: a SHA-256 repository that does not filter, with a password."""

    @pytest.fixture
    def connect(self, tmp_path: Path) -> Iterator[Connect]:
        bare(tmp_path / "far.git", filters=False, object_format="sha256")
        repo = clone(tmp_path / "clone", object_format="sha256")
        with http_backend(tmp_path, "s3cret") as server:
            url = server.url.replace("://", "://ann:s3cret@") + "/far.git"
            yield lambda: GitRemote(repo, url)


class TestLfs(RemoteContract):
    """giftless for the packs, a bare repository for the catalogue."""

    @pytest.fixture
    def connect(self, tmp_path: Path, lfs_server: LfsServer) -> Connect:
        self.server = lfs_server
        far, repo = bare(tmp_path / "far.git"), clone(tmp_path / "clone")
        endpoint = lfs_server.endpoint(tmp_path.name)
        return lambda: LfsRemote(repo, far.as_uri(), endpoint=endpoint)

    def published_bytes(self, tmp_path: Path, name: str) -> bytes:
        path = f"refs/nn/catalog:packs/{name[:2]}/{name}"
        pointer = git(tmp_path / "far.git", "cat-file", "blob", path).decode()
        assert len(pointer.splitlines()) == 3
        oid = pointer.partition("oid sha256:")[2][:64]
        return self.server.stored(tmp_path.name, oid).read_bytes()

    def plant_index(self, tmp_path: Path, name: str, data: bytes) -> None:
        put_entry(tmp_path / "far.git", "refs/nn/catalog", f"idx/{name[:2]}/{name}", data)
