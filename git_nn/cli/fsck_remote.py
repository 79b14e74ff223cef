"""``git nn fsck --remote``: has the remote, whole, all that its refs need?"""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from git_nn.cli.amounts import count
from git_nn.drivers.progress import human
from git_nn.errors import UsageError
from git_nn.gitio.config import load
from git_nn.gitio.repository import Repository
from git_nn.remote.address import resolve
from git_nn.store.local import LocalStore
from git_nn.transfer.audit import Audit, audit, repair
from git_nn.transfer.obtain import connect, names


def checked(repo: Repository, store: LocalStore, name: str, *, full: bool, mend: bool) -> Audit:
    """Check the remote ``name``, or that of the current branch."""
    config = load(repo)
    name = name or next(names(repo, config), "")
    if not name:
        raise UsageError("there is no remote here", hint="run 'git remote add origin ADDRESS'")
    act = repair if mend else audit
    with connect(repo, config, resolve(repo, config, name)) as remote:
        return act(repo, store, remote, name, full=full)


def tell(found: Audit, *, mended: bool, as_json: bool) -> int:
    """Print it; the exit code."""
    if as_json:
        document = {"version": 1, "exit_code": found.exit_code, **asdict(found)}
        click.echo(json.dumps(document, indent=2))
    else:
        _tell(found, mended=mended)
    return found.exit_code


def _tell(found: Audit, *, mended: bool) -> None:
    for line in found.repaired:
        click.echo(f"repaired: {line}")
    for finding in found.findings:
        click.echo(f"{finding.kind}: {finding.message}")
    if found.exit_code:
        hint = "run the same in a clone that has the weights" if mended else "add --repair to send"
        click.echo(f"git-nn: not all is well at {found.label}; {hint}", err=True)
    state = "checked" if found.exit_code else "ok"
    packs = f"{count(found.packs, 'pack')}, {human(found.size)}"
    click.echo(f"{state}: {packs} at {found.label}; {count(found.objects, 'object')} needed")
