"""``git nn merge``: ``git merge`` with a strategy for this one merge."""

from __future__ import annotations

import click

from git_nn.drivers.foreground import git
from git_nn.drivers.open import open_repository
from git_nn.errors import UsageError
from git_nn.gitio import revisions
from git_nn.gitio.config import load
from git_nn.gitio.repository import Repository
from git_nn.merge.rules import VARIABLE, parse

_FLAGS = ("--no-commit", "--squash", "--no-ff", "--ff-only", "--no-edit")
_VALUES = ("-m", "-F", "-X")


def _git_options(function: click.decorators.FC) -> click.decorators.FC:
    """Options of git merge that take a value, so that it is not taken for a branch; and some
    that people look for here. All others are passed on unread."""
    for name in reversed(_FLAGS):
        function = click.option(name, is_flag=True, help="As for git merge.")(function)
    for name, metavar in zip(reversed(_VALUES), ("OPTION", "FILE", "MESSAGE"), strict=True):
        option = click.option(
            name, f"git_{name[1].lower()}", metavar=metavar, multiple=True, help="As for git merge."
        )
        function = option(function)
    return function


@click.command("merge", context_settings={"ignore_unknown_options": True})
@click.option("-s", "--strategy", metavar="S", help="For tensors that both sides changed: 'ties'.")
@click.option(
    "--set", "values", metavar="KEY=VALUE", multiple=True, help="A parameter of the strategy."
)
@click.option("--replay", metavar="COMMIT", help="Make a merge again as its message says, compare.")
@_git_options
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[GIT-OPTION]... BRANCH")
def command(
    words: tuple[str, ...],
    strategy: str | None,
    values: tuple[str, ...],
    replay: str | None,
    **options: object,
) -> int:
    """Merge BRANCH as 'git merge' does, with the strategy S for this one merge.

    It is stronger than the configuration, recipe files and attributes; without it they
    choose, as in 'git merge'. What is in conflict is settled as ever: 'git nn resolve'.
    The commit says how models were merged; --replay COMMIT merges them again, aside from the
    work tree, and tells whether every bit is the same.
    Exit codes: those of 'git merge' (0 merged, 1 conflicts are left), or of a replay: 1 a
    model differs.
    """
    repo = open_repository()
    if replay is not None:
        from git_nn.cli.merge_replay import show

        return show(repo, replay)
    choice = _choice(repo, strategy, values)
    branches = [word for word in words if word == "-" or not word.startswith("-")]
    if len(branches) > 1:
        raise UsageError(
            f"{' '.join(branches)}: Git merges several branches at once as text, without git-nn",
            hint="merge one after the other",
        )
    return _merge(repo, [*_passed_on(options), *words], choice)


def _merge(repo: Repository, words: list[str], choice: str | None) -> int:
    """git merge, and then trailers where the hook that adds them is not installed."""
    from git_nn.drivers.merge_message import amend

    before = revisions.resolve(repo, "HEAD")
    status = git("merge", *words, **({} if choice is None else {VARIABLE: choice}))
    if status == 0 and revisions.resolve(repo, "HEAD") not in (before, None):
        amend(repo, before)
    return status


def _choice(repo: Repository, strategy: str | None, values: tuple[str, ...]) -> str | None:
    """The strategy as GIT_NN_MERGE has it; UsageError where it cannot be meant or used."""
    if strategy is None:
        if values:
            raise UsageError(
                "--set is about a strategy", hint=f"add -s S: -s ties --set {values[0]}"
            )
        return None
    joint = "," if ":" in strategy else ":"
    text = joint.join([strategy, ",".join(values)]) if values else strategy
    parse(text, "the strategy of -s")
    if load(repo).get("merge.nn.driver") is None:
        raise UsageError("Git does not know git-nn's merge driver", hint="run 'git nn install'")
    return text


def _passed_on(options: dict[str, object]) -> list[str]:
    """The options that click has read, as git merge takes them."""
    flags = [name for name in _FLAGS if options[name[2:].replace("-", "_")]]
    pairs = [(name, value) for name in _VALUES for value in options[f"git_{name[1].lower()}"]]  # type: ignore[attr-defined]
    return [*flags, *(word for pair in pairs for word in pair)]
