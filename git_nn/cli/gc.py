"""``git nn gc``: take away what no commit, reflog, index or stash needs any more."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from git_nn.cli.amounts import count
from git_nn.drivers.open import open_repository, store_of
from git_nn.drivers.progress import human
from git_nn.gc import GRACE_DAYS, Sweep, Swept, collect, preview


@click.command("gc")
@click.option("-n", "--dry-run", is_flag=True, help="Say what would be freed; change nothing.")
@click.option(
    "--grace",
    type=click.FloatRange(min=0),
    default=GRACE_DAYS,
    show_default=True,
    metavar="DAYS",
    help="Keep what was added or relied upon in the last DAYS days.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(*, dry_run: bool, grace: float, as_json: bool) -> int:
    """Move packs that nothing needs to the trash, and empty the old trash.

    Nothing is taken away when anything that is needed is missing: exit code 3.
    """
    repo = open_repository()
    store = store_of(repo)
    if dry_run:
        sweep = preview(repo, store, grace_days=grace, now=time.time())
        done = None
    else:
        done = collect(repo, store, grace_days=grace, now=time.time())
        sweep = done.sweep
    if as_json:
        click.echo(json.dumps(_as_json(sweep, done), indent=2))
    else:
        _tell(sweep, done)
    return 3 if sweep.blocked else 0


def _tell(sweep: Sweep, done: Swept | None) -> None:
    click.echo(
        f"{count(sweep.objects, 'object')} needed by {count(sweep.pointers, 'pointer')}; "
        f"{count(sweep.packs, 'pack')}, {human(sweep.size)}"
    )
    for why in sweep.blocked:
        click.echo(f"git-nn: {why}", err=True)
    if sweep.blocked:
        click.echo("git-nn: nothing was taken away; run 'git nn fsck'", err=True)
        return
    if sweep.retire or sweep.drop:
        move, rewrite, delete = (
            ("would move", "rewrite", "delete") if done is None else ("moved", "rewrote", "deleted")
        )
        better = f", {delete} {len(sweep.drop)} with better copies" if sweep.drop else ""
        click.echo(
            f"{move} {count(len(sweep.retire), 'pack')} to the trash{better} and "
            f"{rewrite} {len(sweep.rewrite)}: {human(sweep.freed)} unneeded"
        )
    else:
        click.echo("nothing to take away")
    if sweep.waiting:
        click.echo(f"{human(sweep.waiting)} more are unneeded, but new (see --grace)")
    if done is not None and done.deleted:
        click.echo(f"deleted {count(len(done.deleted), 'pack')} from the trash")


def _as_json(sweep: Sweep, done: Swept | None) -> dict[str, Any]:
    return {
        "version": 1,
        "pointers": sweep.pointers,
        "objects": sweep.objects,
        "packs": sweep.packs,
        "size": sweep.size,
        "retired": list(sweep.retire),
        "rewritten": list(sweep.rewrite),
        "dropped": list(sweep.drop),
        "freed": sweep.freed,
        "too_new": sweep.waiting,
        "blocked": list(sweep.blocked),
        "done": done is not None and not sweep.blocked,
        "new_packs": list(done.new_packs) if done else [],
        "deleted": list(done.deleted) if done else [],
    }
