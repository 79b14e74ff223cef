"""``git nn status``: what has changed in the models, tensor by tensor, and what is unsettled."""

from __future__ import annotations

import json
from typing import Any

import click

from git_nn.cli.amounts import count
from git_nn.drivers.open import open_repository
from git_nn.status import Change, Status, read_status

_SHOWN = 10


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(*, as_json: bool) -> None:
    """Show staged and unstaged changes of tensors, conflicts, and files that are pointers."""
    status = read_status(open_repository())
    if as_json:
        click.echo(json.dumps(_as_json(status), indent=2))
        return
    _section("Staged for the next commit:", status.staged)
    _section("Changed in the work tree, not staged:", status.unstaged)
    for conflict in status.conflicts:
        click.echo(f"Conflict in {conflict.path} (settle with 'git nn resolve'):")
        _names(conflict.tensors)
    for title, paths in (
        ("Pointers in the work tree (to get the weights: 'git nn pull'):", status.pointers),
        ("In Git as raw bytes (to fix: 'git add --renormalize .'):", status.raw),
    ):
        if paths:
            click.echo(title)
            _names(paths)
    if status.is_clean:
        click.echo(f"nothing to tell: {count(status.models, 'model')}, all as committed")


def _section(title: str, changes: tuple[Change, ...]) -> None:
    if changes:
        click.echo(title)
    for change in changes:
        click.echo(f"  {change.path}: {change.summary}")
        _names(change.tensors, "    ")


def _names(names: tuple[str, ...], indent: str = "  ") -> None:
    for name in names[:_SHOWN]:
        click.echo(f"{indent}{name}")
    if len(names) > _SHOWN:
        click.echo(f"{indent}... and {len(names) - _SHOWN} more")


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
