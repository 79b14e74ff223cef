"""prune: free the space of what a remote holds and no checkout here needs.

1. An object goes only when a remote that was asked a moment ago has all of it, in packs of the
   right length (a Git LFS server: says that it has them), and when refs of that remote need it:
   else its garbage collection may take it.
2. What checkouts, indexes, stashes, operations under way and recent tips need stays, and so do
   skeletons, which tell what else is needed, and whatever no pointer in Git is known to need.
3. Nothing goes to the trash, out of which a reader would bring it back; what is kept of a pack is
   durable in another before that one is deleted, so it may be killed anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from git_nn.errors import GitNNError, UsageError
from git_nn.gc import Sweep, all_but, carry_out
from git_nn.gitio import revisions
from git_nn.gitio.config import load
from git_nn.gitio.repository import Repository
from git_nn.objects.oid import Oid
from git_nn.reach import Needs, find_needs, needs_at, needs_of, standing
from git_nn.remote.address import resolve
from git_nn.remote.base import Remote
from git_nn.remote.keys import KeyedRemote
from git_nn.remote.lfs import LfsRemote
from git_nn.store.local import LocalStore
from git_nn.transfer.choose import Choice, recent
from git_nn.transfer.holdings import ask
from git_nn.transfer.obtain import connect, names
from git_nn.transfer.push import missing_at
from git_nn.transfer.tips import tips_of

_PATIENCE = 30.0  # seconds to wait for others who use the store


@dataclass(frozen=True, slots=True)
class Terms:
    """What may go: models of these paths, of versions that are no tips of so many ``days``.

    ``remote`` is the one that must hold it; without, any.
    """

    choice: Choice
    days: float
    remote: str = ""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a prune does: ``free`` objects go, ``unheld`` would if a remote had them."""

    sweep: Sweep
    free: int
    unheld: int
    failures: tuple[GitNNError, ...]


def preview(repo: Repository, store: LocalStore, terms: Terms) -> Pruned:
    """What ``prune`` would do now. Asks the remotes."""
    needs = find_needs(repo, store)
    return _plan(repo, store, terms, needs, _ask(repo, store, terms, needs))


def prune(repo: Repository, store: LocalStore, terms: Terms) -> Pruned:
    """Do it; see the rules above. What is needed is found again when nobody else is at work."""
    first = find_needs(repo, store)
    held = _ask(repo, store, terms, first)
    with store.exclusive(timeout=_PATIENCE):
        needs = find_needs(repo, store, first)
        found = _plan(repo, store, terms, needs, held)
        if not found.sweep.blocked:
            carry_out(store, found.sweep, store.drop)
    return found


@dataclass(frozen=True, slots=True)
class _Held:
    """Of what is needed here, what remotes hold for refs of theirs; who did not answer."""

    objects: set[Oid]
    failures: tuple[GitNNError, ...]


def _ask(repo: Repository, store: LocalStore, terms: Terms, needs: Needs) -> _Held:
    config = load(repo)
    found: set[Oid] = set()
    failures: list[GitNNError] = []
    for name in [terms.remote] if terms.remote else names(repo, config):
        try:
            with connect(repo, config, resolve(repo, config, name)) as remote:
                found.update(_held_by(repo, store, remote, name, needs))
        except GitNNError as error:
            failures.append(error)
    return _Held(found, tuple(failures))


def _held_by(
    repo: Repository, store: LocalStore, remote: Remote, name: str, needs: Needs
) -> Iterator[Oid]:
    if _is_ours(store, remote):
        raise UsageError(f"{remote.label} is the store of this very clone")
    if isinstance(remote, LfsRemote):
        remote.doubt()
    theirs = needs_of(repo, store, tips_of(repo, name).here).objects
    wanted = [oid for oid in needs.objects if oid in theirs]
    lacking = set(missing_at(store, ask(remote, store.folders.remote(remote.identity)), wanted))
    yield from (oid for oid in wanted if oid not in lacking)


def _is_ours(store: LocalStore, remote: Remote) -> bool:
    """Whether a file that is made in our store appears over there, by whatever way."""
    if not isinstance(remote, KeyedRemote):
        return False
    with store.scratch() as scratch:
        probe = Path(scratch) / "probe"
        probe.write_bytes(b"")
        return remote.keys.size(probe.relative_to(store.root).as_posix()) is not None


def _plan(repo: Repository, store: LocalStore, terms: Terms, needs: Needs, held: _Held) -> Pruned:
    others = (pointed for pointed in needs.pointers if not terms.choice.has(pointed.path))
    kept = needs_at(repo, store, [*standing(repo, _current(repo, terms.days)), *others])
    stays = needs.mentioned | kept.mentioned | kept.objects.keys() | needs.skeletons
    here = {frame.id for pack in store.packs() for frame in pack.frames}
    old = (needs.objects.keys() & here) - stays
    free = old & held.objects
    return Pruned(all_but(store, needs, free), len(free), len(old - free), held.failures)


def _current(repo: Repository, days: float) -> list[str]:
    """What is checked out anywhere, stashed, under way, or a recent tip."""
    stashes = repo.git("log", "-g", "--format=%H %P", "refs/stash", "--", check=False).decode()
    return list(
        dict.fromkeys([*revisions.state_roots(repo), *recent(repo, days), *stashes.split()])
    )
