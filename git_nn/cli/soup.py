"""``git nn soup``: merge many branches with one strategy, in one step."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import click

from git_nn import soup
from git_nn.cli.strategy import typed
from git_nn.combine import rules_for
from git_nn.drivers.foreground import git
from git_nn.drivers.open import open_repository, store_of
from git_nn.drivers.paths import word
from git_nn.drivers.progress import Meter, metered
from git_nn.errors import UsageError
from git_nn.gitio import octopus
from git_nn.gitio.repository import Repository
from git_nn.merge.report import plural
from git_nn.merge.rules import Rules, parse
from git_nn.merge.strategies import table
from git_nn.soup import Model, Pot, Soup
from git_nn.supply import Watch


@click.command("soup")
@click.option("-s", "--strategy", metavar="S", help="For what several changed; else as chosen.")
@click.option(
    "--set", "values", metavar="KEY=VALUE", multiple=True, help="A parameter of the strategy."
)
@click.option("--into", metavar="NEWBRANCH", help="Make a branch of it; HEAD is no part of it.")
@click.option("--no-commit", is_flag=True, help="Stop before the commit, to look at it.")
@click.option("-m", "words", metavar="MESSAGE", default="", help="The message of the commit.")
@click.argument("branches", nargs=-1, required=True, metavar="BRANCH...")
def command(  # noqa: PLR0913, PLR0917 - one per option
    branches: tuple[str, ...],
    strategy: str | None,
    values: tuple[str, ...],
    into: str | None,
    no_commit: bool,
    words: str,
) -> int:
    """Merge all BRANCHes and HEAD at once; HEAD is left out where they all started from it.

    A tensor that one branch changed is taken, and so are rows of an embedding or the like. Of
    what several changed the strategy gets the versions of all, also of those that did not:
    'mean' is the mean of all the models. Without -s the settings choose, else it is the mean.
    All other files are merged by git.
    The commit has all branches as parents. Where anything conflicts, nothing is changed.
    Exit codes: 0 merged, or there was nothing to merge, 7 in conflict.
    """
    repo = open_repository()
    choice = _choice(strategy, values)
    _check(repo, into, no_commit)
    pot = soup.pot(repo, branches, with_head=into is None)
    if into is None and octopus.contains(repo, pot.parents[0], pot.parents[1:]):
        click.echo("Already up to date.")  # as Git says it
        return 0
    meter = Meter("Merging weights")
    with metered("Fetching weights") as begin:
        watch = Watch(meter.advance, begin)
        made = soup.cook(repo, store_of(repo), pot, partial(_rules, repo, choice), watch)
    meter.clear()
    for model in made.models:
        _tell(repo, model)
    text = soup.message(repo, pot, made, words)
    return _stop(repo, pot, made, text) if no_commit else _commit(repo, pot, made, text, into)


def _choice(strategy: str | None, values: tuple[str, ...]) -> str | None:
    """What -s and --set say, for every tensor."""
    said = typed(strategy, values)
    if said is None:
        return None
    text, choice = said
    if choice is None or table.by_name(choice.strategy).side == "theirs":
        raise UsageError(f"-s {strategy} settles nothing among many branches", hint="use -s mean")
    return text


def _rules(repo: Repository, choice: str | None, path: bytes) -> Rules:
    """What -s or the settings say for a path; the mean where they say nothing."""
    found = rules_for(repo, path, choice)
    return found if found.default else replace(found, default=parse("mean", "the default"))


def _check(repo: Repository, into: str | None, no_commit: bool) -> None:
    if into is not None:
        if no_commit:
            raise UsageError("--into and --no-commit exclude each other")
        repo.git("check-ref-format", "--branch", into)
        if repo.git("rev-parse", "--verify", "-q", f"refs/heads/{into}", check=False):
            raise UsageError(f"there is a branch {into!r}", hint="choose another name")
    elif repo.git("status", "--porcelain", "--untracked-files=no"):
        raise UsageError("there are changes that are not committed", hint="run 'git stash' first")


def _tell(repo: Repository, model: Model) -> None:
    mixed = model.mixture.mixed
    count = len(mixed)
    ways = ", ".join(sorted({str(each.choice) for each in mixed}))
    told = f"{count} {plural(count)} by {ways}" if count else "no tensor had to be computed"
    click.echo(f"{word(repo, model.path)}: {told}")
    for note in model.mixture.notes:
        click.echo(f"  {note}")


def _commit(repo: Repository, pot: Pot, made: Soup, text: str, into: str | None) -> int:
    commit = octopus.commit_tree(repo, made.tree, pot.parents, _bytes(text))
    if into is None:
        return git("merge", "--ff-only", "--quiet", commit)
    repo.git("update-ref", "-m", "soup", f"refs/heads/{into}", commit, "")
    click.echo(f"{into} is at {commit[:12]}; to see it: git switch {into}")
    return 0


def _stop(repo: Repository, pot: Pot, made: Soup, text: str) -> int:
    """The state that 'git merge --no-commit' leaves, which 'git commit' ends."""
    status = git("read-tree", "-m", "-u", "HEAD", made.tree)
    if status == 0:
        heads = "".join(f"{parent}\n" for parent in pot.parents[1:])
        (repo.git_dir / "MERGE_MSG").write_bytes(_bytes(text))
        (repo.git_dir / "MERGE_MODE").write_text("no-ff", "ascii")
        (repo.git_dir / "MERGE_HEAD").write_text(heads, "ascii")
        click.echo("merged, not committed; to end it: git commit")
    return status


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
