"""gc: takes away what nothing needs any more. First a plan, which is data; then its steps.

1. Only packs that were neither written nor relied upon for the grace time lose anything:
   a 'git add' elsewhere may rely on them before its pointer stands in any index. What a
   delta in such a young pack is based on stays, however old it is.
2. What to keep is found under the exclusive lock, where no batch is under way. A first
   walk before that does nearly all of the reading, so that the lock is short; what it
   found is kept, too.
3. Nothing is swept when anything that is needed cannot be read, or is missing and no remote
   was seen to have it.
4. Retired packs go to the trash, where readers still find them, and leave it for good
   only when they were in it for the grace time, and a day at least.
5. A pack is taken away for having better copies elsewhere only when these were decoded.
6. Each step leaves a whole store, so a gc may be killed anywhere and run again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from git_nn.errors import DamagedObjectError, MissingObjectError
from git_nn.gitio.repository import Repository
from git_nn.objects.oid import Oid
from git_nn.reach import Needs, find_needs
from git_nn.remote.seen import seen
from git_nn.store.copies import Copy, choose
from git_nn.store.frame import LIST
from git_nn.store.info import FrameInfo, PackInfo
from git_nn.store.local import LocalStore

DAY = 86_400.0
GRACE_DAYS = 14.0  # Git's own gc.pruneExpire
TRASH_LEAST = DAY  # also with --grace 0: the trash is what makes that safe
TMP_AGE = DAY
_PATIENCE = 30.0  # seconds; a gc that is started by a hook must not wait for its own git
WASTE = 0.25  # a pack is rewritten when more than this share of its bytes is of no use
SMALL = 8 * 1024 * 1024
MANY_SMALL = 50


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a gc would do, as data; sizes in stored bytes.

    ``rewrite`` are packs of which the copies ``keep`` go to new packs first. Of those and the
    others that go, ``retire`` hold something dead and go to the trash; every frame of
    ``drop`` has another copy. ``instead`` are copies on which we rely from then on.
    ``waiting`` is dead but too young. With ``blocked``, nothing is done.
    """

    pointers: int
    objects: int
    packs: int
    size: int
    rewrite: tuple[str, ...] = ()
    keep: tuple[Copy, ...] = ()
    retire: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    instead: tuple[Copy, ...] = ()
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
        new = carry_out(store, sweep, store.retire)
        deleted = store.empty_trash(max(grace_days * DAY, TRASH_LEAST))
    return Swept(sweep, tuple(new), tuple(deleted), cleaned)


def carry_out(store: LocalStore, sweep: Sweep, take_away: Callable[[str], None]) -> list[str]:
    """Do what a plan says, ``take_away`` what it retires; the packs written for that.

    Only inside ``exclusive``.
    """
    store.check(sweep.instead)
    new = store.rewrite(sweep.keep) if sweep.keep else []
    for names, remove in ((sweep.retire, take_away), (sweep.drop, store.drop)):
        for name in names:
            if name not in new:  # a rewritten pack may come out as the very same one
                remove(name)
    store.remove_stray_indexes()
    return new


def all_but(store: LocalStore, needs: Needs, free: Collection[Oid]) -> Sweep:
    """A plan that frees these objects and nothing else, be it needed or not.

    What the rest is made of or based upon stays.
    """
    packs = list(store.packs())
    frames = [frame for pack in packs for frame in pack.frames]
    going = {part for frame in frames if frame.id in free for part in (frame.id, *frame.parts)}
    empty = _empty(needs, packs)
    try:
        live = _closure(store, packs, {frame.id for frame in frames} - going)
    except DamagedObjectError as error:
        return replace(empty, blocked=(error.message,))
    return plan(empty, packs, live, math.inf)


def _empty(needs: Needs, packs: Sequence[PackInfo]) -> Sweep:
    size = sum(pack.size for pack in packs)
    return Sweep(needs.pointer_count, len(needs.objects), len(packs), size)


def _plan(store: LocalStore, needs: Needs, limit: float) -> Sweep:
    missing = set(store.missing(needs.objects))
    blocked = _obstacles(needs, len(missing - seen(store.folders, missing)))
    packs = list(store.packs())
    empty = _empty(needs, packs)
    if blocked:
        return replace(empty, blocked=tuple(blocked))
    try:
        here = {frame.id for pack in packs for frame in pack.frames}
        roots = [oid for oid in needs.objects if oid in here or oid not in missing]
        roots += [*_present(store, needs.mentioned), *_young_bases(packs, limit)]
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


def _obstacles(needs: Needs, lost: int) -> list[str]:
    found = []
    if needs.absent:
        found.append(
            f"{len(needs.absent)} objects of Git are not here (a partial clone?), "
            "so what they need is not known"
        )
    found += [item.why for item in needs.unreadable if item.blocks]
    if lost:
        found.append(f"{lost} objects that pointers need are not in the store")
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
    if not copies:  # in an alternate, which may have only the list of it, or not here at all
        with suppress(MissingObjectError):
            parts = [part for part in store.parts(oid) if part != oid]
    return below + parts


def plan(empty: Sweep, packs: Sequence[PackInfo], live: Collection[Oid], limit: float) -> Sweep:
    """Which packs go and which are rewritten, given what is live; ``limit`` is a time.

    Everything in a young pack is kept, like what is live, but not in every pack that has it:
    the copies to keep are chosen by store.copies.
    """
    young = {pack.name for pack in packs if pack.mtime >= limit}
    unsure = {frame.id for pack in packs if pack.name in young for frame in pack.frames}
    wanted = unsure.union(live)
    kept: dict[str, list[Copy]] = {pack.name: [] for pack in packs}
    chosen = choose(packs, wanted)
    for copy in chosen.values():
        kept[copy.pack].append(copy)
    rewrite = _to_rewrite(packs, kept)
    going = [pack for pack in packs if pack.name in rewrite or not kept[pack.name]]
    keep = tuple(copy for pack in going for copy in kept[pack.name])
    dead = {pack.name: _unwanted(pack, wanted) for pack in packs}
    leaving = {frame.id for pack in going for frame in pack.frames} & wanted
    waiting = sum(_unwanted(pack, live) for pack in packs if pack.name in young)
    return replace(
        empty,
        rewrite=tuple(pack.name for pack in going if kept[pack.name]),
        keep=keep,
        retire=tuple(pack.name for pack in going if dead[pack.name]),
        drop=tuple(pack.name for pack in going if not dead[pack.name]),
        instead=tuple(chosen[oid] for oid in leaving if chosen[oid].pack not in rewrite),
        freed=sum(pack.size for pack in going) - sum(copy.frame.stored_size for copy in keep),
        waiting=waiting,
    )


def _unwanted(pack: PackInfo, wanted: Collection[Oid]) -> int:
    """Stored bytes of a pack that nobody needs."""
    return sum(frame.stored_size for frame in pack.frames if frame.id not in wanted)


def _to_rewrite(packs: Sequence[PackInfo], kept: Mapping[str, list[Copy]]) -> set[str]:
    """Packs of which too little is kept, or not at its depth; and small ones if they are many."""
    chosen = set()
    for pack in packs:
        useful = sum(copy.frame.stored_size for copy in kept[pack.name])
        out_of_order = not all(copy.can_stand for copy in kept[pack.name])
        if kept[pack.name] and (out_of_order or useful < (1 - WASTE) * pack.size):
            chosen.add(pack.name)
    small = {pack.name for pack in packs if pack.size < SMALL and kept[pack.name]} - chosen
    return chosen | small if len(small) > MANY_SMALL else chosen
