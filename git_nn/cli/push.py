"""``git nn push``: send weights without moving refs."""

from __future__ import annotations

import click

from git_nn.cli.amounts import count
from git_nn.drivers.open import open_repository, store_of
from git_nn.drivers.progress import human
from git_nn.drivers.sender import send
from git_nn.errors import UsageError
from git_nn.gitio import revisions
from git_nn.gitio.config import Config, load
from git_nn.gitio.repository import Repository
from git_nn.remote.address import resolve
from git_nn.transfer.obtain import connect, names
from git_nn.transfer.push import lacking


@click.command("push")
@click.argument("remote", required=False)
@click.argument("revs", nargs=-1, metavar="[REV]...")
@click.option("--all", "everything", is_flag=True, help="All branches and tags.")
@click.option("-n", "--dry-run", is_flag=True, help="Say what would be sent.")
def command(remote: str | None, revs: tuple[str, ...], *, everything: bool, dry_run: bool) -> None:
    """Send the weights that HEAD, or REVs, need and REMOTE lacks; 'git push' does so by itself.

    REMOTE is a name or an address; without one the remote of the current branch.
    Exit codes: 0 all there, 3 some weights are not here either, 8 the remote failed.
    """
    repo = open_repository()
    config = load(repo)
    address = resolve(repo, config, remote or _default(repo, config), push=True)
    tips = _tips(repo, revs, everything=everything)
    if not dry_run:
        sent = send(repo, address, tips)
        what = f"{human(sent.size)} sent; " if sent.packs else ""
        click.echo(f"{what}{address.label} has all weights: {count(sent.objects, 'object')}")
        return
    with connect(repo, config, address) as there:
        parcel = lacking(repo, store_of(repo), there, tips)
    click.echo(f"{human(parcel.size)} would be sent to {address.label}")


def _default(repo: Repository, config: Config) -> str:
    """Where Git would push to."""
    branch = repo.git("symbolic-ref", "--quiet", "--short", "HEAD", check=False).decode().strip()
    chosen = config.get(f"branch.{branch}.pushremote") or config.get("remote.pushdefault")
    name = chosen or next(names(repo, config), "")
    if not name:
        raise UsageError("there is no remote here", hint="run 'git remote add origin ADDRESS'")
    return name


def _tips(repo: Repository, revs: tuple[str, ...], *, everything: bool) -> list[str]:
    if everything:
        argv = ("for-each-ref", "--format=%(objectname)", "refs/heads", "refs/tags")
        return repo.git(*argv).decode().split()
    tips = [(rev, revisions.resolve(repo, rev)) for rev in revs or ("HEAD",)]
    for rev, tip in tips:
        if tip is None:
            raise UsageError(f"{rev!r} is no revision", hint="run 'git log'")
    return [tip for _, tip in tips if tip]
