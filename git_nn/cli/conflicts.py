"""``git nn conflicts``: everything that a merge left open, for people and for programs."""

from __future__ import annotations

import json
import os
from collections import Counter
from typing import Any

import click

from git_nn import by_hand, conflicts, resolve
from git_nn.cli.open_files import show
from git_nn.cli.words import from_top
from git_nn.drivers.open import open_repository, store_of
from git_nn.merge.report import plural
from git_nn.placing import ways_of
from git_nn.resolve import Unmergeable, Unsettled

VERSION = 1


@click.command("conflicts")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.argument("paths", nargs=-1, metavar="[PATH]...")
def command(paths: tuple[str, ...], *, as_json: bool) -> int:
    """List the tensors that a merge left in conflict, and what could settle each.

    PATH is a file or a folder; without one, all models. Exit codes: 0 nothing is in
    conflict there, 1 something is.
    """
    repo = open_repository()
    under = [from_top(repo, path) for path in paths]
    by_hand.learn(repo)
    found = resolve.unsettled(repo, store_of(repo), os.environ.get("GIT_NN_MERGE"))
    files = [file for file in found if not under or _is_under(file.path, under)]
    if as_json:
        document = {"version": VERSION, "conflicts": [_as_json(file) for file in files]}
        click.echo(json.dumps(document, indent=2))
    elif not files:
        click.echo("no model is in conflict")
    else:
        for file in files:
            show(repo, file)
            _show_ways(file)
    return 1 if files else 0


def _is_under(path: bytes, folders: list[bytes]) -> bool:
    return any(top == b"." or (path + b"/").startswith(top + b"/") for top in folders)


def _show_ways(file: Unsettled | Unmergeable) -> None:
    """What could settle the tensors: a line for each set of ways that several have."""
    if isinstance(file, Unmergeable):
        return
    if file.whole:
        click.echo(f"  by: {', '.join(_sides(file))}")
    counts = Counter(ways_of(file, conflict) for conflict in file.open)
    for names, count in counts.items():
        which = f"{count} {plural(count)} " if len(counts) > 1 else ""
        click.echo(f"  {which}by: {', '.join(names)}")


def _sides(file: Unsettled) -> list[str]:
    return ["ours", "theirs", *(["base"] if file.sides.base else [])]


def _as_json(file: Unsettled | Unmergeable) -> dict[str, Any]:
    head = {"path": file.path.decode("utf-8", "surrogateescape")}
    if isinstance(file, Unmergeable):
        commands = [{"to": end.removeprefix("to "), "run": run} for end, run in file.ways]
        return {**head, "kind": "file", "why": file.why, "commands": commands}
    blobs = dict(zip(("base", "ours", "theirs"), file.version.blobs, strict=True))
    if file.whole:
        return {**head, "kind": "whole", "why": file.whole, "blobs": blobs, "ways": _sides(file)}
    return {**head, "kind": "tensors", "blobs": blobs, "tensors": _tensors(file)}


def _tensors(file: Unsettled) -> list[dict[str, Any]]:
    sides = (file.sides.base, file.sides.ours, file.sides.theirs)
    return [
        {
            **conflicts.as_json(conflicts.tensor(conflict, sides)),
            "ways": list(ways_of(file, conflict)),
        }
        for conflict in file.open
    ]
