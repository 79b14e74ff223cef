"""``git nn blame``: the last commit that changed each tensor of a model."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from git_nn.cli.log_entry import Form, size_of
from git_nn.cli.past import Opened, date, opened, understand, when
from git_nn.cli.screen import clip, show, width
from git_nn.cli.words import Separated
from git_nn.differences.heatmap import shorten
from git_nn.differences.layers import layer_of
from git_nn.drivers.side import reading
from git_nn.drivers.terminal import wants_colour
from git_nn.errors import UsageError
from git_nn.history.blame import Blamed, blame
from git_nn.history.drift import measure, to_read, whole
from git_nn.objects.names import escape

SCHEMA = "git-nn blame 1"
BYTES, TENSORS = 512 << 20, 20_000  # what is read at most where nobody asked for numbers
_AUTHOR, _SUBJECT = 16, 12  # columns: of an author at most, of a subject at least


@dataclass(frozen=True, slots=True)
class Row:
    """A tensor, or a layer with its ``tensors``; ``relative`` is its change at that commit."""

    name: str
    last: Blamed
    tensors: tuple[Blamed, ...]
    relative: float | None = None


@click.command("blame", cls=Separated)
@click.argument("words", nargs=-1, metavar="[REV] [--] PATH [PATTERN…]")
@click.option("--group", "grouped", is_flag=True, help="One line per layer.")
@click.option("--numbers/--no-numbers", default=None, help="Read how far tensors moved, or not.")
@click.option("--json", "machine", is_flag=True, help="Print JSON (schema 'git-nn blame 1').")
@click.pass_context
def command(ctx: click.Context, /, words: tuple[str, ...], **options: Any) -> None:
    """Show the last commit that changed each tensor, and how far it moved there.

    PATTERN is a tensor's name, with * and ? as in a shell, or a module's. A tensor, or a file,
    that got another name keeps its commit. Without --numbers or --no-numbers, tensors are read
    unless that takes more than 512 MiB or 20,000 tensors.
    Exit codes: 0 shown; 2 no such commit or file; 6 a broken pointer; 128 git failed.
    """
    asked = understand(words, ctx.meta.get("paths"))
    if asked.within is not None:
        raise UsageError("blame looks back from one commit", hint="try 'git nn blame REV -- PATH'")
    with opened(asked) as found:
        rows = _rows(_blamed(found), grouped=options["grouped"])
        if options["numbers"] is not False:
            rows = _measured(found, rows, bounded=options["numbers"] is None)
        if options["machine"]:
            click.echo(json.dumps(_document(rows, grouped=options["grouped"]), indent=2))
        else:
            show(_text(found, rows, Form(width(), wants_colour(asked.repo))))


def _blamed(found: Opened) -> list[Blamed]:
    asked = found.asked
    last = found.past.last_change(asked.commit, asked.path)
    if last is None or not last.blob:
        raise UsageError("the file is not in that version", hint="name a commit that has it")
    names = [name for name in found.versions.names(last.blob) if name in asked.want]
    if not names and asked.want.patterns:
        raise UsageError("no tensor has such a name", hint="try 'git nn ls PATH'")
    return blame(found.past, found.versions, asked.commit, asked.path, names)


def _rows(blamed: Iterable[Blamed], *, grouped: bool) -> list[Row]:
    """Tensors, or layers: of those the commit is the latest of their tensors."""
    if not grouped:
        return [Row(one.name, one, (one,)) for one in blamed]
    layers: dict[str, list[Blamed]] = defaultdict(list)
    for one in blamed:
        layers[layer_of(one.name)].append(one)
    rows = []
    for layer, members in layers.items():
        last = max(members, key=lambda one: one.step.commit.committed)
        then = tuple(one for one in members if one.step.commit.id == last.step.commit.id)
        rows.append(Row(layer, last, then))
    return rows


def _measured(found: Opened, rows: Sequence[Row], *, bounded: bool) -> list[Row]:
    """``rows`` with their numbers, each version read once."""
    steps = {(one.step.commit.id, one.step.path): one.step for row in rows for one in row.tensors}
    names: dict[tuple[str, bytes], set[str]] = defaultdict(set)
    for one in (one for row in rows for one in row.tensors):
        was = found.versions.moves(one.step.before, one.step.blob).was
        names[one.step.commit.id, one.step.path] |= {one.then, was.get(one.then, one.then)}
    if bounded and (
        sum(map(len, names.values())) > TENSORS
        or sum(to_read(found.versions, step, names[key]) for key, step in steps.items()) > BYTES
    ):
        return list(rows)
    deltas = {}
    with reading(found.asked.repo) as how:
        for key, step in steps.items():
            if step.before:
                diff = measure(found.versions, step, names[key], how)
                deltas.update({(key, delta.name): delta for delta in diff.tensors})
    return [Row(row.name, row.last, row.tensors, _relative(row, deltas)) for row in rows]


def _relative(row: Row, deltas: dict[Any, Any]) -> float | None:
    keys = [((one.step.commit.id, one.step.path), one.then) for one in row.tensors]
    return whole(deltas[key] for key in keys if key in deltas)


def _text(found: Opened, rows: Sequence[Row], form: Form) -> str:
    cells = [
        [
            found.short(row.last.step.commit),
            date(row.last.step.commit),
            clip(row.last.step.commit.author, _AUTHOR),
            size_of(row.relative) or str(row.last.kind),
            escape(row.name),
        ]
        for row in rows
    ]
    wide = _fit(cells, form.width)
    lines = []
    for row, one in zip(cells, rows, strict=True):
        parts = [shorten(cell, room).ljust(room) for cell, room in zip(row, wide, strict=True)]
        line = "  ".join(part for part in parts if part)
        room = None if form.width is None else form.width - len(line) - 2
        if room is None or room >= _SUBJECT:
            line += f"  {clip(one.last.step.commit.subject, room)}"
        lines.append(form.paint(row[0], "33") + line.rstrip()[len(row[0]) :])
    return "".join(f"{line}\n" for line in lines)


def _fit(cells: Sequence[Sequence[str]], room: int | None) -> list[int]:
    """How wide each column is: without room the author goes first, then a name's beginning."""
    wide = [max((len(row[i]) for row in cells), default=0) for i in range(5)]
    if room is not None and sum(wide) + 2 * len(wide) > room:
        wide[2] = 0
        wide[4] = min(wide[4], room - sum(wide[:4]) - 2 * len(wide))
    return wide


def _document(rows: Sequence[Row], *, grouped: bool) -> dict[str, Any]:
    return {"schema": SCHEMA, "grouped": grouped, "rows": [_plain(row) for row in rows]}


def _plain(row: Row) -> dict[str, Any]:
    step = row.last.step
    relative = row.relative
    return {
        "name": escape(row.name),
        "tensors": [escape(one.name) for one in row.tensors],
        "was": escape(row.last.then) if row.last.then != row.last.name else None,
        "commit": step.commit.id,
        "author": {"name": step.commit.author, "email": step.commit.email},
        "date": when(step.commit).isoformat(),
        "subject": step.commit.subject,
        "kind": str(row.last.kind),
        "relative": str(relative) if relative == float("inf") else relative,
    }
