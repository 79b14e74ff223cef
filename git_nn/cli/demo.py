"""``git nn demo``: the tour, in a temporary repository, with no network and no framework."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

import click


@click.command("demo")
@click.option("--keep", is_flag=True, help="Keep the repository and say where it is.")
def command(*, keep: bool) -> int:
    """Train a small network with numpy and show add, diff, merge, blame and checkout.

    Everything happens in a temporary repository; your own settings are neither read
    nor changed. Exit codes: 0 every version came back byte for byte, 1 one did not.
    """
    from git_nn.demo.story import Stage, tell

    folder = Path(tempfile.mkdtemp(prefix="git-nn-demo-"))
    start = time.monotonic()
    try:
        exact = tell(Stage(folder, click.echo, colour=sys.stdout.isatty()))
        click.echo(f"\ndone in {time.monotonic() - start:.1f} s; next, in a repository of yours:")
        click.echo("git nn install && git nn track --auto")
    finally:
        if keep:
            click.echo(f"the repository is in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return 0 if exact else 1
