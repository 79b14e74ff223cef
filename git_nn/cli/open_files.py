"""What is open after a merge, in lines: for ``git nn conflicts`` and ``git nn resolve``."""

from __future__ import annotations

import click

from git_nn.cli.words import from_here
from git_nn.drivers.paths import word
from git_nn.gitio.repository import Repository
from git_nn.merge.report import lines, plural
from git_nn.resolve import Unmergeable, Unsettled


def show(repo: Repository, file: Unsettled | Unmergeable) -> None:
    """Every tensor of the file that is open, or why the file as a whole is."""
    name = from_here(repo, file.path)
    if isinstance(file, Unmergeable):
        click.echo(unmergeable(repo, file))
    elif file.whole:
        click.echo(f"{name}: the file as a whole conflicts: {file.whole}")
    elif file.open:
        count = len(file.open)
        click.echo(f"{name}: {count} {plural(count)} in conflict")
        for line in lines(file.open, count):
            click.echo(f"  {line}")
    else:
        click.echo(f"{name}: no tensor is in conflict, any option finishes it")


def unmergeable(repo: Repository, file: Unmergeable) -> str:
    ways = ", ".join(f"{end}: {git} -- {word(repo, file.path)}" for end, git in file.ways)
    return f"{from_here(repo, file.path)}: {file.why}{'; ' if ways else ''}{ways}"
