"""whereis: which places have the objects of some models: this clone, its alternates, the remotes.

Every remote is asked now. One that does not answer is told of, and says nothing about what it has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from git_nn.adopt import alternates
from git_nn.errors import GitNNError
from git_nn.gitio.config import Config, load
from git_nn.gitio.repository import Repository
from git_nn.objects import skeleton as skeletons
from git_nn.objects.oid import Oid
from git_nn.objects.pointer import Pointer
from git_nn.remote.address import resolve
from git_nn.store.base import read_bytes
from git_nn.store.local import LocalStore, open_store
from git_nn.transfer.holdings import ask
from git_nn.transfer.obtain import connect, names
from git_nn.transfer.push import missing_at


@dataclass(frozen=True, slots=True)
class Place:
    """Where objects may be. ``kind``: here, alternate or remote; ``missing`` of those asked for.

    With ``failure`` the place did not answer.
    """

    kind: str
    name: str
    label: str
    missing: frozenset[Oid] = frozenset()
    failure: GitNNError | None = None


def whereis(repo: Repository, store: LocalStore, pointers: Sequence[Pointer]) -> list[Place]:
    """What each place lacks of all that ``pointers`` need, the clone itself first."""
    wanted = list(dict.fromkeys(oid for p in pointers for oid in objects_of(store, p)))
    own = open_store(store.root).missing(wanted)
    found = [Place("here", "here", str(store.root), frozenset(own))]
    for path in alternates(repo):  # through an empty store, which only reads there
        lacking = open_store(store.root / "none", alternates=[path]).missing(wanted)
        found.append(Place("alternate", str(path), str(path), frozenset(lacking)))
    config = load(repo)
    return [*found, *(_remote(repo, store, config, name, wanted) for name in names(repo, config))]


def objects_of(store: LocalStore, pointer: Pointer) -> Iterator[Oid]:
    """Tensors, skeleton, and what that names where it can be read here."""
    yield from (entry.oid for entry in pointer.stored.values())
    yield pointer.skeleton
    try:
        yield from (
            blob.oid for blob in skeletons.decode(read_bytes(store, pointer.skeleton)).blobs()
        )
    except GitNNError:
        return


def _remote(
    repo: Repository, store: LocalStore, config: Config, name: str, wanted: Sequence[Oid]
) -> Place:
    label = name
    try:
        address = resolve(repo, config, name)
        label = address.label
        with connect(repo, config, address) as remote:
            holdings = ask(remote, store.folders.remote(remote.identity))
            missing = frozenset(missing_at(store, holdings, wanted))
            return Place("remote", name, remote.label, missing)
    except GitNNError as error:
        return Place("remote", name, label, failure=error)
