"""A folder on a file system that shares blocks between files, such as XFS or Btrfs."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from git_nn.errors import RemoteError
from git_nn.remote.folder import FolderKeys
from git_nn.remote.keys import KeyedRemote
from git_nn.store import system
from tests.contract.remote_contract import made, whole


@pytest.fixture
def cloned(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the files that were cloned; here by a copy, since few machines have more."""
    sizes: list[int] = []

    def clone(source: int, target: int) -> None:
        sizes.append(os.sendfile(target, source, 0, os.fstat(source).st_size))

    monkeypatch.setattr(system, "clone", clone)
    return sizes


def test_a_pack_is_cloned_and_not_written(
    tmp_path: Path, cloned: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = made(tmp_path, 1, 300_000)
    written: list[int] = []
    write = system.write
    monkeypatch.setattr(
        system, "write", lambda fd, data: written.append(len(data)) or write(fd, data)
    )
    with KeyedRemote(FolderKeys(tmp_path / "far")) as remote:
        remote.publish([pack])
        assert whole(remote, pack) == pack.path.read_bytes()
    assert cloned == [pack.size]
    assert max(written) < pack.size


def test_a_rotten_pack_that_was_cloned_is_not_published(tmp_path: Path, cloned: list[int]) -> None:
    pack = made(tmp_path, 1)
    rotten = tmp_path / "rotten"
    rotten.write_bytes(pack.path.read_bytes()[:-1] + b"!")
    with KeyedRemote(FolderKeys(tmp_path / "far")) as remote:
        with pytest.raises(RemoteError, match="does not have the bytes of its pack"):
            remote.publish([replace(pack, path=rotten)])
        assert remote.packs() == []
    assert cloned == [pack.size]
    assert not list((tmp_path / "far").rglob("*.nnp"))
    assert not list((tmp_path / "far/tmp").iterdir())
