"""``git nn fetch``: bring weights into the store; no file and no ref changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from git_nn.adopt import lacks
from git_nn.cli.amounts import count
from git_nn.cli.chosen import chosen_options
from git_nn.drivers.open import open_repository, store_of
from git_nn.drivers.progress import human, metered
from git_nn.errors import MissingObjectError, UsageError
from git_nn.gitio import revisions
from git_nn.gitio.config import load
from git_nn.gitio.repository import Repository
from git_nn.objects.pointer import Pointer
from git_nn.remote.address import git_url_of
from git_nn.store.local import LocalStore
from git_nn.transfer.choose import Choice, models, recent
from git_nn.transfer.obtain import obtain

RECENT = "nn.fetch.recentDays"


@click.command("fetch")
@click.argument("words", nargs=-1, metavar="[REMOTE] [REV]...")
@chosen_options
@click.option("--tensors", metavar="GLOB", multiple=True, help="Only tensors with such names.")
@click.option("--recent", "is_recent", is_flag=True, help="Branches and tags of the last days.")
@click.option("--all", "everything", is_flag=True, help="All versions in history.")
@click.option("-n", "--dry-run", is_flag=True, help="Say what is missing.")
def command(
    words: tuple[str, ...],
    *,
    dry_run: bool,
    **options: Any,
) -> int:
    """Bring the weights of HEAD, or of REVs, from REMOTE, or from wherever they can be had.

    A second 'git nn checkout' then needs no network. --recent takes branches and tags as young as
    nn.fetch.recentDays (7) before the newest. Exit codes: 0 all here, 3 some cannot be had.
    """
    repo = open_repository()
    remote, revs = _parted(repo, words)
    store = store_of(repo)
    choice = Choice(options["include"], options["exclude"], options["tensors"])
    wanted = list(models(repo, _revs(repo, revs, options), choice))
    if dry_run:
        return _missing(store, wanted)
    with metered("Fetching weights") as begin:
        failures = obtain(repo, store, wanted, begin, remote)
    for failure in failures:
        click.echo(f"git-nn: {failure}", err=True)
    left = sum(bool(lacks(store, pointer)) for pointer in wanted)
    click.echo(f"{count(len(wanted) - left, 'model')} here" + (f", {left} not" if left else ""))
    return MissingObjectError.exit_code if left else 0


def _parted(repo: Repository, words: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """The remote, where the first word is one, and the revisions; UsageError if it is neither."""
    if not words:
        return "", ()
    config = load(repo)
    is_remote = config.get(f"remote.{words[0]}.url") is not None
    if not is_remote and revisions.resolve(repo, words[0]) is not None:
        return "", words
    git_url_of(config, words[0])
    return words[0], words[1:]


def _revs(repo: Repository, revs: tuple[str, ...], options: dict[str, Any]) -> Sequence[str]:
    if options["is_recent"]:
        return recent(repo, load(repo).integer(RECENT, 7))
    if options["everything"]:
        return repo.git("rev-list", "--all", *revs).decode().split()
    found = [(rev, revisions.resolve(repo, rev)) for rev in revs or ("HEAD",)]
    for rev, name in found:
        if name is None:
            raise UsageError(f"{rev!r} is no revision", hint="run 'git fetch' first")
    return [name for _, name in found if name]


def _missing(store: LocalStore, wanted: Sequence[Pointer]) -> int:
    """Say what is not here. What is missing of skeletons hides what else is."""
    missing = {oid: pointer for pointer in wanted for oid in lacks(store, pointer)}
    sizes = {entry.oid: entry.length for p in wanted for entry in p.stored.values()}
    total = sum(sizes.get(oid, 0) for oid in missing)
    click.echo(f"{count(len(missing), 'object')} missing, {human(total)} before compression")
    return 0
