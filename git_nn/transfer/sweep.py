"""sweep: take away what no ref needs at a remote that is a folder or a bucket. First a plan.

1. What is needed follows from the refs that every Git remote whose weights are at the same place
   has now, and from this clone's own. All of their commits must be here, or nothing is done.
2. A pack goes whole or stays: it stays while any frame of it is needed, and while it is younger
   than the grace time, since a push sends packs before it moves refs.
3. A pack goes to the trash, and comes back when refs have moved meanwhile, or when a later sweep
   finds that they need it. It is deleted once it was in the trash for the grace time.
"""

from __future__ import annotations

import time
from calendar import timegm
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from git_nn.errors import GitNNError, RemoteError, UsageError
from git_nn.gitio.config import Config, load
from git_nn.gitio.repository import Repository
from git_nn.objects.oid import Oid
from git_nn.remote.address import resolve
from git_nn.remote.keys import KeyedRemote, Trashed
from git_nn.store import frame
from git_nn.store import index as indexes
from git_nn.store.folders import INDEX
from git_nn.store.frame import HEADER_SIZE, DamageError
from git_nn.store.index import Index
from git_nn.store.local import LocalStore
from git_nn.transfer.fetch import fetch_list
from git_nn.transfer.holdings import Holdings, ask
from git_nn.transfer.obtain import names
from git_nn.transfer.push import needed
from git_nn.transfer.tips import tips_of

DAY = 86_400.0
GRACE_DAYS = 14.0
_LEAST = DAY  # in the trash, also with a grace time of nothing
_TIME = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a sweep does, sizes in bytes.

    ``retire`` go to the trash, ``freed`` in all; ``waiting`` is unneeded but too young, ``waste``
    unneeded in packs that stay. ``restore`` comes back from the trash, ``delete`` goes for good.
    """

    packs: int
    size: int
    retire: tuple[str, ...]
    freed: int
    waiting: int
    waste: int
    restore: tuple[Trashed, ...]
    delete: tuple[Trashed, ...]


def plan(
    repo: Repository, store: LocalStore, remote: KeyedRemote, name: str, limit: float
) -> Sweep:
    """What ``sweep`` would do; ``limit`` is a time, younger packs stay. Changes nothing there.

    UsageError where refs of the remote are not here or do not tell all, PointerError or
    RemoteError where it cannot be known what they need.
    """
    _refuse(repo, remote, name)
    return _plan(store, remote, _needed(repo, store, remote, _tips(repo, name)), limit)


def sweep(
    repo: Repository, store: LocalStore, remote: KeyedRemote, name: str, limit: float
) -> Sweep:
    """Do it; raises as ``plan``. RemoteError, and all of it stays, where refs moved meanwhile."""
    _refuse(repo, remote, name)
    tips = _tips(repo, name)
    found = _plan(store, remote, _needed(repo, store, remote, tips), limit)
    remote.restore(found.restore)
    stamp = time.strftime(_TIME, time.gmtime())
    remote.retire(found.retire, stamp)
    if _now(repo, name) != tips:
        taken = set(found.retire)
        remote.restore([t for t in remote.trash() if t.time == stamp and t.name in taken])
        raise RemoteError(
            f"refs of {name} moved meanwhile, so all of it stays",
            hint="run 'git fetch', then again",
        )
    remote.discard(found.delete)
    return found


def _tips(repo: Repository, name: str) -> list[str]:
    """What the refs of every Git remote with this place for its weights, and ours, point to."""
    own = repo.git("for-each-ref", "--format=%(objectname)").decode().split()
    found = dict.fromkeys(own)
    for other in _sharing(repo, load(repo), name):
        tips = tips_of(repo, other)
        for ref in tips.absent:
            raise UsageError(
                f"{ref} of {other} is not in this clone, so what it needs is not known",
                hint=f"run 'git fetch {other} {ref}'",
            )
        found |= dict.fromkeys(tips.here)
    return sorted(found)


def _now(repo: Repository, name: str) -> list[str] | None:
    """As ``_tips``; None where they cannot be known any more."""
    try:
        return _tips(repo, name)
    except GitNNError:
        return None


def _sharing(repo: Repository, config: Config, name: str) -> Iterator[str]:
    """``name``, and the other remotes whose weights are at the same address."""
    yield name
    address = resolve(repo, config, name).label
    for other in names(repo, config):
        with suppress(UsageError):
            if other != name and resolve(repo, config, other).label == address:
                yield other


def _refuse(repo: Repository, remote: KeyedRemote, name: str) -> None:
    """UsageError where refs do not tell all: in a shallow clone, and of a work tree over there."""
    if repo.git("rev-parse", "--is-shallow-repository").strip() == b"true":
        raise UsageError(
            "this clone is shallow, so what older commits need is not known",
            hint=f"run 'git fetch --unshallow {name}'",
        )
    beside = resolve(repo, load(repo), name).beside
    if beside and (remote.keys.size("../index") or any(remote.keys.list("../worktrees/"))):
        raise UsageError(
            f"{remote.label} belongs to a work tree, whose index may need more than refs",
            hint="run 'git nn gc' there",
        )


def _needed(
    repo: Repository, store: LocalStore, remote: KeyedRemote, tips: Sequence[str]
) -> Collection[Oid]:
    holdings = ask(remote, store.folders.remote(remote.identity))
    needs = needed(repo, store, holdings, tips)
    if needs.absent:
        raise UsageError(
            f"{len(needs.absent)} objects of Git are not here (a partial clone?), so what they need"
            " is not known",
            hint="sweep from a full clone",
        )
    return needs.objects.keys() | needs.mentioned


def _plan(store: LocalStore, remote: KeyedRemote, roots: Collection[Oid], limit: float) -> Sweep:
    holdings = ask(remote, store.folders.remote(remote.identity))
    if damage := holdings.damage():  # what is needed for its frames is not known
        raise damage
    trash = _indexes(remote, remote.trash())
    everything = {**{item.name: index for item, index in trash}, **holdings.packs}
    live = _closure(store, holdings, everything, roots)
    kept = remote.kept()
    published = {pack.name for pack in remote.packs()}
    dead = [name for name in kept if _is_dead(name, holdings.packs, published, live)]
    retire = tuple(sorted(name for name in dead if kept[name].modified < limit))
    needy = {item.name for item, index in trash if _brings(index, live, holdings)}
    bin_ = remote.trash()
    return Sweep(
        packs=len(kept),
        size=sum(one.size for one in kept.values()),
        retire=retire,
        freed=sum(kept[name].size for name in retire),
        waiting=sum(kept[name].size for name in dead) - sum(kept[name].size for name in retire),
        waste=sum(_waste(index, live) for index in holdings.packs.values()
                  if index.pack_name not in dead),
        restore=tuple(item for item in bin_ if item.name in needy),
        delete=tuple(item for item in bin_ if item.name not in needy and _is_old(item, limit)),
    )  # fmt: skip


def _is_dead(
    name: str, packs: Mapping[str, Index], published: Collection[str], live: Collection[Oid]
) -> bool:
    """Whether nothing of a pack is needed, or it was never published; a damaged one stays."""
    if name in packs:
        return not any(entry.header.id in live for entry in packs[name])
    return name not in published


def _indexes(remote: KeyedRemote, items: Sequence[Trashed]) -> list[tuple[Trashed, Index]]:
    found = []
    for item in items:
        data = remote.trashed_index(item) if item.suffix == INDEX else None
        if data is not None:
            with suppress(DamageError):
                found.append((item, indexes.parse(data, item.name)))
    return found


def _brings(index: Index, live: Collection[Oid], holdings: Holdings) -> bool:
    """Whether a pack in the trash has something that is needed and in no published pack."""
    return any(
        entry.header.id in live and holdings.find(entry.header.id) is None for entry in index
    )


def _waste(index: Index, live: Collection[Oid]) -> int:
    return sum(HEADER_SIZE + entry.header.clen for entry in index if entry.header.id not in live)


def _is_old(item: Trashed, limit: float) -> bool:
    return timegm(time.strptime(item.time, _TIME)) < min(limit, time.time() - _LEAST)


def _closure(
    store: LocalStore, holdings: Holdings, packs: Mapping[str, Index], roots: Collection[Oid]
) -> set[Oid]:
    """``roots`` with the segments of lists and, of every copy, the bases."""
    below: dict[Oid, set[Oid]] = {}
    lists: set[Oid] = set()
    for index in packs.values():
        for entry in index:
            header = entry.header
            found = below.setdefault(header.id, set())
            if header.depth:
                found.add(header.base)
            if header.kind == frame.LIST:
                lists.add(header.id)
    live: set[Oid] = set()
    waiting = list(roots)
    while waiting:
        oid = waiting.pop()
        if oid not in live:
            live.add(oid)
            waiting += below.get(oid, ())
            waiting += _parts(store, holdings, oid) if oid in lists else ()
    return live


def _parts(store: LocalStore, holdings: Holdings, oid: Oid) -> list[Oid]:
    """The segments of an object; GitNNError where nobody can tell them."""
    if not store.has_frame(oid):
        fetch_list(store, holdings, oid)
    return store.parts(oid)
