"""``git nn resolve``: settle the tensors that a merge left in conflict."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Literal

import click

from git_nn import by_hand, placing, resolve, settled
from git_nn.cli.asking import ask
from git_nn.cli.open_files import show, unmergeable
from git_nn.cli.supplied import supplied
from git_nn.cli.words import from_here, from_top
from git_nn.drivers.open import open_repository, store_of
from git_nn.errors import UsageError
from git_nn.gitio.repository import Repository
from git_nn.merge.decide import Side
from git_nn.merge.report import lines, plural, summary
from git_nn.merge.rules import Choice, parse
from git_nn.merge.tokens import told
from git_nn.resolve import Settled, Unmergeable, Unsettled
from git_nn.store.local import LocalStore

_Word = Side | Literal["again", "tokens"]
_How = _Word | Choice
_WAYS: tuple[_Word, ...] = ("ours", "theirs", "base", "again", "tokens")


@click.command("resolve")
@click.option("--ours", is_flag=True, help="Keep our tensors.")
@click.option("--theirs", is_flag=True, help="Take theirs.")
@click.option("--base", is_flag=True, help="Go back to those that both started from.")
@click.option("--strategy", metavar="S", help="Compute them: 'mean', 'mean:weight=0.3', ...")
@click.option("--again", is_flag=True, help="Settle as the same conflict was before.")
@click.option("--tokens", is_flag=True, help="Place rows by the tokenizer beside the model.")
@click.option("--forget", is_flag=True, help="Forget how conflicts were settled before.")
@click.option("-i", "--interactive", is_flag=True, help="Ask for each block, in a terminal.")
@click.option("--list", "only_list", is_flag=True, help="Show what is open, change nothing.")
@click.option("--path", "paths", metavar="FILE", multiple=True, help="Only in this file.")
@click.argument("patterns", nargs=-1, metavar="[TENSOR-PATTERN]...")
def command(
    patterns: tuple[str, ...], paths: tuple[str, ...], strategy: str | None, **asked: bool
) -> int:
    """Settle the tensors that a merge left in conflict, all or those whose names match.

    Without an option it lists them. A file in which nothing is open any more is staged;
    then go on with 'git commit', 'git merge --continue', 'git rebase --continue' ...
    Exit codes: 0 listed or settled, 1 something that was asked for is still open.
    """
    repo = open_repository()
    how = _how(asked, strategy)
    if asked["forget"]:
        return _forget(repo, how or paths or asked["only_list"] or asked["interactive"], patterns)
    store = store_of(repo)
    by_hand.learn(repo)
    override = os.environ.get("GIT_NN_MERGE")
    files = resolve.unsettled(repo, store, override, [from_top(repo, path) for path in paths])
    if not files:
        click.echo("no model is in conflict")
    if asked["interactive"] and not asked["only_list"]:
        _check_alone(how, patterns)
        for file in files:
            if isinstance(file, Unsettled):
                placing.require(file, ())
        return ask(repo, store, files)
    if how is None or asked["only_list"]:
        _list(repo, files)
        return 0
    _check(files, patterns)
    return max([_settle(repo, store, file, how, patterns) for file in files], default=0)


def _how(asked: dict[str, bool], strategy: str | None) -> _How | None:
    """The one thing asked for; None where nothing is."""
    found: list[_How] = [name for name in _WAYS if asked[name]]
    if strategy is not None:
        choice = parse(strategy, "--strategy")
        if choice is None:
            raise UsageError("--strategy conflict settles nothing", hint="run 'git nn resolve'")
        found.append(choice)
    if len(found) > 1:
        ways = ", ".join(f"--{way}" for way in _WAYS)
        raise UsageError(f"{ways} and --strategy exclude each other")
    return found[0] if found else None


def _forget(repo: Repository, others: object, patterns: Sequence[str]) -> int:
    if others:
        raise UsageError("--forget goes alone", hint="give it tensor patterns at most")
    click.echo(f"{settled.forget(repo, patterns)} settled conflicts forgotten")
    return 0


def _check_alone(how: _How | None, patterns: Sequence[str]) -> None:
    if how is not None or patterns:
        raise UsageError("--interactive asks for every tensor", hint="give it --path at most")


def _list(repo: Repository, files: Sequence[Unsettled | Unmergeable]) -> None:
    for file in files:
        show(repo, file)
        if isinstance(file, Unsettled) and file.sides.rows and file.open:
            for line in told(file.sides.rows.placement):
                click.echo(f"  {line}")
    if any(isinstance(file, Unsettled) for file in files):
        click.echo(
            "to settle: git nn resolve --ours | --theirs | --base | --strategy S "
            "[TENSOR-PATTERN ...]"
        )


def _check(files: Sequence[Unsettled | Unmergeable], patterns: Sequence[str]) -> None:
    """Raise UsageError where a pattern matches nothing that is open: it may be misspelt."""
    models = [file for file in files if isinstance(file, Unsettled)]
    names = [conflict.name for file in models for conflict in file.open]
    if not models or any(file.whole for file in models):
        return
    for pattern in patterns:
        if not any(name == pattern or fnmatchcase(name, pattern) for name in names):
            raise UsageError(
                f"no tensor in conflict matches {pattern!r}",
                hint="run 'git nn resolve --list'; to name a file use --path",
            )


def _settle(
    repo: Repository,
    store: LocalStore,
    file: Unsettled | Unmergeable,
    how: _How,
    patterns: Sequence[str],
) -> int:
    if isinstance(file, Unmergeable):
        click.echo(unmergeable(repo, file), err=True)
        return 1

    def work() -> Settled:
        if how == "again":
            done = settled.again(repo, store, file, patterns)
        elif how == "tokens":
            done = placing.place(file, patterns, store, repo.nn_dir / "tmp")
        else:
            placing.require(file, patterns)
            done = resolve.settle_tensors(file, how, patterns, store, repo.nn_dir / "tmp")
        resolve.finish(repo, store, done.file)
        return done

    done = supplied(repo, store, file.sides, work)
    code = _tell(done, from_here(repo, file.path))
    if how == "again":
        return 1 if done.file.open or done.file.whole else 0
    if how == "tokens":
        return code
    settled.remember(repo, file, done.file, how)
    return code


def _tell(done: Settled, name: str) -> int:
    """Say what was done; 1 where a tensor that was asked for is still open."""
    file = done.file
    if done.decisions:
        click.echo(f"{name}: {summary(done.decisions)}")
    for note in done.notes:
        click.echo(f"{name}: {note}")
    if file.is_settled:
        click.echo(f"{name}: settled and staged")
        return 0
    count = len(file.open)
    click.echo(f"{name}: {count} {plural(count)} still in conflict")
    for line in lines(file.open):
        click.echo(f"  {line}")
    return 1 if any(conflict.name in done.refused for conflict in file.open) else 0
