"""The contract of remotes, for every remote."""

from __future__ import annotations

from pathlib import Path

import pytest

from git_nn.remote.folder import FolderKeys
from git_nn.remote.keys import KeyedRemote
from tests.contract.remote_contract import Connect, RemoteContract


class TestFolder(RemoteContract):
    @pytest.fixture
    def connect(self, tmp_path: Path) -> Connect:
        return lambda: KeyedRemote(FolderKeys(tmp_path / "remote" / "nn"))

    def published_bytes(self, tmp_path: Path, name: str) -> bytes:
        (path,) = (tmp_path / "remote").rglob(f"{name}.nnp")
        return path.read_bytes()
