"""``git nn add``: ``git add`` for large files, without Git's pipe."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

from git_nn.drivers.background import start_if_due
from git_nn.drivers.open import open_repository, store_of
from git_nn.drivers.process import keep_freed_buffers
from git_nn.drivers.progress import Meter
from git_nn.drivers.terminal import quoted
from git_nn.gitio.config import load
from git_nn.gitio.repository import Repository
from git_nn.stage import select, stage


@click.command("add")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("-f", "--force", is_flag=True, help="Add ignored files, too.")
def command(paths: tuple[str, ...], *, force: bool) -> int:
    """Add files as 'git add' does, and models without sending them through Git.

    Weights are read where they are, which is faster; the result is the same. PATH may
    be any of Git's pathspecs. The exit code is that of 'git add'.
    """
    repo = open_repository()
    candidates = select(repo, paths, Path.cwd(), force=force)
    keep_freed_buffers()
    meter = Meter("Adding weights", sum(candidate.size for candidate in candidates))
    store = store_of(repo)
    staged = stage(repo, store, candidates, meter.advance)
    meter.finish()
    start_if_due(repo, store, load(repo))
    for file in staged:
        for note in file.notes:
            click.echo(f"git-nn: {quoted(file.path)}: {note}", err=True)
    return _git_add(repo, paths, force=force)


def _git_add(repo: Repository, paths: tuple[str, ...], *, force: bool) -> int:
    """All the rest, and everything that Git has to say."""
    options = ["--force"] if force else []
    argv = ("-C", str(Path.cwd()), "add", *options, "--", *paths)
    child = repo.start(*argv, stdin=subprocess.DEVNULL, stderr=sys.stderr.fileno())
    child.communicate()
    return child.returncode
