"""``git nn remote``: where the weights of each Git remote are."""

from __future__ import annotations

import json

import click

from git_nn.cli.amounts import count
from git_nn.cli.remote_gc import gc
from git_nn.drivers.open import open_repository, store_of
from git_nn.drivers.progress import human
from git_nn.errors import GitNNError, RemoteError, UsageError
from git_nn.gitio.config import Config, load
from git_nn.gitio.repository import Repository
from git_nn.remote.address import Address, parse, redacted, resolve
from git_nn.transfer.holdings import ask
from git_nn.transfer.obtain import connect, names


@click.group("remote", invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Say where weights are sent to and fetched from. Without a word more: list.

    Git's remotes stay Git's. 'remote.<name>.nnurl' says where the weights of one are, 'nn.url' of
    all; else they lie in its git folder (folders, ssh) or on its Git LFS server (https).
    Exit codes: 0 done, 2 no such remote, 8 a remote fails.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_)


command.add_command(gc)


@command.command("add")
@click.argument("name")
@click.argument("address")
def add(name: str, address: str) -> None:
    """Keep the weights of the Git remote NAME at ADDRESS.

    \b
    /folder, file:///folder      a folder, a mount
    ssh://host/folder            a folder on another machine; host:folder
    s3:// gs:// az://            a bucket and a prefix
    lfs, lfs+https://server      the remote's Git LFS server, or that one
    git                          within Git, on the remote itself

    Exit codes: 0 written, 2 no such remote, or no address.
    """
    repo = open_repository()
    if load(repo).get(f"remote.{name}.url") is None:
        raise UsageError(
            f"Git has no remote {name!r}", hint=f"run 'git remote add {name} ADDRESS' first"
        )
    found = parse(address)
    if redacted(address) != address:
        raise UsageError(
            "an address with a password would be kept as it is",
            hint="leave it out: Git's credential helper is asked",
        )
    repo.git("config", f"remote.{name}.nnurl", address)
    click.echo(f"the weights of {name} are at {found.label or found.kind}")


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def list_(*, as_json: bool = False) -> None:
    """List the remotes and where their weights are. Exit code: 0."""
    repo = open_repository()
    config = load(repo)
    found = [(name, resolve(repo, config, name)) for name in names(repo, config)]
    if as_json:
        rows = [{"name": name, "kind": one.kind, "address": one.label} for name, one in found]
        click.echo(json.dumps({"version": 1, "remotes": rows}))
        return
    for name, address in found:
        click.echo(f"{name}\t{_described(address)}")


def _described(address: Address) -> str:
    beside = " (in its git folder)" if address.beside else ""
    return f"{address.kind} {address.label}{beside}"


@command.command("check")
@click.argument("remotes", nargs=-1, metavar="[NAME]...")
def check(remotes: tuple[str, ...]) -> int:
    """Ask each remote, or those named, what it has. Exit codes: 0 all answer, 8 one does not."""
    repo = open_repository()
    config = load(repo)
    status = 0
    for name in remotes or tuple(names(repo, config)):
        try:
            click.echo(f"{name}\t{_state(repo, config, name)}")
        except GitNNError as error:
            click.echo(f"{name}\t{error}", err=True)
            status = RemoteError.exit_code
    return status


def _state(repo: Repository, config: Config, name: str) -> str:
    with connect(repo, config, resolve(repo, config, name)) as remote:
        found = ask(remote, store_of(repo).folders.remote(remote.identity))
        total = sum(index.pack_size for index in found.packs.values())
        return f"{count(len(found.packs), 'pack')}, {human(total)} at {remote.label}"
