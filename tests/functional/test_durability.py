"""Objects survive a power loss unless Git itself is told that this does not matter."""

from __future__ import annotations

import os

import pytest

from git_nn.drivers.open import store_of
from git_nn.gitio.repository import find
from tests.support.git import Repo


@pytest.mark.parametrize(
    ("setting", "synced"),
    [
        (None, True),
        ("none", False),
        ("all", True),
        ("none,pack", True),
        ("committed,-loose-object", True),
        ("default,-pack", False),
        ("-loose-object", True),
        ("NONE, objects", True),
    ],
)
def test_core_fsync_decides_as_it_does_for_packs_of_git(
    repo: Repo, setting: str | None, synced: bool
) -> None:
    if setting is not None:
        repo.git("config", "core.fsync", setting)
    assert store_of(find(repo.path, os.environ)).folders.settings().sync is synced
