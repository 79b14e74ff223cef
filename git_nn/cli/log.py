"""``git nn log``: which commits changed a model, which tensors of it, and how far."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any

import click

from git_nn.cli import log_entry
from git_nn.cli.amounts import count
from git_nn.cli.log_entry import Entry, Form
from git_nn.cli.log_heatmap import heatmap
from git_nn.cli.past import Opened, opened, understand
from git_nn.cli.screen import show, width
from git_nn.cli.words import Separated
from git_nn.compare import Reading
from git_nn.drivers.side import reading
from git_nn.drivers.terminal import wants_colour
from git_nn.errors import UsageError
from git_nn.gitio.repository import Repository
from git_nn.history.drift import measure, to_read
from git_nn.history.versions import Changed, log

BYTES, TENSORS = 512 << 20, 20_000  # what is read at most where nobody asked for numbers


@click.command("log", cls=Separated)
@click.argument("words", nargs=-1, metavar="[REV | A..B] [--] PATH [PATTERN…]")
@click.option("-n", "most", type=click.IntRange(0), help="So many commits at most.")
@click.option("--since", default="", metavar="DATE", help="Only commits after DATE.")
@click.option("--numbers/--no-numbers", default=None, help="Read how far tensors moved, or not.")
@click.option("--all", "everything", is_flag=True, help="Every tensor that changed, every layer.")
@click.option("--json", "machine", is_flag=True, help="Print JSON (schema 'git-nn log 1').")
@click.option("--heatmap", "hot", is_flag=True, help="Draw layers x commits.")
@click.option("--svg", default="", metavar="FILE", help="Write the heat map as SVG.")
@click.option("--png", default="", metavar="FILE", help="Write the heat map as PNG.")
@click.pass_context
def command(ctx: click.Context, /, words: tuple[str, ...], **options: Any) -> None:
    """Show which commits changed a model or some of its tensors, and how far.

    PATTERN is a tensor's name, with * and ? as in a shell ('*.q_proj.weight'), or a module's.
    Renames of the file are followed. Without --numbers or --no-numbers, tensors are read from
    the latest commit on until 512 MiB or 20,000 tensors have been.
    Exit codes: 0 shown; 2 no such commit or file; 128 git failed.
    """
    asked = understand(words, ctx.meta.get("paths"))
    with opened(asked) as found:
        past = _limited(found, options["most"], options["since"])
        if options["hot"] or options["svg"] or options["png"]:
            heatmap(found, list(past), options)
        elif options["machine"]:
            with reading(asked.repo) as how:
                entries = [log_entry.as_json(one) for one in _entries(found, past, options, how)]
            document = {"schema": log_entry.SCHEMA, "commits": entries}
            click.echo(json.dumps(document, indent=2))
        else:
            colour = wants_colour(asked.repo)
            form = Form(width(), colour=colour, everything=options["everything"])
            for entry in _entries(found, past, options):
                show(log_entry.text(entry, found, form))


def _limited(found: Opened, most: int | None, since: str) -> Iterator[Changed]:
    asked = found.asked
    oldest = _since(asked.repo, since) if since else None
    every = log(found.past, found.versions, asked.commit, asked.path, asked.want)
    wanted = (
        one
        for one in every
        if (asked.within is None or one.step.commit.id in asked.within)
        and (oldest is None or one.step.commit.committed >= oldest)
    )
    return islice(wanted, most)


def _since(repo: Repository, since: str) -> int:
    """Seconds since 1970, as Git reads dates."""
    word, _, value = repo.git("rev-parse", f"--since={since}").decode().strip().partition("=")
    if word != "--max-age" or not value.isdigit():
        raise UsageError(f"{since!r} is not a date", hint="try --since=2026-01-31")
    return int(value)


@dataclass(slots=True)
class _Allowance:
    """What may still be read; without bounds where somebody asked for numbers."""

    bounded: bool
    size: int
    tensors: int
    left_out: int = 0

    def takes(self, found: Opened, entry: Entry) -> bool:
        if self.bounded and not self.left_out:
            self.size -= to_read(found.versions, entry.changed.step, entry.names)
            self.tensors -= len(entry.names)
        over = self.bounded and (self.size < 0 or self.tensors < 0)
        self.left_out += over
        return not over


def _entries(
    found: Opened, past: Iterator[Changed], options: dict[str, Any], how: Reading | None = None
) -> Iterator[Entry]:
    """The commits, with numbers as far as they are wanted.

    Progress is that of ``how``, or where it is None of each commit alone: it must be gone from
    the terminal when the commit is printed.
    """
    want = found.asked.want
    allowance = _Allowance(options["numbers"] is None, BYTES, TENSORS)
    for changed in past:
        entry = Entry(changed, want.among(changed.moves), chosen=bool(want.patterns))
        step = changed.step
        readable = step.before and step.blob and entry.names and not changed.problem
        if readable and options["numbers"] is not False and allowance.takes(found, entry):
            names = {*entry.names, *entry.names.values()} if want.patterns else None
            with nullcontext(how) if how else reading(found.asked.repo) as own:
                diff = measure(found.versions, step, names, own)
            entry = Entry(changed, entry.names, entry.chosen, diff)
        yield entry
    if allowance.left_out:
        click.echo(
            f"git-nn: without numbers for {count(allowance.left_out, 'commit')}, which would take "
            "longer; to have them: git nn log --numbers", err=True,
        )  # fmt: skip
