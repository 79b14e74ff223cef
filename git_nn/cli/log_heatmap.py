"""``git nn log --heatmap``: how far each layer of a model moved at each commit, as a picture."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from git_nn.cli.past import Opened, date
from git_nn.cli.screen import show, width
from git_nn.differences import heatmap as maps
from git_nn.differences.heatmap import Canvas, Column, Map
from git_nn.drivers.side import reading
from git_nn.drivers.terminal import quoted, wants_colour
from git_nn.errors import UsageError
from git_nn.history.drift import heat
from git_nn.history.versions import Changed
from git_nn.objects.names import escape, natural_key

SCHEMA = "git-nn heatmap 1"


def heatmap(found: Opened, past: Sequence[Changed], options: dict[str, Any]) -> None:
    """Draw the commits ``past``, the latest first, as the options of ``git nn log`` say."""
    drawn = _map(found, [*reversed(past)], numbers=options["numbers"] is not False)
    if options["svg"]:
        from git_nn.differences.svg import svg

        _write(options["svg"], svg(drawn).encode())
    if options["png"]:
        from git_nn.differences.png import png

        _write(options["png"], png(drawn))
    if options["machine"]:
        commits = [changed.step.commit.id for changed in reversed(past)]
        document = {"schema": SCHEMA, "commits": commits, "rows": maps.document(drawn)}
        click.echo(json.dumps(document, indent=2))
    elif not options["svg"] and not options["png"]:
        colour = wants_colour(found.asked.repo)
        rows = None if options["everything"] else maps.ROWS
        show(maps.text(drawn, Canvas(width() or 100, colour=colour, rows=rows)))


def _map(found: Opened, past: Sequence[Changed], *, numbers: bool) -> Map:
    with ExitStack() as stack:
        how = stack.enter_context(reading(found.asked.repo)) if numbers else None
        rows = heat(found.versions, past, found.asked.want, how)
    columns = []
    for changed in past:
        commit = changed.step.commit
        columns.append(Column(found.short(commit), date(commit), commit.subject))
    count = f"{len(rows)} layers x {len(past)} commits, oldest left"
    ordered = sorted(rows.items(), key=lambda row: natural_key(row[0]))
    title = f"{quoted(found.asked.path)}   {count}"
    return maps.of_rows(title, columns, [(escape(name), cells) for name, cells in ordered])


def _write(name: str, data: bytes) -> None:
    try:
        Path(name).write_bytes(data)
    except OSError as error:
        raise UsageError(f"cannot write {name}: {os.strerror(error.errno or 0)}") from error
