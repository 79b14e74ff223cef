"""``git nn ls-files``: the models that Git tracks here."""

from __future__ import annotations

import json
import os
from typing import Any

import click

from git_nn.drivers.open import open_repository
from git_nn.drivers.progress import human
from git_nn.worktree import Tracked, is_pointer_on_disk, tracked


@click.command("ls-files")
@click.argument("paths", nargs=-1, type=click.Path())
@click.option("-l", "--long", is_flag=True, help="Show the format, tensors and size of each file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(paths: tuple[str, ...], *, long: bool, as_json: bool) -> None:
    """List the models in the index.

    '*' marks weights in the work tree, '-' a pointer that waits for 'git nn pull', and
    '!' a file that Git holds raw, since it was added without the filter.
    """
    repo = open_repository()
    rows = [
        _row(item, "-" if is_pointer_on_disk(repo, item) else "*")
        for item in tracked(repo, [os.fsencode(path) for path in paths])
    ]
    if as_json:
        click.echo(json.dumps({"version": 1, "files": rows}, indent=2))
        return
    for row in rows:
        detail = (
            f"  {row['format']}, {row['tensors']} tensors, {human(row['bytes'])}" if long else ""
        )
        click.echo(f"{row['mark']} {row['path']}{detail}")


def _row(item: Tracked, mark: str) -> dict[str, Any]:
    path = os.fsdecode(item.path)
    if item.pointer is None:
        return {
            "path": path,
            "mark": "!" if item.is_raw else "*",
            "format": "raw",
            "tensors": 0,
            "bytes": 0,
        }
    size = sum(entry.length for entry in item.pointer.stored.values())
    return {
        "path": path,
        "mark": mark,
        "format": item.pointer.format,
        "tensors": len(item.pointer.entries),
        "bytes": size,
    }
