"""``git nn pull``: turn the pointers in the work tree into weights."""

from __future__ import annotations

import click

from git_nn.adopt import adopt
from git_nn.cli.advice import installed
from git_nn.cli.amounts import count
from git_nn.cli.words import files, from_here
from git_nn.drivers.open import open_repository, store_of
from git_nn.drivers.progress import Meter
from git_nn.errors import MissingObjectError, UsageError
from git_nn.gitio.repository import Repository
from git_nn.materialise import Outcome, materialise
from git_nn.objects import pointer as pointers
from git_nn.worktree import unmaterialised


@click.command("pull")
@click.argument("paths", nargs=-1, type=click.Path())
def command(paths: tuple[str, ...]) -> int:
    """Write the weights of every file that still is a pointer, or of those at PATHS.

    What is missing here is taken from stores of remotes that are folders on this
    machine. Exit codes: 0 all written, 2 no such file, 3 some weights cannot be had.
    """
    repo = open_repository()
    if repo.work_tree is None:
        raise UsageError("there is no work tree here to write weights into")
    store = store_of(repo)
    tasks = unmaterialised(repo, files(repo, paths))
    adopt(repo, store, (pointers.parse(task.text) for task in tasks))
    meter = Meter("Writing weights")
    outcomes = materialise(repo, store, tasks, meter.advance)
    meter.finish()
    click.echo(f"{count(sum(outcome.written is not None for outcome in outcomes), 'file')} written")
    installed(repo)
    return _tell(repo, [outcome for outcome in outcomes if outcome.error is not None])


def _tell(repo: Repository, failed: list[Outcome]) -> int:
    """Say which files stay pointers, and what can be done where weights are missing."""
    missing = [outcome for outcome in failed if isinstance(outcome.error, MissingObjectError)]
    for outcome in failed:
        assert outcome.error is not None
        reason = outcome.error.message if outcome in missing else outcome.error
        click.echo(
            f"git-nn: {from_here(repo, outcome.task.path)} stays a pointer: {reason}", err=True
        )
    if missing:
        click.echo(
            "git-nn: weights are taken from clones on this machine; where one has these: "
            "git remote add NAME FOLDER && git nn pull", err=True,
        )  # fmt: skip
    return MissingObjectError.exit_code if failed else 0
