"""``git nn formats``: what is recognised, by content and in this order."""

from __future__ import annotations

import json
from typing import Any

import click

from git_nn.formats import table


@click.command("formats")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(*, as_json: bool) -> None:
    """List the formats that are read tensor by tensor.

    A file is recognised by its content; the endings are only what 'git nn track --auto'
    looks for. Any other file is stored as opaque chunks and comes back byte for byte; 'git nn ls
    FILE' tells why. Formats of other installed packages are listed too. Exit code: 0.
    """
    rows = [_row(name) for name in table.names()]
    if as_json:
        click.echo(json.dumps({"version": 1, "formats": rows}, indent=2))
        return
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        click.echo(f"{row['name']:{width}}  {row['version']:>2}  {row['about']}")
        if row["suffixes"]:
            click.echo(f"{'':{width}}      {' '.join(row['suffixes'])}")


def _row(name: str) -> dict[str, Any]:
    """A format of another package may be broken; that is said in its row."""
    try:
        module = table.by_name(name)
        return {
            "name": name,
            "version": int(module.VERSION),
            "suffixes": [str(suffix) for suffix in module.SUFFIXES],
            "about": str(module.ABOUT),
        }
    except Exception as error:  # noqa: BLE001 - code of other packages
        return {"name": name, "version": 0, "suffixes": [], "about": f"cannot be used: {error}"}
