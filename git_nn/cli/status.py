"""``git nn status``: what has changed in the models, tensor by tensor, and what is unsettled."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import click

from git_nn.by_hand import learn
from git_nn.cli.advice import installed
from git_nn.cli.amounts import count
from git_nn.cli.words import from_here
from git_nn.drivers.open import open_repository
from git_nn.drivers.terminal import write
from git_nn.gitio.repository import Repository
from git_nn.status import Change, Status, read_status

_SHOWN = 10


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(*, as_json: bool) -> None:
    """Show staged and unstaged changes of tensors, conflicts, and files that are pointers.

    Paths are relative to the current folder, in JSON to the top. Exit code: 0, whatever
    the state is.
    """
    repo = open_repository()
    learn(repo)
    status = read_status(repo)
    if as_json:
        click.echo(json.dumps(_as_json(status), indent=2))
    else:
        shown = partial(_shown, repo)
        write("".join(f"{line}\n" for line in _lines(status, shown)))
        if status.models:
            installed(repo)


def _shown(repo: Repository, path: str) -> str:
    return from_here(repo, os.fsencode(path))


def _lines(status: Status, shown: Callable[[str], str]) -> Iterator[str]:
    for title, changes in (
        ("Staged for the next commit:", status.staged),
        ("Changed in the work tree, not staged:", status.unstaged),
    ):
        if changes:
            yield title
        for change in changes:
            yield f"  {shown(change.path)}: {change.summary}"
            yield from _some(change.tensors, "    ")
    for conflict in status.conflicts:
        yield f"Conflict in {shown(conflict.path)} (settle with 'git nn resolve'):"
        yield from _some(conflict.tensors)
    for title, paths in (
        ("Pointers in the work tree (to get the weights: 'git nn pull'):", status.pointers),
        ("In Git as raw bytes (to fix: 'git add --renormalize .'):", status.raw),
    ):
        if paths:
            yield title
            yield from _some([shown(path) for path in paths])
    if not status.models and status.is_clean:
        yield "no model is tracked here; to choose files: git nn track"
    elif status.is_clean:
        yield f"nothing to tell: {count(status.models, 'model')}, all as committed"


def _some(names: Sequence[str], indent: str = "  ") -> Iterator[str]:
    for name in names[:_SHOWN]:
        yield f"{indent}{name}"
    if len(names) > _SHOWN:
        yield f"{indent}... and {len(names) - _SHOWN} more"


def _as_json(status: Status) -> dict[str, Any]:
    def changes(items: tuple[Change, ...]) -> list[dict[str, Any]]:
        return [{"path": c.path, "summary": c.summary, "tensors": list(c.tensors)} for c in items]

    return {
        "version": 1,
        "models": status.models,
        "staged": changes(status.staged),
        "unstaged": changes(status.unstaged),
        "conflicts": [{"path": c.path, "tensors": list(c.tensors)} for c in status.conflicts],
        "pointers": list(status.pointers),
        "raw": list(status.raw),
    }
