"""recode: frames of the store coded again, smaller, into new packs.

1. Nothing is taken away here: a smaller copy stands beside the old one until gc, which
   chooses among copies, drops the pack of the old one.
2. Frames are published a round at a time, so a run that is killed has lost one round; what
   has been tried is written down after each and not tried again. That list is a cache.
3. A copy is written only where it is smaller, upon a base of which the store has a copy
   of less depth.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from itertools import chain, islice

from git_nn.errors import DamagedObjectError, MissingObjectError
from git_nn.objects.oid import DIGEST_SIZE, Oid
from git_nn.store import folders as places
from git_nn.store import frame, pack, system
from git_nn.store.base import Buffer
from git_nn.store.copies import MAX_DEPTH
from git_nn.store.folders import Folders
from git_nn.store.frame import Header
from git_nn.store.frames import Frames
from git_nn.store.staging import Staging

ROUND = 128  # segments, so at most 512 MiB of raw bytes
WORTH = 0.99  # of the old copy; less than one percent is not worth a new pack


@dataclass(frozen=True, slots=True)
class Job:
    """A segment to code again: what it is part of, and the segment before it in time.

    ``columns`` is the row length in elements of the matrix that it is cut from, 0 for none;
    ``first`` is the index in the matrix of the segment's first element.
    """

    oid: Oid
    dtype: str = "u8"
    base: Oid | None = None
    columns: int = 0
    first: int = 0


@dataclass(frozen=True, slots=True)
class Recoded:
    """What became of the jobs: how many were tried and were smaller; stored bytes of these."""

    tried: int = 0
    smaller: int = 0
    before: int = 0
    after: int = 0

    def __add__(self, other: Recoded) -> Recoded:
        return Recoded(
            self.tried + other.tried, self.smaller + other.smaller,
            self.before + other.before, self.after + other.after,
        )  # fmt: skip


def recode(
    frames: Frames,
    lock: Callable[[], AbstractContextManager[None]],
    target: int,
    jobs: Iterable[Job],
    progress: Callable[[int], object],
) -> Recoded:
    """Try every job that was not tried before; ``progress`` is told of raw bytes done.

    Where another process is doing the same, nothing is done.
    """
    fd = _locked(frames.shelf.folders)
    if fd is None:
        return Recoded()
    try:
        tried = _tried(fd)
        new = (job for job in _once(jobs) if job.oid not in tried)
        total = Recoded()
        for first in new:
            todo = [first, *islice(new, ROUND - 1)]
            with lock():
                total += _round(frames, target, todo, progress)
            _remember(fd, todo)
        system.utime(frames.shelf.folders.tried)
        return total
    finally:
        system.close(fd)


def _locked(folders: Folders) -> int | None:
    """The list of what was tried, locked; None where another process is at work."""
    places.make(folders.tried.parent)
    fd = system.open_lock(folders.tried)
    if system.try_lock(fd, exclusive=True):
        return fd
    system.close(fd)
    return None


def new_packs(folders: Folders) -> int:
    """See LocalStore.new_packs."""
    try:
        since = system.status(folders.tried).st_mtime
    except FileNotFoundError:
        since = 0.0
    packs = (path for _, path in places.list_packs(folders.packs))
    count = 0
    for path in packs:
        with suppress(FileNotFoundError):
            count += system.status(path).st_mtime > since
    return count


def _once(jobs: Iterable[Job]) -> Iterator[Job]:
    seen: set[Oid] = set()
    for job in jobs:
        if job.oid not in seen:
            seen.add(job.oid)
            yield job


def _round(
    frames: Frames, target: int, jobs: list[Job], progress: Callable[[int], object]
) -> Recoded:
    total = Recoded()
    staging = Staging(frames.shelf.folders, target=target)
    try:
        for old, coded in _coded(frames, jobs):
            total += Recoded(tried=1)
            if coded is not None and old is not None:
                staging.add(*coded)
                total += Recoded(0, 1, old.clen, coded[0].clen)
            progress(old.rawlen if old is not None else 0)
        for published in staging.publish():
            frames.shelf.add(published)
    finally:
        staging.drop()
    return total


def _coded(
    frames: Frames, jobs: list[Job]
) -> Iterator[tuple[Header | None, tuple[Header, Buffer] | None]]:
    """For each job its frame as it is, and a smaller one where there is one; in order."""
    threads = frames.shelf.folders.settings().threads
    waiting: deque[Future[tuple[Header | None, tuple[Header, Buffer] | None]]] = deque()
    with ThreadPoolExecutor(threads, "git-nn-recode") as pool:
        try:
            for job in chain(jobs, [None] * (threads + 1)):
                if job is not None:
                    waiting.append(pool.submit(_code, frames, job))
                if waiting and (job is None or len(waiting) > threads):
                    yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _code(frames: Frames, job: Job) -> tuple[Header | None, tuple[Header, Buffer] | None]:
    from git_nn.codec import best, table

    old = frames.smallest(job.oid)
    if old is None or old.kind != frame.DATA or not old.rawlen:
        return old, None
    with suppress(MissingObjectError, DamagedObjectError):
        raw = frames.load(job.oid)
        if isinstance(raw, tuple):
            return old, None
        base = _base(frames, job, old)
        below = None if base is None else frames.load(base.id)
        if isinstance(below, tuple):
            below = None
        codec, body = best.encode(raw, job.dtype, below, columns=job.columns, first=job.first)
        if len(body) < WORTH * old.clen:
            depth, on = 0, frame.NO_BASE
            if base is not None and table.needs_base(codec):
                depth, on = base.depth + 1, base.id
            header = Header(job.oid, frame.DATA, codec, old.hint, depth, on, len(body), old.rawlen)
            return old, (header, body)
    return old, None


def _base(frames: Frames, job: Job, old: Header) -> Header | None:
    """The frame to code against: the one before in time, or else what it is based on now."""
    for oid in (job.base, old.base):
        if oid is None or oid in (job.oid, frame.NO_BASE):
            continue
        found = frames.smallest(oid)
        if found is not None and found.rawlen == old.rawlen and found.depth < MAX_DEPTH:
            return found
    return None


def _tried(fd: int) -> set[Oid]:
    data = pack.read_at(fd, system.file_size(fd), 0)
    starts = range(0, len(data) - DIGEST_SIZE + 1, DIGEST_SIZE)
    return {Oid(data[start : start + DIGEST_SIZE]) for start in starts}


def _remember(fd: int, jobs: list[Job]) -> None:
    """What is not remembered is only tried once more."""
    with suppress(OSError):
        pack.write_all(fd, b"".join(job.oid for job in jobs))
