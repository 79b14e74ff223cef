"""``git nn checkout``: turn pointers in the work tree into weights, of what is here already."""

from __future__ import annotations

import click

from git_nn.cli.chosen import chosen_options
from git_nn.cli.pull import write_weights
from git_nn.transfer.choose import Choice


@click.command("checkout")
@click.argument("paths", nargs=-1, type=click.Path())
@chosen_options
def command(paths: tuple[str, ...], include: tuple[str, ...], exclude: tuple[str, ...]) -> int:
    """Write the weights of every file that still is a pointer, or of those at PATHS.

    Nothing is fetched; 'git nn pull' does both. Branches are changed by 'git checkout'.
    Exit codes: 0 all written, 2 no such file, 3 some weights are not here.
    """
    return write_weights(paths, Choice(include, exclude), fetched=False)
