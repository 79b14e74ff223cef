"""``git nn doctor``: what is wrong, and the command that mends it."""

from __future__ import annotations

import os
from pathlib import Path

import click

from git_nn.drivers.doctor import examine
from git_nn.drivers.install import place
from git_nn.drivers.open import open_repository
from git_nn.drivers.setup_checks import Problem
from git_nn.errors import UsageError


@click.command("doctor")
def command() -> int:
    """Examine the set-up of git-nn here: Git, configuration, attributes, hooks, store.

    Exit codes: 0 nothing is wrong, 1 there are problems.
    """
    try:
        found = list(examine(open_repository()))
    except UsageError:  # no repository: the machine can be examined all the same
        outside = place("global", Path.cwd(), os.environ).repo
        found = list(examine(outside, is_repository=False))
    for problem in found:
        _print(problem)
    if not any(not problem.note for problem in found):
        click.echo("git-nn is set up well here")
        return 0
    return 1


def _print(problem: Problem) -> None:
    click.echo(f"{'note' if problem.note else 'problem'}: {problem.message}")
    click.echo(f"  to mend: {problem.fix}")
