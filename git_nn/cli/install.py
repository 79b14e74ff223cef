"""``git nn install``: make Git call us for files with ``filter=nn``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from git_nn.drivers.install import SCOPES, Place, Setting, install, place


def scope_options(function: click.decorators.FC) -> click.decorators.FC:
    """--global, --local, --system and --worktree, of which the last one given counts."""
    texts = {
        "global": "For this user (the default).",
        "local": "For this repository.",
        "system": "For all users of this machine.",
        "worktree": "For this worktree only.",
    }
    for scope in reversed(SCOPES):
        option = click.option(
            f"--{scope}", "scope", flag_value=scope, default=None, help=texts[scope]
        )
        function = option(function)
    return function


@click.command("install")
@scope_options
@click.option("-f", "--force", is_flag=True, help="Replace values that git-nn did not write.")
@click.option("--hooks", is_flag=True, help="Add git-nn to the hooks of this repository, too.")
@click.option("-v", "--verbose", is_flag=True, help="Explain each line that is written.")
def command(scope: str | None, *, force: bool, hooks: bool, verbose: bool) -> int:
    """Configure Git's filter, diff and merge drivers, once per machine.

    'git nn uninstall' with the same option takes exactly these lines out again.
    Exit codes: 0 done, 1 a hook must be edited by hand, 2 a value is somebody else's.
    """
    status = 0
    if not hooks or scope is not None or not _is_configured():
        _configure(place(scope or "global", Path.cwd(), os.environ), force=force, verbose=verbose)
    if hooks:
        status = _add_hooks()
    return status


def _add_hooks() -> int:
    from git_nn.drivers.hook_files import State, add, folder
    from git_nn.drivers.launcher import launcher
    from git_nn.drivers.open import open_repository

    repo = open_repository()
    outcomes = add(repo, launcher())
    for outcome in outcomes:
        if outcome.state is State.BY_HAND:
            click.echo(f"{outcome.path}: not touched, since {outcome.why}; add this line to it:")
            click.echo(f"  {outcome.line}")
    done = [outcome.name for outcome in outcomes if outcome.state is not State.BY_HAND]
    if done:
        click.echo(f"hooks in {folder(repo)}: {', '.join(done)}")
    return 1 if len(done) < len(outcomes) else 0


def _is_configured() -> bool:
    from git_nn.drivers.open import open_repository
    from git_nn.gitio.config import load

    return load(open_repository()).get("filter.nn.process") is not None


def _configure(where: Place, *, force: bool, verbose: bool) -> None:
    written = install(where, force=force)
    if verbose:
        for setting in written:
            click.echo(_explained(setting))
    if written:
        click.echo(f"git-nn is set up in the {where.scope} Git configuration{_at(where)}")
        click.echo('next, in a repository: git nn track "*.safetensors" "*.h5"')
    else:
        click.echo(f"git-nn is already set up in the {where.scope} Git configuration{_at(where)}")


def _at(where: Place) -> str:
    return f" ({where.file})" if where.file else ""


def _explained(setting: Setting) -> str:
    return f"{setting.key} = {setting.value}\n    {setting.why}"
