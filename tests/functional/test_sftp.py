"""SFTP as servers of less than OpenSSH's speak it."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from git_nn.remote.keys import KeyedRemote
from git_nn.remote.sftp import BLOCK, LARGE, Sftp
from git_nn.remote.ssh import SftpKeys, open_folder
from tests.contract.remote_contract import made, whole
from tests.support.git_servers import clone
from tests.support.ssh_server import SshServer


@pytest.fixture
def keys(ssh_server: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SftpKeys:
    monkeypatch.setenv("GIT_SSH_COMMAND", ssh_server.command)
    return open_folder(
        clone(tmp_path / "clone"), ssh_server.address(tmp_path / "far"), beside=False
    )


def test_a_server_without_extensions_takes_packs_and_gives_them_back(
    keys: SftpKeys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handshake = Sftp._handshake

    def old(self: Sftp) -> dict[bytes, bytes]:
        handshake(self)
        return {}

    monkeypatch.setattr(Sftp, "_handshake", old)
    pack = made(tmp_path, 1, 3_000_000)
    with KeyedRemote(keys) as remote:
        for _ in range(2):  # an index that is there is in the way of a plain RENAME
            remote.publish([pack])
        assert whole(remote, pack) == pack.path.read_bytes()
        assert [found.name for found in remote.packs()] == [pack.name]
    assert not list((tmp_path / "far/tmp").iterdir())


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ((262144, 261120, 261120), LARGE),
        ((0, 0, 0), LARGE),
        ((34000, 32768, 40000), BLOCK),
        ((9000, 8192, 8192), 8192),
    ],
)
def test_requests_are_as_large_as_the_server_takes(
    keys: SftpKeys,
    monkeypatch: pytest.MonkeyPatch,
    limits: tuple[int, int, int],
    expected: int,
) -> None:
    answer = Sftp._answer

    def limited(self: Sftp, future: Future[Any], wanted: int) -> memoryview:
        found = answer(self, future, wanted)
        if wanted != 201:
            return found
        return memoryview(b"".join(limit.to_bytes(8, "big") for limit in (*limits, 0)))

    monkeypatch.setattr(Sftp, "_answer", limited)
    with keys._told() as session:
        assert session._block() == expected
    keys.close()
