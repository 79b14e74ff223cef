"""The store in a folder: ``<git common dir>/nn``. Specified in docs/spec-store.md.

This class says what can be asked; how packs are found, written, taken away and checked
stands in shelf.py, batch.py, sweep.py, inspection.py and adoption.py. Opening a store
reads one small file; everything else is read when it is needed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from blake3 import blake3

from git_nn.errors import DamagedObjectError, MissingObjectError
from git_nn.objects.oid import Oid
from git_nn.store import folders as places
from git_nn.store import lock
from git_nn.store.base import Buffer
from git_nn.store.batch import LocalBatch
from git_nn.store.copies import Copy
from git_nn.store.failure import reported
from git_nn.store.folders import Folders
from git_nn.store.frame import NO_LIMIT, Header, Part
from git_nn.store.frames import Frames
from git_nn.store.info import Damage, PackInfo
from git_nn.store.settings import Settings
from git_nn.store.shelf import Shelf
from git_nn.store.staging import PACK_TARGET, Staging

if TYPE_CHECKING:
    from git_nn.store.receiving import Arrivals
    from git_nn.store.recode import Job, Recoded
    from git_nn.store.sending import Parcel

LOCK_TIMEOUT = 300.0
_DECODERS = 2


def open_store(
    root: Path, *, alternates: Sequence[Path] = (), settings: Callable[[], Settings] = Settings
) -> LocalStore:
    """The store at ``root``, which need not exist yet; ``alternates`` are only read.

    ``settings`` is only called when they are needed.
    """
    return LocalStore(root, alternates=alternates, settings=settings)


class LocalStore:
    """A Store (see store/base.py) with what gc, fsck and clone need besides."""

    def __init__(
        self,
        root: Path,
        *,
        alternates: Sequence[Path] = (),
        settings: Callable[[], Settings] = Settings,
        pack_target: int = PACK_TARGET,
        lock_timeout: float = LOCK_TIMEOUT,
    ) -> None:
        self.root = root
        self.folders = Folders(root, settings)
        self.shelf = Shelf(self.folders)
        lenders = [_lender(path) for path in alternates]
        self._frames = Frames(self.shelf, lenders, borrowed=False)
        self._pack_target = pack_target
        self._lock_timeout = lock_timeout
        self._alone = False
        with reported(root):
            places.check_format(self.folders)

    # What every store can do

    def size(self, oid: Oid) -> int | None:
        with reported(self.root):
            try:
                parts = self._frames.parts(oid)
            except (MissingObjectError, DamagedObjectError):
                return None
            whole = all(self._frames.has(part) for part in parts)
            return sum(part.length for part in parts) if whole else None

    def read(self, oid: Oid) -> Iterator[Buffer]:
        with reported(self.root):
            found = self._frames.load(oid)
            if isinstance(found, tuple):
                yield from self._whole(oid, found)
            else:
                yield found

    def read_range(self, oid: Oid, start: int, stop: int) -> bytes:
        found = bytearray()
        offset = 0
        with reported(self.root):
            for part in self._frames.parts(oid):
                if offset < stop and start < offset + part.length:
                    raw = memoryview(self._frames.segment(part))
                    found += raw[max(start - offset, 0) : stop - offset]
                offset += part.length
        return bytes(found)

    def batch(self) -> LocalBatch:
        return LocalBatch(self._frames, self.shared, self._pack_target)

    @property
    def threads(self) -> int:
        """How many segments may be worked on at once."""
        return self.folders.settings().threads

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for temporary files; gone after the block, or by gc after a crash."""
        staging = Staging(self.folders)
        try:
            with reported(self.root):
                folder = staging.folder()
            yield folder
        finally:
            staging.drop()

    def _whole(self, oid: Oid, parts: Sequence[Part]) -> Iterator[Buffer]:
        """The segments; the last is given only when all together match the oid."""
        whole = blake3()
        for number, raw in enumerate(self._decoded_ahead(parts), 1):
            whole.update(raw)
            if number == len(parts) and whole.digest() != oid:
                raise DamagedObjectError(oid.hex(), "its segments do not make up the object")
            yield raw

    def _decoded_ahead(self, parts: Sequence[Part]) -> Iterator[Buffer]:
        pool = ThreadPoolExecutor(min(_DECODERS, self.threads), "git-nn-decode")
        waiting: deque[Future[Buffer]] = deque()
        try:
            for part in parts:
                waiting.append(pool.submit(self._frames.segment, part))
                if len(waiting) > _DECODERS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    # What fsck and gc ask

    def packs(self) -> Iterator[PackInfo]:
        """Every pack, with all its frames; a list that cannot be read has no parts."""
        from git_nn.store import info

        with reported(self.root):
            self.shelf.refresh()
            for pack in self.shelf.packs():
                found = info.describe(pack)
                if found is not None:
                    yield found

    def parts(self, oid: Oid) -> list[Oid]:
        """The segments of an object; the object itself where it is a single one."""
        with reported(self.root):
            return [part.oid for part in self._frames.parts(oid)]

    def parts_within(self, oid: Oid, start: int, stop: int) -> list[Oid]:
        """The segments that hold bytes [start, stop) of an object."""
        found, offset = [], 0
        with reported(self.root):
            for part in self._frames.parts(oid):
                if offset < stop and start < offset + part.length:
                    found.append(part.oid)
                offset += part.length
        return found

    def missing(self, oids: Iterable[Oid]) -> list[Oid]:
        """Those of ``oids`` of which the frame, a segment or a base is not here, in order."""
        from git_nn.store import inspection

        with reported(self.root):
            self.shelf.refresh()
            return inspection.missing(self._frames.holders, oids)

    def rely(self, oids: Iterable[Oid]) -> bool:
        """Whether all of ``oids`` is here; if so, gc leaves it alone for its grace time."""
        wanted = list(oids)
        with self.batch() as batch:
            return not self.missing(wanted) and all(batch.rely(oid) for oid in wanted)

    def verify_pack(self, name: str) -> list[Damage]:
        """Everything that is wrong with a pack and its index; decodes every frame."""
        from git_nn.store import inspection

        with reported(self.root):
            return inspection.verify(self.folders, name, self._frames.base_of, self.read)

    def unindexed(self) -> list[str]:
        """Names of packs whose index is missing or damaged."""
        from git_nn.store import inspection

        with reported(self.root):
            return inspection.unindexed(self.folders)

    def rebuild_index(self, name: str) -> None:
        """Write the index of a pack anew, from a scan of the pack."""
        from git_nn.store import inspection

        with reported(self.root):
            inspection.rebuild_index(self.folders, name)
            self.shelf.reload(name)

    # From and to elsewhere

    def parcel(self, oids: Iterable[Oid], there: Callable[[Oid], Header | None]) -> Parcel:
        """What somebody lacks of ``oids``, who has the frames that ``there`` gives headers of."""
        from git_nn.store import sending

        with reported(self.root):
            self.shelf.refresh()
            return sending.plan(self._frames, oids, there)

    def has_frame(self, oid: Oid, *, below: int = NO_LIMIT) -> bool:
        """Whether a copy of less depth is in a pack, as far as packs have been listed."""
        with reported(self.root):
            entries = (pack.index().find(oid) for pack in self._frames.known_holders(oid))
            return any(entry is not None and entry.header.depth < below for entry in entries)

    @contextmanager
    def arrivals(self) -> Iterator[Arrivals]:
        """Take packs and frames in, for the block (see store/receiving.py)."""
        from git_nn.store.receiving import Arrivals

        with self.shared(), reported(self.root):
            with Arrivals(self.folders, self._pack_target) as arrivals:
                yield arrivals
            self.shelf.refresh()

    # Coding again

    def recode(
        self, jobs: Iterable[Job], progress: Callable[[int], object] = lambda _: None
    ) -> Recoded:
        """Write smaller copies of segments where there are any (see store/recode.py)."""
        from git_nn.store import recode

        with reported(self.root):
            self.shelf.refresh()
            return recode.recode(self._frames, self.shared, self._pack_target, jobs, progress)

    def new_packs(self) -> int:
        """How many packs were written since ``recode`` ran the last time."""
        from git_nn.store import recode

        with reported(self.root):
            return recode.new_packs(self.folders)

    # Locks

    def shared(self) -> AbstractContextManager[None]:
        """Keep everything in the store for the block: no sweep of any process runs meanwhile."""
        if self._alone:
            return nullcontext()
        return lock.held(self.folders, exclusive=False, timeout=self._lock_timeout)

    @contextmanager
    def exclusive(self, *, timeout: float | None = None) -> Iterator[None]:
        """Alone with the store: no batch of any process is under way. Nests."""
        if self._alone:
            yield
            return
        limit = self._lock_timeout if timeout is None else timeout
        with lock.held(self.folders, exclusive=True, timeout=limit):
            self._alone = True
            try:
                yield
            finally:
                self._alone = False

    # Taking away

    def retire(self, name: str) -> None:
        """Move a pack to the trash; only inside ``exclusive``."""
        from git_nn.store import sweep

        if not self._alone:
            raise RuntimeError("retire needs the exclusive lock")
        with reported(self.root):
            sweep.retire(self.folders, name)
            self.shelf.refresh()

    def check(self, copies: Iterable[Copy]) -> None:
        """Decode just these copies; DamagedObjectError for the first that is not whole."""
        from git_nn.store import sweep

        with reported(self.root):
            sweep.check(self.folders, copies, self._frames.base_of)

    def drop(self, name: str) -> None:
        """Delete a pack whose frames all stand in other packs; only inside ``exclusive``."""
        from git_nn.store import sweep

        if not self._alone:
            raise RuntimeError("drop needs the exclusive lock")
        with reported(self.root):
            sweep.drop(self.folders, name)
            self.shelf.refresh()

    def rewrite(self, keep: Collection[Copy]) -> list[str]:
        """Copy frames to new packs, each with the depth of its copy; the packs' names.

        Takes nothing away. DamagedObjectError, and no new pack, where one cannot be copied.
        """
        from git_nn.store import sweep

        with self.shared(), reported(self.root):
            new = sweep.rewrite(self.folders, self._pack_target, keep)
            self.shelf.refresh()
            return new

    def quarantine(self, name: str) -> list[str]:
        """Copy the readable frames of a pack to new packs, move it to bad/; the new names.

        Where they make up just the pack that it should have been, that takes its place.
        """
        from git_nn.store import sweep

        with self.exclusive(), reported(self.root):
            new = sweep.quarantine(self.folders, self._pack_target, name, self._frames.base_of)
            self.shelf.reload(name)
            return new

    def empty_trash(self, older_than_seconds: float) -> list[str]:
        """Delete what has been in the trash for longer; the names of the packs."""
        from git_nn.store import sweep

        with self.exclusive(), reported(self.root):
            return sweep.empty_trash(self.folders, older_than_seconds)

    def clean_tmp(self, older_than_seconds: float) -> list[str]:
        """Remove folders of writers that are dead, and older; their names."""
        from git_nn.store import sweep

        with reported(self.root):
            return sweep.clean_tmp(self.folders, older_than_seconds)

    def remove_stray_indexes(self) -> list[str]:
        """Remove indexes whose pack is gone; their names."""
        from git_nn.store import sweep

        with self.exclusive(), reported(self.root):
            return sweep.remove_stray_indexes(self.folders)

    def adopt_packs(self, other: LocalStore, oids: Iterable[Oid]) -> list[Oid]:
        """Bring the packs of ``other`` that hold ``oids`` here; those still missing after."""
        from git_nn.store import adoption

        wanted = list(oids)
        with self.shared(), reported(self.root):
            adoption.adopt(self.folders, other.shelf, self.missing(wanted))
            self.shelf.refresh()
        return self.missing(wanted)


def _lender(root: Path) -> Frames:
    folders = Folders(root)
    with reported(root):
        places.check_format(folders)
    return Frames(Shelf(folders), borrowed=True)
