"""background: 'git nn gc --auto' after a command that added much, as Git does with its own gc.

It is started only when it is due, detached from everything that Git waits for, and at
low priority. ``nn.gcAuto`` is the number of new packs that make it due; 0 turns it off.
"""

from __future__ import annotations

import shlex
import subprocess

from git_nn.drivers.launcher import launcher
from git_nn.gitio.config import Config
from git_nn.gitio.repository import Repository
from git_nn.store.local import LocalStore

SETTING, DEFAULT = "nn.gcauto", 50  # as gc.autoPackLimit


def is_due(store: LocalStore, config: Config) -> bool:
    limit = config.integer(SETTING, DEFAULT)
    return limit > 0 and store.new_packs() >= limit


def start_if_due(repo: Repository, store: LocalStore, config: Config) -> None:
    if is_due(store, config):
        subprocess.Popen(
            shlex.split(launcher().command("git_nn.cli.main", "gc", "--auto")),
            cwd=repo.git_dir, env=repo.env, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
