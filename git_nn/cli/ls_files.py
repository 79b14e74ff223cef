"""``git nn ls-files``: the models that Git tracks here."""

from __future__ import annotations

import json
import os
from typing import Any

import click

from git_nn.cli.amounts import count
from git_nn.cli.summary import payload_bytes
from git_nn.cli.words import from_here, from_top
from git_nn.drivers.open import open_repository
from git_nn.drivers.progress import human
from git_nn.drivers.terminal import write
from git_nn.gitio.repository import Repository
from git_nn.worktree import Tracked, is_pointer_on_disk, tracked


@click.command("ls-files")
@click.argument("paths", nargs=-1, type=click.Path())
@click.option("-l", "--long", is_flag=True, help="Show the format, tensors and size of each file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(paths: tuple[str, ...], *, long: bool, as_json: bool) -> None:
    """List the models in the index, all or those at PATHS.

    \b
    *  the weights are in the work tree
    -  a pointer is, which waits for 'git nn pull'
    !  Git holds the file raw, since it was added without the filter
       a blank: no such file is in the work tree

    Paths are relative to the current folder, in JSON to the top. Exit code: 0 listed.
    """
    repo = open_repository()
    items = tracked(repo, [from_top(repo, path) for path in paths])
    if as_json:
        rows = [_row(repo, item) for item in items]
        click.echo(json.dumps({"version": 1, "files": rows}, indent=2))
        return
    write("".join(_line(repo, item, long=long) for item in items))


def _line(repo: Repository, item: Tracked, *, long: bool) -> str:
    row = _row(repo, item)
    size = f"{row['format']}, {count(row['tensors'], 'tensor')}, {human(row['bytes'])}"
    return f"{row['mark']} {from_here(repo, item.path)}{f'  {size}' if long else ''}\n"


def _row(repo: Repository, item: Tracked) -> dict[str, Any]:
    found = {"path": os.fsdecode(item.path), "mark": _mark(repo, item)}
    if item.pointer is None:
        return {**found, "format": "raw", "tensors": 0, "bytes": item.size or 0}
    return {
        **found,
        "format": item.pointer.format,
        "tensors": len(item.pointer.entries),
        "bytes": payload_bytes(item.pointer),
    }


def _mark(repo: Repository, item: Tracked) -> str:
    if item.is_raw:
        return "!"
    if repo.work_tree is None or not os.path.lexists(repo.work_tree / os.fsdecode(item.path)):
        return " "
    return "-" if is_pointer_on_disk(repo, item) else "*"
