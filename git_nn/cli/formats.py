"""``git nn formats``: what is recognised, by content and in this order."""

from __future__ import annotations

import json

import click

from git_nn.formats import opaque, table


@click.command("formats")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(*, as_json: bool) -> None:
    """List the formats that are read tensor by tensor.

    A file is recognised by its content; the endings are only what 'git nn track --auto'
    looks for. Any other file is stored as opaque chunks and comes back byte for byte.
    Exit code: 0.
    """
    modules = [table.by_name(name) for name in table.FORMATS] + [opaque]
    rows = [
        {"name": module.NAME, "version": module.VERSION, "suffixes": list(module.SUFFIXES)}
        for module in modules
    ]
    if as_json:
        click.echo(json.dumps({"version": 1, "formats": rows}, indent=2))
        return
    for row in rows:
        endings = " ".join(row["suffixes"]) or "any other file, in content-defined chunks"
        click.echo(f"{row['name']:12} layout {row['version']}   {endings}")
