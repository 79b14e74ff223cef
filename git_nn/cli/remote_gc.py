"""``git nn remote gc``: take away what no ref needs at a remote."""

from __future__ import annotations

import json
import time
from dataclasses import asdict

import click

from git_nn.cli.amounts import count
from git_nn.drivers.open import open_repository, store_of
from git_nn.drivers.progress import human
from git_nn.errors import UsageError
from git_nn.gitio.config import load
from git_nn.remote.address import resolve
from git_nn.remote.keys import KeyedRemote, Trashed
from git_nn.transfer.obtain import connect
from git_nn.transfer.sweep import DAY, GRACE_DAYS, Sweep, plan, sweep


@click.command("gc")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do it. Without, only the plan is shown.")
@click.option("-n", "--dry-run", is_flag=True, help="Only the plan, also with --yes.")
@click.option(
    "--grace", type=click.FloatRange(min=0), default=GRACE_DAYS, show_default=True, metavar="DAYS",
    help="Leave alone what was sent in the last DAYS days.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def gc(name: str, *, yes: bool, dry_run: bool, grace: float, as_json: bool) -> None:
    """Take away the packs at the remote NAME, a folder or a bucket, that no ref needs.

    They go to its trash first, and are deleted when a gc finds them there after the grace time.
    Every ref of every Git remote that keeps its weights there must be known here: a remote that
    this clone does not have is not asked. Exit codes: 0 done, 2 not possible there, 8 it failed.
    """
    repo = open_repository()
    store = store_of(repo)
    config = load(repo)
    act = sweep if yes and not dry_run else plan
    with connect(repo, config, resolve(repo, config, name)) as remote:
        if not isinstance(remote, KeyedRemote):
            raise UsageError(
                f"{remote.label} keeps weights in a way that only its server can free",
                hint="run Git's or the server's own garbage collection there",
            )
        done = act(repo, store, remote, name, time.time() - grace * DAY)
    if as_json:
        click.echo(json.dumps({"version": 1, "done": act is sweep, **asdict(done)}, indent=2))
    else:
        _tell(done, is_plan=act is plan)


def _tell(done: Sweep, *, is_plan: bool) -> None:
    click.echo(f"{count(done.packs, 'pack')}, {human(done.size)}")
    would = "would " if is_plan else ""
    if done.retire:
        moved = f"{count(len(done.retire), 'pack')}, {human(done.freed)}"
        click.echo(f"{would}move to the trash: {moved}")
    if done.restore:
        click.echo(f"{would}bring back what is needed: {_packs_of(done.restore)}")
    if done.delete:
        click.echo(f"{would}delete for good: {_packs_of(done.delete)}")
    if not (done.retire or done.restore or done.delete):
        click.echo("nothing to take away")
    if done.waiting:
        click.echo(f"{human(done.waiting)} are unneeded, but new (see --grace)")
    if done.waste:
        click.echo(f"{human(done.waste)} are unneeded in packs that are needed, and stay")
    if is_plan and (done.retire or done.restore or done.delete):
        click.echo("nothing was changed; --yes does it")


def _packs_of(items: tuple[Trashed, ...]) -> str:
    return count(len({item.name for item in items}), "pack")
