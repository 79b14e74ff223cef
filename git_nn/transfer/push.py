"""push: what a remote lacks of the objects that some commits need.

1. Needs are found from the commits themselves, and what is missing from what the remote has
   now. Nothing is concluded from what was pushed before, by whom, or from where.
2. Packs, bases included, are there and whole before an index is, and indexes before Git's refs
   move: pre-push runs before.
3. What the remote had at the beginning is asked for again at the end: a 'git nn remote gc' may
   have run meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from git_nn.errors import MissingObjectError, PointerError, RemoteError
from git_nn.gitio.repository import Repository
from git_nn.objects.oid import Oid
from git_nn.reach import Needs, needs_of, place_of
from git_nn.remote.base import Begin, Outgoing, Remote, no_meter
from git_nn.store import sending
from git_nn.store.local import LocalStore
from git_nn.store.sending import Parcel
from git_nn.transfer.fetch import fetch
from git_nn.transfer.holdings import Holdings, ask, remember

_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Pushed:
    """``objects`` that the commits need, ``frames`` and ``size`` in bytes of what was sent."""

    objects: int
    frames: int = 0
    size: int = 0
    packs: int = 0


def needed(repo: Repository, store: LocalStore, holdings: Holdings, tips: Sequence[str]) -> Needs:
    """Everything that can be reached from ``tips`` needs. PointerError where that is not known.

    A skeleton that is not here is fetched: it tells of more.
    """
    needs = needs_of(repo, store, tips)
    hidden = [item for item in needs.unreadable if item.kind == "skeleton"]
    if hidden:
        fetch(store, holdings, store.missing(needs.objects))
        needs = needs_of(repo, store, tips)
    for item in needs.unreadable:
        if item.blocks:
            path = item.pointed.path.decode("utf-8", "backslashreplace")
            raise PointerError(
                f"what {path} needs is not known: {item.why}",
                hint="run 'git nn fetch --all', then 'git nn fsck'",
            )
    return needs


def plan(repo: Repository, store: LocalStore, holdings: Holdings, needs: Needs) -> Parcel:
    """What the remote lacks; MissingObjectError where that is not here either."""
    parcel = store.parcel(needs.objects, holdings.header)
    if parcel.missing:
        oid = parcel.missing[0]
        what = str(place_of(repo, needs, oid)) if oid in needs.objects else "a part of a tensor"
        raise MissingObjectError(
            oid.hex(),
            what=f"{what}, which {holdings.remote.label} lacks,",
            hint="run 'git nn fetch --all', then 'git nn fsck --repair'; to push without:"
            " git push --no-verify",
        )
    return parcel


def lacking(repo: Repository, store: LocalStore, remote: Remote, tips: Sequence[str]) -> Parcel:
    """What ``push`` would send now; raises as it does."""
    holdings = ask(remote, store.folders.remote(remote.identity))
    return plan(repo, store, holdings, needed(repo, store, holdings, tips))


def push(
    repo: Repository,
    store: LocalStore,
    remote: Remote,
    tips: Sequence[str],
    begin: Begin = no_meter,
) -> Pushed:
    """Send what ``remote`` lacks for ``tips``; ``begin`` is told how many bytes and gives a meter.

    Raises RemoteError, MissingObjectError, PointerError; then no ref of Git may move.
    """
    cache = store.folders.remote(remote.identity)
    holdings = ask(remote, cache)
    needs = needed(repo, store, holdings, tips)
    sent = Pushed(len(needs.objects))
    for _ in range(_ROUNDS):
        parcel = plan(repo, store, holdings, needs)
        if not parcel.copies:
            return sent
        packs = send(store, remote, parcel, begin)
        sent = _add(sent, parcel, packs)
        remember(cache, packs)
        holdings = ask(remote, cache)
    raise RemoteError(
        f"{remote.label} has not kept what was sent to it", hint="run 'git push' again"
    )


def send(
    store: LocalStore,
    remote: Remote,
    parcel: Parcel,
    begin: Begin = no_meter,
) -> list[Outgoing]:
    """Publish a parcel as packs, whatever else is missing there; the packs."""
    with store.scratch() as scratch, store.shared():
        packs = sending.write(parcel, Path(scratch) / "sending", remote.max_pack)
        outgoing = [
            Outgoing(pack.name, pack.index().pack_size, pack.path, pack.index().data)
            for pack in packs
        ]
        remote.publish(outgoing, begin(sum(pack.size for pack in outgoing)))
    return outgoing


def _add(sent: Pushed, parcel: Parcel, packs: Sequence[Outgoing]) -> Pushed:
    return Pushed(
        sent.objects,
        sent.frames + len(parcel.copies),
        sent.size + sum(pack.size for pack in packs),
        sent.packs + len(packs),
    )


def missing_at(store: LocalStore, holdings: Holdings, oids: Sequence[Oid]) -> list[Oid]:
    """Those of ``oids`` that could not be got back from the remote."""
    parcel = store.parcel(oids, holdings.header)
    lacking = {copy.frame.id for copy in parcel.copies} | set(parcel.missing)
    return [oid for oid in oids if oid in lacking or lacking & set(_parts(store, oid))]


def _parts(store: LocalStore, oid: Oid) -> list[Oid]:
    try:
        return store.parts(oid)
    except MissingObjectError:
        return [oid]
