"""``git nn pull``: turn the pointers in the work tree into weights."""

from __future__ import annotations

import click

from git_nn.cli.advice import installed
from git_nn.cli.amounts import count
from git_nn.cli.chosen import chosen_options
from git_nn.cli.words import files, from_here
from git_nn.drivers.open import open_repository, store_of
from git_nn.drivers.progress import Meter, metered
from git_nn.errors import MissingObjectError, UsageError
from git_nn.gitio.repository import Repository
from git_nn.materialise import Outcome, Task, materialise
from git_nn.objects import pointer as pointers
from git_nn.store.local import LocalStore
from git_nn.transfer.choose import Choice
from git_nn.transfer.obtain import obtain
from git_nn.worktree import unmaterialised


@click.command("pull")
@click.argument("paths", nargs=-1, type=click.Path())
@chosen_options
def command(paths: tuple[str, ...], include: tuple[str, ...], exclude: tuple[str, ...]) -> int:
    """Fetch and write the weights of every file that still is a pointer, or of those at PATHS.

    Exit codes: 0 all written, 2 no such file, 3 some weights cannot be had.
    """
    return write_weights(paths, Choice(include, exclude), fetched=True)


def write_weights(paths: tuple[str, ...], choice: Choice, *, fetched: bool) -> int:
    """Write what can be written, after fetching it where that is asked for; the exit code."""
    repo = open_repository()
    if repo.work_tree is None:
        raise UsageError("there is no work tree here to write weights into")
    store = store_of(repo)
    tasks = [task for task in unmaterialised(repo, files(repo, paths)) if choice.has(task.path)]
    if fetched:
        _fetch(repo, store, tasks)
    meter = Meter("Writing weights")
    outcomes = materialise(repo, store, tasks, meter.advance)
    meter.finish()
    click.echo(f"{count(sum(outcome.written is not None for outcome in outcomes), 'file')} written")
    installed(repo)
    return _tell(repo, [outcome for outcome in outcomes if outcome.error is not None])


def _fetch(repo: Repository, store: LocalStore, tasks: list[Task]) -> None:
    with metered("Fetching weights") as begin:
        wanted = [pointers.parse(task.text) for task in tasks]
        for failure in obtain(repo, store, wanted, begin):
            click.echo(f"git-nn: {failure}", err=True)


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
            "git-nn: 'git nn remote' says where weights are looked for; where a clone on this "
            "machine has these: git remote add NAME FOLDER && git nn pull", err=True,
        )  # fmt: skip
    return MissingObjectError.exit_code if failed else 0
