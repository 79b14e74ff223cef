"""``git nn uninstall``: take back what ``git nn install`` wrote, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import click

from git_nn.cli.install import scope_options
from git_nn.drivers.install import place, uninstall
from git_nn.errors import UsageError


@click.command("uninstall")
@scope_options
@click.option("--hooks", is_flag=True, help="Only the hooks of this repository.")
def command(scope: str | None, *, hooks: bool) -> None:
    """Remove git-nn from Git's configuration, and from the hooks of this repository.

    Values and hook lines that git-nn did not write stay. Weights and pointers stay.
    Exit code: 0 nothing of git-nn is left there.
    """
    if not hooks:
        where = place(scope or "global", Path.cwd(), os.environ)
        removed = uninstall(where)
        if removed:
            click.echo(f"git-nn is removed from the {where.scope} Git configuration")
            click.echo("where no other sets it up, Git now adds weights as raw bytes", err=True)
        else:
            click.echo(f"git-nn is not in the {where.scope} Git configuration")
    _remove_hooks()


def _remove_hooks() -> None:
    from git_nn.drivers.hook_files import remove
    from git_nn.drivers.open import open_repository

    try:
        repo = open_repository()
    except UsageError:  # hooks belong to a repository, the configuration need not
        return
    for outcome in remove(repo):
        click.echo(f"git-nn is removed from {outcome.path}")
