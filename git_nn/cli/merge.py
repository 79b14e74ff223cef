"""``git nn merge``: ``git merge`` with a strategy for this one merge."""

from __future__ import annotations

from typing import Any

import click

from git_nn.cli.strategy import typed
from git_nn.drivers.foreground import git
from git_nn.drivers.open import open_repository
from git_nn.errors import UsageError
from git_nn.gitio import revisions
from git_nn.gitio.config import load
from git_nn.gitio.repository import Repository
from git_nn.merge.rules import VARIABLE

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
@click.option("--preview", is_flag=True, help="Show what it would do, and do nothing.")
@click.option("--exact", is_flag=True, help="Of a preview: estimate nothing from samples.")
@click.option("--json", "as_json", is_flag=True, help="The preview as JSON.")
@click.option("--sweep", metavar="KEY=A:B:STEP", help="Try values of a parameter, take the best.")
@click.option("--eval", "measure", metavar="CMD", help="Prints the metric of the model at {}.")
@click.option("--minimise", is_flag=True, help="The smallest metric is the best.")
@click.option("--dry-run", is_flag=True, help="Sweep, and do not merge.")
@click.option("--replay", metavar="COMMIT", help="Make a merge again as its message says, compare.")
@_git_options
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[GIT-OPTION]... BRANCH")
def command(
    words: tuple[str, ...],
    strategy: str | None,
    values: tuple[str, ...],
    replay: str | None,
    **options: Any,
) -> int:
    """Merge BRANCH as 'git merge' does, with the strategy S for this one merge.

    It is stronger than the configuration, recipe files and attributes; without it they
    choose, as in 'git merge'. What is in conflict is settled as ever: 'git nn resolve'.
    The commit says how models were merged; --replay COMMIT merges them again, aside from the
    work tree, and tells whether every bit is the same.

    \b
    Exit codes: those of 'git merge' (0 merged, 1 conflicts are left); of a preview: 1 there
    would be conflicts; of a replay: 1 a model differs.
    """
    repo = open_repository()
    if replay is not None:
        from git_nn.cli.merge_replay import show

        return show(repo, replay)
    for name, is_asked in (("--json", options["as_json"]), ("--exact", options["exact"])):
        if is_asked and not options["preview"]:
            raise UsageError(f"{name} is about a preview", hint="add --preview")
    choice = _choice(repo, strategy, values)
    branch = _branch(words, needed=bool(options["preview"] or options["sweep"]))
    if options["preview"]:
        from git_nn.cli.preview import show as preview

        exact, as_json = options["exact"], options["as_json"]
        return preview(repo, branch, as_json=as_json, exact=exact, override=choice)
    if options["sweep"] is not None:
        choice = _swept(repo, branch, choice, **options)
        if options["dry_run"]:
            return 0
    return _merge(repo, [*_passed_on(options), *words], choice)


def _branch(words: tuple[str, ...], *, needed: bool) -> str:
    """The one branch that is to be merged; "" where git merge takes one by itself."""
    branches = [word for word in words if word == "-" or not word.startswith("-")]
    if len(branches) > 1:
        raise UsageError(
            f"{' '.join(branches)}: Git merges several branches at once as text, without git-nn",
            hint="run 'git nn soup' to merge all in one step, or merge one after the other",
        )
    if needed and not branches:
        raise UsageError("no branch is named", hint="run 'git branch --all'")
    return "@{-1}" if branches == ["-"] else "".join(branches)


def _swept(repo: Repository, branch: str, choice: str | None, **options: Any) -> str:
    from git_nn.cli.merge_sweep import choose

    if choice is None or options["measure"] is None:
        raise UsageError("--sweep needs a strategy and a command", hint="add -s S --eval CMD")
    spec, measure = options["sweep"], options["measure"]
    return choose(repo, branch, choice, spec, measure, minimise=options["minimise"])


def _merge(repo: Repository, words: list[str], choice: str | None) -> int:
    """git merge, and then trailers where the hook that adds them is not installed."""
    from git_nn.drivers.merge_message import amend

    before = revisions.resolve(repo, "HEAD")
    named = [word for word in words if word == "-" or not word.startswith("-")]
    # A commit that was there already is no merge of ours, though it may be one: fast-forward.
    there = {_commit(repo, name) for name in ("HEAD", *named, "@{upstream}", "FETCH_HEAD")}
    status = git("merge", *words, **({} if choice is None else {VARIABLE: choice}))
    if status == 0 and _commit(repo, "HEAD") not in there:
        amend(repo, before)
    return status


def _commit(repo: Repository, name: str) -> str | None:
    return revisions.resolve(repo, f"{'@{-1}' if name == '-' else name}^{{commit}}")


def _choice(repo: Repository, strategy: str | None, values: tuple[str, ...]) -> str | None:
    """The strategy as GIT_NN_MERGE has it; UsageError where it cannot be meant or used."""
    said = typed(strategy, values)
    if said is None:
        return None
    if load(repo).get("merge.nn.driver") is None:
        raise UsageError("Git does not know git-nn's merge driver", hint="run 'git nn install'")
    return said[0]


def _passed_on(options: dict[str, Any]) -> list[str]:
    """The options that click has read, as git merge takes them."""
    flags = [name for name in _FLAGS if options[name[2:].replace("-", "_")]]
    pairs = [(name, value) for name in _VALUES for value in options[f"git_{name[1].lower()}"]]
    return [*flags, *(word for pair in pairs for word in pair)]
