"""gc: takes away what nothing needs any more. First a plan, which is data; then its steps.

1. Only packs that were neither written nor relied upon for the grace time lose anything:
   a 'git add' elsewhere may rely on them before its pointer stands in any index. What a
   delta in such a young pack is based on stays, however old it is.
2. What to keep is found under the exclusive lock, where no batch is under way. A first
   walk before that does nearly all of the reading, so that the lock is short; what it
   found is kept, too.
3. Nothing is swept when anything that is needed is missing or cannot be read.
4. Retired packs go to the trash, where readers still find them, and leave it for good
   only when they were in it for the grace time, and a day at least.
5. Each step leaves a whole store, so a gc may be killed anywhere and run again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from git_nn.errors import DamagedObjectError, MissingObjectError
from git_nn.gitio.repository import Repository
from git_nn.objects.oid import Oid
from git_nn.reach import Needs, find_needs
from git_nn.store.frame import LIST
from git_nn.store.info import FrameInfo, PackInfo
from git_nn.store.local import LocalStore

DAY = 86_400.0
GRACE_DAYS = 14.0  # Git's own gc.pruneExpire
TRASH_LEAST = DAY  # also with --grace 0: the trash is what makes that safe
TMP_AGE = DAY
_PATIENCE = 30.0  # seconds; a gc that is started by a hook must not wait for its own git
WASTE = 0.5  # a pack is rewritten when more than this share of its bytes is dead
SMALL = 8 * 1024 * 1024
MANY_SMALL = 50


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a gc would do, as data; sizes in stored bytes.

    ``retire`` are packs without anything live, ``rewrite`` packs of which ``keep`` is copied
    to new ones first. ``waiting`` is dead but too young. With ``blocked``, nothing is done.
    """

    pointers: int
    objects: int
    packs: int
    size: int
    retire: tuple[str, ...] = ()
    rewrite: tuple[str, ...] = ()
    keep: frozenset[Oid] = frozenset()
    freed: int = 0
    waiting: int = 0
    blocked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Swept:
    """What a gc did."""

    sweep: Sweep
    new_packs: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    cleaned: tuple[str, ...] = ()


def preview(repo: Repository, store: LocalStore, *, grace_days: float, now: float) -> Sweep:
    """What ``collect`` would do now, without the lock and without doing it."""
    needs = find_needs(repo, store)
    return _plan(store, needs, now - grace_days * DAY)


def collect(repo: Repository, store: LocalStore, *, grace_days: float, now: float) -> Swept:
    """Sweep the store of ``repo``; see the rules above."""
    first = find_needs(repo, store)
    with store.exclusive(timeout=_PATIENCE):
        needs = find_needs(repo, store, first)
        sweep = _plan(store, needs, now - grace_days * DAY)
        cleaned = tuple(store.clean_tmp(TMP_AGE))
        if sweep.blocked:
            return Swept(sweep, cleaned=cleaned)
        new = store.rewrite(sweep.keep, sweep.rewrite) if sweep.rewrite else []
        for name in (*sweep.retire, *sweep.rewrite):
            if name not in new:  # a rewritten pack may come out as the very same one
                store.retire(name)
        store.remove_stray_indexes()
        deleted = store.empty_trash(max(grace_days * DAY, TRASH_LEAST))
    return Swept(sweep, tuple(new), tuple(deleted), cleaned)


def _plan(store: LocalStore, needs: Needs, limit: float) -> Sweep:
    blocked = _obstacles(store, needs)
    packs = list(store.packs())
    empty = Sweep(
        needs.pointer_count, len(needs.objects), len(packs), sum(pack.size for pack in packs)
    )
    if blocked:
        return replace(empty, blocked=tuple(blocked))
    try:
        roots = [*needs.objects, *_present(store, needs.mentioned), *_young_bases(packs, limit)]
        live = _closure(store, packs, roots)
    except (MissingObjectError, DamagedObjectError) as error:
        return replace(empty, blocked=(error.message,))
    return plan(empty, packs, live, limit)


def _present(store: LocalStore, oids: Collection[Oid]) -> list[Oid]:
    """A broken pointer may mention what was never there; that is no reason to stop."""
    missing = set(store.missing(oids))
    return [oid for oid in oids if oid not in missing]


def _young_bases(packs: Sequence[PackInfo], limit: float) -> list[Oid]:
    young = (frame for pack in packs if pack.mtime >= limit for frame in pack.frames)
    return [frame.base for frame in young if frame.base is not None]


def _obstacles(store: LocalStore, needs: Needs) -> list[str]:
    found = []
    if needs.absent:
        found.append(
            f"{len(needs.absent)} objects of Git are not here (a partial clone?), "
            "so what they need is not known"
        )
    found += [item.why for item in needs.unreadable if item.blocks]
    missing = store.missing(needs.objects)
    if missing:
        found.append(f"{len(missing)} objects that pointers need are not in the store")
    return found


def _closure(store: LocalStore, packs: Sequence[PackInfo], roots: Iterable[Oid]) -> set[Oid]:
    """``roots`` with the segments of lists and the bases of deltas."""
    frames: dict[Oid, list[FrameInfo]] = {}
    for pack in packs:
        for frame in pack.frames:
            frames.setdefault(frame.id, []).append(frame)
    live: set[Oid] = set()
    waiting = list(roots)
    while waiting:
        oid = waiting.pop()
        if oid not in live:
            live.add(oid)
            waiting += _below(store, frames, oid)
    return live


def _below(store: LocalStore, frames: Mapping[Oid, list[FrameInfo]], oid: Oid) -> list[Oid]:
    """What a frame refers to, in every copy; a list that cannot be read is an error."""
    copies = frames.get(oid, [])
    below = [copy.base for copy in copies if copy.base is not None]
    parts = [part for copy in copies for part in copy.parts]
    if not parts and any(copy.kind == LIST for copy in copies):
        parts = store.parts(oid)
    if not copies:  # in an alternate, which may have only the list of it
        parts = [part for part in store.parts(oid) if part != oid]
    return below + parts


def plan(empty: Sweep, packs: Sequence[PackInfo], live: Collection[Oid], limit: float) -> Sweep:
    """Which packs go and which are rewritten, given what is live; ``limit`` is a time.

    A frame with copies in two packs is live in both: a copy is dropped only where the
    packs are written as one.
    """
    dead = {pack.name: _dead_bytes(pack, live) for pack in packs}
    young = {pack.name for pack in packs if pack.mtime >= limit}
    old = [pack for pack in packs if pack.name not in young]
    retire = [pack for pack in old if all(frame.id not in live for frame in pack.frames)]
    gone = {pack.name for pack in retire}
    wasteful = [
        pack for pack in old if pack.name not in gone and dead[pack.name] > WASTE * pack.size
    ]
    chosen = wasteful + _small(packs, gone | {pack.name for pack in wasteful})
    kept = {
        frame.id: frame.stored_size
        for pack in chosen
        for frame in pack.frames
        if frame.id in live or pack.name in young
    }
    return replace(
        empty,
        retire=tuple(pack.name for pack in retire),
        rewrite=tuple(pack.name for pack in chosen),
        keep=frozenset(kept),
        freed=sum(pack.size for pack in (*retire, *chosen)) - sum(kept.values()),
        waiting=sum(dead[pack.name] for pack in packs if pack.name in young),
    )


def _dead_bytes(pack: PackInfo, live: Collection[Oid]) -> int:
    return sum(frame.stored_size for frame in pack.frames if frame.id not in live)


def _small(packs: Sequence[PackInfo], taken: Collection[str]) -> list[PackInfo]:
    """The small packs, where they are so many that they are better written as few."""
    found = [pack for pack in packs if pack.size < SMALL and pack.name not in taken]
    return found if len(found) > MANY_SMALL else []
