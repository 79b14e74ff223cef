"""``git nn gc``: take away what nothing needs any more, and store the rest smaller."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict
from typing import Any

import click

from git_nn.cli.amounts import count
from git_nn.drivers.background import is_due
from git_nn.drivers.open import open_repository, store_of
from git_nn.drivers.process import keep_freed_buffers
from git_nn.drivers.progress import Meter, human
from git_nn.gc import GRACE_DAYS, Sweep, Swept, collect, preview
from git_nn.gitio.config import load
from git_nn.gitio.repository import Repository
from git_nn.repack import repack
from git_nn.store.local import LocalStore
from git_nn.store.recode import Recoded


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
@click.option("--no-repack", is_flag=True, help="Only sweep; code nothing again.")
@click.option("--auto", is_flag=True, help="Only when enough is new (nn.gcAuto); quietly.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(*, dry_run: bool, grace: float, no_repack: bool, auto: bool, as_json: bool) -> int:
    """Take away what nothing needs any more, and store the rest smaller.

    Packs that nothing needs move to the trash, and leave it later. What is needed is
    coded again, against earlier versions, wherever that is smaller; this may take long, may
    be interrupted at any time, and goes on where it stopped.

    Exit codes: 0 done; 3 something that is needed is missing, so nothing was taken away.
    """
    repo = open_repository()
    store = store_of(repo)
    if auto:
        return _run_quietly(repo, store, grace)
    if dry_run:
        sweep, done, recoded = preview(repo, store, grace_days=grace, now=time.time()), None, None
    else:
        recoded = None if no_repack else _repack(repo, store)
        done = collect(repo, store, grace_days=grace, now=time.time())
        sweep = done.sweep
    if as_json:
        click.echo(json.dumps(_as_json(sweep, done, recoded), indent=2))
    else:
        _tell(sweep, done, recoded)
    return 3 if sweep.blocked else 0


def _run_quietly(repo: Repository, store: LocalStore, grace: float) -> int:
    if not is_due(store, load(repo)):
        return 0
    os.nice(10)
    repack(repo, store)
    return 3 if collect(repo, store, grace_days=grace, now=time.time()).sweep.blocked else 0


def _repack(repo: Repository, store: LocalStore) -> Recoded:
    keep_freed_buffers()
    meter = Meter("Repacking")
    done = repack(repo, store, meter.advance)
    meter.finish()
    return done


def _tell(sweep: Sweep, done: Swept | None, recoded: Recoded | None) -> None:
    if recoded is not None and recoded.smaller:
        click.echo(
            f"coded {recoded.smaller} of {count(recoded.tried, 'segment')} again: "
            f"{human(recoded.before)} became {human(recoded.after)}"
        )
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


def _as_json(sweep: Sweep, done: Swept | None, recoded: Recoded | None) -> dict[str, Any]:
    return {
        "recoded": asdict(recoded) if recoded is not None else None,
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
