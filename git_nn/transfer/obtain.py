"""obtain: what pointers need and the store lacks, from wherever it can be had.

First the stores of remotes that are folders on this machine, whose packs are linked; then the
remotes, that of the current branch first. A remote that fails is told of and the next one asked:
what comes is used, what does not leaves pointers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from git_nn.adopt import adopt, lacks
from git_nn.errors import GitNNError, RemoteError
from git_nn.gitio.config import Config, load
from git_nn.gitio.repository import Repository
from git_nn.objects.oid import Oid
from git_nn.objects.pointer import Pointer
from git_nn.remote.address import Address, resolve
from git_nn.remote.base import CONNECTIONS, Begin, Remote, no_meter
from git_nn.remote.table import open_remote
from git_nn.store.local import LocalStore
from git_nn.transfer.fetch import fetch
from git_nn.transfer.holdings import ask


def obtain(
    repo: Repository,
    store: LocalStore,
    pointers: Iterable[Pointer],
    begin: Begin = no_meter,
    only: str = "",
) -> list[GitNNError]:
    """Bring what ``pointers`` need; what went wrong with remotes while something was missing.

    ``only`` is the one remote to ask, a name or an address.
    """
    wanted = list(pointers)
    if not any(lacks(store, pointer) for pointer in wanted):
        return []
    if not only:
        adopt(repo, store, wanted)
    failures: list[GitNNError] = []
    config = load(repo)
    for name in [only] if only else names(repo, config):
        if not any(lacks(store, pointer) for pointer in wanted):
            return []
        try:
            with connect(repo, config, resolve(repo, config, name)) as remote:
                fetch_pointers(store, remote, wanted, begin)
        except GitNNError as error:
            failures.append(error)
    return failures if any(lacks(store, pointer) for pointer in wanted) else []


def names(repo: Repository, config: Config) -> Iterator[str]:
    """The remotes to ask, the likeliest first."""
    keys = config.section("remote")
    known = [key.split(".", 1)[1].rpartition(".")[0] for key in keys if key.endswith(".url")]
    branch = repo.git("symbolic-ref", "--quiet", "--short", "HEAD", check=False).decode().strip()
    first = [config.get(f"branch.{branch}.remote") if branch else None, "origin"]
    yield from dict.fromkeys(name for name in (*first, *known) if name in known)


def connect(repo: Repository, config: Config, address: Address) -> Remote:
    """The remote, with as many connections as ``nn.connections`` says."""
    count = config.integer("nn.connections", CONNECTIONS)
    return open_remote(repo, address, connections=max(1, min(count, 64)))


def fetch_pointers(
    store: LocalStore, remote: Remote, pointers: Sequence[Pointer], begin: Begin = no_meter
) -> None:
    """Bring what ``pointers`` need and ``remote`` has; skeletons first, which name more.

    RemoteError also where it has nothing at all: it may be a folder that is not mounted; and,
    after all else has come, where a damaged pack may have what is still missing.
    """
    holdings = ask(remote, store.folders.remote(remote.identity))
    damage = holdings.damage()
    if not holdings.packs:
        raise damage or RemoteError(
            f"{remote.label} has no weights", hint="run 'git nn remote check'"
        )
    skeletons = store.missing(dict.fromkeys(pointer.skeleton for pointer in pointers))
    fetch(store, holdings, skeletons)
    wanted: dict[Oid, None] = {}
    for pointer in pointers:
        wanted |= dict.fromkeys(lacks(store, pointer))
    fetch(store, holdings, wanted, begin)
    if damage and store.missing(wanted):
        raise damage
