"""The contract of stores, for every store there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from git_nn.store.base import Store
from git_nn.store.hashing import HashOnly
from git_nn.store.local import LocalStore, open_store
from git_nn.store.memory import MemoryStore
from tests.contract.store_contract import BatchContract, StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore()


class TestLocalStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return open_store(tmp_path / "git" / "nn")


class TestLocalStoreWithSmallPacks(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return LocalStore(tmp_path / "nn", pack_target=100_000)


class TestHashOnly(BatchContract):
    @pytest.fixture
    def store(self) -> Store:
        return HashOnly()
