"""``git nn prune``: free the space of old versions that a remote holds."""

from __future__ import annotations

import json
from typing import Any

import click

from git_nn.cli.amounts import count
from git_nn.cli.chosen import chosen_options
from git_nn.cli.fetch import RECENT
from git_nn.drivers.open import open_repository, store_of
from git_nn.drivers.progress import human
from git_nn.errors import DamagedObjectError, RemoteError
from git_nn.gitio.config import load
from git_nn.transfer.choose import Choice
from git_nn.transfer.prune import Pruned, Terms, preview, prune


@click.command("prune")
@click.option("-n", "--dry-run", is_flag=True, help="Say what would be freed; change nothing.")
@click.option("--remote", metavar="NAME", default="", help="Only what this one holds; else any.")
@click.option(
    "--recent", type=click.FloatRange(min=0), metavar="DAYS",
    help="Keep branches and tags so young; nn.fetch.recentDays (7) without.",
)  # fmt: skip
@chosen_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    *, dry_run: bool, remote: str, recent: float | None, as_json: bool, **paths: tuple[str, ...]
) -> int:
    """Free the space of versions that nothing here is on and a remote holds; they can come back.

    Each remote is asked now. What is checked out, staged, stashed, in conflict, or was not pushed
    stays. Repositories that borrow this store (git clone --shared, --reference) are not known:
    do not prune what others borrow. Exit codes: 0 done, 4 the store is damaged, 8 a remote fails.
    """
    repo = open_repository()
    store = store_of(repo)
    days = load(repo).integer(RECENT, 7) if recent is None else recent
    terms = Terms(Choice(paths["include"], paths["exclude"]), days, remote)
    done = preview(repo, store, terms) if dry_run else prune(repo, store, terms)
    if as_json:
        click.echo(json.dumps(_as_json(done, dry_run=dry_run), indent=2))
    else:
        _tell(done, dry_run=dry_run)
    if done.sweep.blocked:
        return DamagedObjectError.exit_code
    return RemoteError.exit_code if done.failures else 0


def _tell(done: Pruned, *, dry_run: bool) -> None:
    for failure in done.failures:
        click.echo(f"git-nn: {failure}", err=True)
    for why in done.sweep.blocked:
        click.echo(f"git-nn: nothing was freed: {why}; run 'git nn fsck'", err=True)
    verb = "would be freed" if dry_run or done.sweep.blocked else "freed"
    click.echo(f"{human(done.sweep.freed)} {verb}: {count(done.free, 'object')} held by a remote")
    if done.unheld:
        click.echo(f"{count(done.unheld, 'object')} of old versions stay: no remote holds them")


def _as_json(done: Pruned, *, dry_run: bool) -> dict[str, Any]:
    return {
        "version": 1,
        "done": not dry_run and not done.sweep.blocked,
        "objects": done.free,
        "freed": done.sweep.freed,
        "unheld": done.unheld,
        "deleted_packs": [*done.sweep.retire, *done.sweep.drop],
        "failures": [failure.message for failure in done.failures],
        "blocked": list(done.sweep.blocked),
    }
