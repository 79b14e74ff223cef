"""Where a command or a driver finds its repository and its store."""

from __future__ import annotations

import os
from pathlib import Path

from git_nn.adopt import alternates
from git_nn.gitio.repository import Repository, find
from git_nn.store.local import LocalStore, open_store


def open_repository() -> Repository:
    """The repository of the current folder; UsageError where there is none."""
    return find(Path.cwd(), os.environ)


def store_of(repo: Repository) -> LocalStore:
    """The store of ``repo``, shared by its worktrees, reading through to its alternates."""
    return open_store(repo.nn_dir, alternates=alternates(repo))
