"""Where a command or a driver finds its repository and its store."""

from __future__ import annotations

import os
from functools import cache, partial
from pathlib import Path

from git_nn.adopt import alternates
from git_nn.gitio.config import Config, load
from git_nn.gitio.repository import Repository, find
from git_nn.store.local import LocalStore, open_store
from git_nn.store.settings import MEMORY, Settings

# the components of core.fsync that packs are part of
_WITH_PACKS = frozenset({"pack", "objects", "added", "committed", "default", "all"})


def open_repository() -> Repository:
    """The repository of the current folder; UsageError where there is none."""
    return find(Path.cwd(), os.environ)


def store_of(repo: Repository) -> LocalStore:
    """The store of ``repo``, shared by its worktrees, reading through to its alternates."""
    return open_store(
        repo.nn_dir, alternates=alternates(repo), settings=cache(partial(_settings, repo))
    )


def _settings(repo: Repository) -> Settings:
    config = load(repo)
    return Settings(_syncs(config), config.integer("nn.memory", MEMORY))


def _syncs(config: Config) -> bool:
    """Whether Git is to make packs durable (git-config, core.fsync); it is unless told not to."""
    wanted = True
    for word in (config.get("core.fsync") or "").lower().split(","):
        name = word.strip().removeprefix("-")
        if name == "none":
            wanted = False
        elif name in _WITH_PACKS:
            wanted = not word.strip().startswith("-")
    return wanted
