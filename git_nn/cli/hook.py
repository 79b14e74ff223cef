"""``git nn hook``: what the lines in .git/hooks call."""

from __future__ import annotations

import click

from git_nn.drivers.hooks import run


@click.command("hook", context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(name: str, arguments: tuple[str, ...]) -> int:
    """Run git-nn's part of the hook NAME, with the arguments that Git gave it.

    'git nn install --hooks' adds the call to the hooks of a repository.
    Exit codes: 0 go on, 1 pre-commit found an error.
    """
    return run(name, arguments)
