"""Where a command or a driver finds its repository and its store."""

from __future__ import annotations

import os
from functools import cache, partial
from pathlib import Path

from git_nn.adopt import alternates
from git_nn.gitio.config import load
from git_nn.gitio.repository import Repository, find
from git_nn.store.local import LocalStore, open_store

# the components of core.fsync that packs are part of
_WITH_PACKS = frozenset({"pack", "objects", "added", "committed", "default", "all"})


def open_repository() -> Repository:
    """The repository of the current folder; UsageError where there is none."""
    return find(Path.cwd(), os.environ)


def store_of(repo: Repository) -> LocalStore:
    """The store of ``repo``, shared by its worktrees, reading through to its alternates."""
    return open_store(repo.nn_dir, alternates=alternates(repo), sync=cache(partial(_syncs, repo)))


def _syncs(repo: Repository) -> bool:
    """Whether Git is to make packs durable (git-config, core.fsync); it is unless told not to."""
    wanted = True
    for word in (load(repo).get("core.fsync") or "").lower().split(","):
        name = word.strip().removeprefix("-")
        if name == "none":
            wanted = False
        elif name in _WITH_PACKS:
            wanted = not word.strip().startswith("-")
    return wanted
