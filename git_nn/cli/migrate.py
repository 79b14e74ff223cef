"""``git nn migrate``: history into pointers, and back."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import click

from git_nn.cli.amounts import count
from git_nn.drivers.open import open_repository, store_of
from git_nn.drivers.process import keep_freed_buffers
from git_nn.drivers.progress import human, metered
from git_nn.migrate import swap
from git_nn.migrate.into import ABOVE, Imported, Request, Row, import_, preview
from git_nn.migrate.out_of import export
from git_nn.migrate.rewrite import Rewritten

_SIZE = re.compile(r"([0-9]+)([kmg]?)i?b?\Z", re.IGNORECASE)
_HEADS = ("pattern", "files", "versions", "bytes", "now", "git-nn", "gain")
_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3}


class Size(click.ParamType[int]):
    """``100k``, ``5MB``, ``1000``: bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        match = _SIZE.match(value)
        if match is None:
            self.fail(f"{value!r} is no size such as 100k or 5m", param, ctx)
        return int(match[1]) * _UNITS[match[2].lower()]


@click.group("migrate")
def command() -> None:
    """Rewrite history so that weights are pointers, or back into plain files or Git LFS.

    Commits get new ids; what branches and tags named before is kept under refs/original-nn/.
    Exit codes: 0 done, 2 the repository is not ready for it, 3 weights are missing.
    """


_refs = click.argument("refs", nargs=-1, metavar="[REF]...")
_everything = click.option("--everything", is_flag=True, help="All branches and tags.")


@command.command("import")
@_refs
@_everything
@click.option("--include", metavar="GLOB", multiple=True, help="These files; else by content.")
@click.option("--above", type=Size(), metavar="SIZE", help="By content: from so many bytes (100k).")
@click.option("--no-rewrite-attributes", is_flag=True, help="Leave .gitattributes as it is.")
@click.option("-n", "--dry-run", is_flag=True, help="Show the gain; change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def into(refs: tuple[str, ...], *, everything: bool, **options: Any) -> None:
    """Rewrite the current branch, or REFs: weights of plain Git or Git LFS become pointers.

    GLOBs are as in .gitattributes. Without: files of at least SIZE that a format recognises.
    --dry-run stores everything in a temporary folder, to know. Exit codes: 0 done, 2 not ready.
    """
    if options["include"] and options["above"] is not None:
        raise click.UsageError("--above is for files chosen by content, --include by name")
    repo = open_repository()
    store = store_of(repo)
    wanted = swap.wanted_refs(repo, refs, everything=everything)
    above = ABOVE if options["above"] is None else options["above"]
    request = Request(wanted, options["include"], above, not options["no_rewrite_attributes"])
    keep_freed_buffers()
    run = preview if options["dry_run"] else import_
    with metered("Migrating weights") as begin:
        done = run(repo, store, request, begin)
    show = _show_json if options["as_json"] else _show
    show(done, dry_run=options["dry_run"])


@command.command("export")
@_refs
@_everything
@click.option("--to", type=click.Choice(["plain", "lfs"]), default="plain", show_default=True,
              help="Files in Git itself, or objects of Git LFS.")  # fmt: skip
def out_of(refs: tuple[str, ...], *, everything: bool, to: Any) -> None:
    """Rewrite the current branch, or REFs: pointers become the files that they stand for.

    Exit codes: 0 done, 2 not ready, 3 weights are not here.
    """
    repo = open_repository()
    wanted = swap.wanted_refs(repo, refs, everything=everything)
    with metered("Writing weights") as begin:
        done = export(repo, store_of(repo), wanted, to, begin)
    where = "Git" if to == "plain" else "Git LFS"
    click.echo(f"{count(done.blobs, 'version')} of weights, {human(done.size)}, into {where}")
    _tell(done.rewritten, dry_run=False)


@command.command("undo")
def undo() -> None:
    """Put branches and tags back to what they named before the last migration.

    Exit codes: 0 done, 2 there is none, or a branch was moved since.
    """
    repo = open_repository()
    stamp, moved = swap.last(repo)
    swap.check_ready(repo, [one.ref for one in moved])
    swap.undo(repo, stamp, moved)
    for one in moved:
        click.echo(f"{one.ref} is {one.before[:12]} again")


def _show(done: Imported, *, dry_run: bool) -> None:
    if not done.rows:
        click.echo("no weights found in history; name files with --include")
        return
    for line in _table(done.rows):
        click.echo(line)
    _tell(done.rewritten, dry_run=dry_run)


def _table(rows: Sequence[Row]) -> list[str]:
    cells: list[tuple[str, ...]] = [_HEADS]
    total = Row(b"all")
    for row in rows:
        cells.append(_cells(row))
        for name in ("files", "blobs", "size", "now", "stored"):
            setattr(total, name, getattr(total, name) + getattr(row, name))
    if len(rows) > 1:
        cells.append(_cells(total))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join((line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])))
            for line in cells]  # fmt: skip


def _cells(row: Row) -> tuple[str, ...]:
    gain = f"{100 * (1 - row.stored / row.now):.0f} %" if row.now else "-"
    name = row.pattern.decode("utf-8", "backslashreplace")
    amounts = (human(row.size), human(row.now), human(row.stored))
    return (name, f"{row.files:,}", f"{row.blobs:,}", *amounts, gain)


def _tell(done: Rewritten, *, dry_run: bool) -> None:
    would = "would be " if dry_run else ""
    click.echo(f"{count(done.commits, 'commit')} of {done.walked:,} {would}rewritten")
    for one in done.moved:
        names = one.before[:12] if dry_run else f"{one.before[:12]} -> {one.after[:12]}"
        click.echo(f"  {one.ref} {names}")
    if done.unsigned:
        click.echo(f"{count(done.unsigned, 'signature')} {would}dropped: they held for other bytes")
    if done.moved and not dry_run:
        click.echo("to take it back: git nn migrate undo; to share it, see docs/migrate.md")


def _show_json(done: Imported, *, dry_run: bool) -> None:
    rows = [
        {"pattern": row.pattern.decode("utf-8", "backslashreplace"), "files": row.files,
         "versions": row.blobs, "bytes": row.size, "now": row.now, "stored": row.stored}
        for row in done.rows
    ]  # fmt: skip
    refs = [{"ref": m.ref, "before": m.before, "after": None if dry_run else m.after}
            for m in done.rewritten.moved]  # fmt: skip
    answer = {"version": 1, "done": not dry_run, "patterns": rows, "refs": refs,
              "commits": done.rewritten.commits, "walked": done.rewritten.walked,
              "unsigned": done.rewritten.unsigned}  # fmt: skip
    click.echo(json.dumps(answer, indent=2))
