"""``git nn untrack``: Git keeps files that match as they are again."""

from __future__ import annotations

import os
from pathlib import Path

import click

from git_nn import track
from git_nn.cli.track import FILE, read, shown, write
from git_nn.drivers.open import open_repository


@click.command("untrack")
@click.argument("patterns", nargs=-1, required=True)
@click.option("-n", "--dry-run", is_flag=True, help="Show what would be removed.")
def command(patterns: tuple[str, ...], *, dry_run: bool) -> int:
    """Remove PATTERNS from the .gitattributes of this folder.

    Other attributes on the same lines stay. Exit codes: 0 done, 1 a pattern is not there.
    """
    open_repository()
    path = Path.cwd() / FILE
    text = read(path)
    known = {rule.pattern for rule in track.rules(text) if rule.is_ours}
    found: list[bytes] = []
    missing: list[str] = []
    for pattern in patterns:
        options = {track.glob(os.fsencode(pattern)), track.pattern_of(pattern, Path.cwd())}
        found += sorted(options & known)
        missing += [] if options & known else [pattern]
    if found and not dry_run:
        write(path, track.remove(text, found))
    for name in found:
        click.echo(f"{'would untrack' if dry_run else 'no longer tracking'} {shown(name)}")
    for pattern in missing:
        click.echo(f"{pattern} is not tracked in {path}", err=True)
    if found and not dry_run:
        click.echo("to put the weights themselves into Git: git add --renormalize .")
    return 1 if missing else 0
