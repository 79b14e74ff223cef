"""batch: objects on their way into a local store. The contract is in store/base.py.

1. From its first object to its end a batch holds gc.lock shared, so whatever it finds in
   the store stays there; each pack it relies on is made fresh once.
2. Frames are encoded by a few threads and written in order, so equal input gives equal
   packs; only two segments more than threads are in memory.
3. A segment is coded against the same segment of its base where that is smaller and the
   chain stays short: reading one segment costs at most MAX_DEPTH + 1 others, and less
   than CHAIN_BYTES times its own length from disk.
4. After a failure the batch takes nothing more and cannot succeed.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Self

from blake3 import blake3

from git_nn.codec import hints, table
from git_nn.errors import DamagedObjectError, MissingObjectError, StoreError
from git_nn.objects.oid import Oid, oid_of
from git_nn.store import frame, system
from git_nn.store.base import Buffer
from git_nn.store.cut import Cutter, Segment
from git_nn.store.failure import reported
from git_nn.store.frame import Header, Part
from git_nn.store.frames import Frames
from git_nn.store.pack import PackFile
from git_nn.store.staging import Staging

MAX_DEPTH = 8
CHAIN_BYTES = 1.0  # stored bytes of the deltas below a new one, per raw byte
INLINE = 64 * 1024  # encoding less than this is not worth a thread

Coded = tuple[Header, Buffer]
Pending = Callable[[], Coded]
Lock = Callable[[], AbstractContextManager[None]]


class LocalBatch:
    """See store.base.Batch."""

    def __init__(self, frames: Frames, lock: Lock, target: int) -> None:
        self._frames = frames
        self._shelf = frames.shelf
        self._lock = lock
        self._held = ExitStack()
        self._begun = False
        self._failed = False
        self._mine: set[Oid] = set()
        self._fresh: set[PackFile] = set()
        self._cutter = Cutter()
        self._waiting: deque[tuple[Pending, Segment]] = deque()
        self._pool: ThreadPoolExecutor | None = None
        self._staging = Staging(frames.shelf.folders, target=target)

    @property
    def _threads(self) -> int:
        return self._shelf.folders.settings().threads

    def put(
        self, pieces: Iterable[Buffer], *, dtype: str = "u8", base: Oid | None = None
    ) -> tuple[Oid, int]:
        whole = blake3()
        parts: list[Part] = []
        bases = self._segments_of(base)
        # An OSError of the caller's own pieces must not look like one of the store.
        for segment in self._cutter.cut(pieces):
            whole.update(segment.data)
            oid = oid_of(segment.data) if parts else Oid(whole.digest())
            parts.append(Part(oid, len(segment.data)))
            with self._working():
                self._put_segment(oid, segment, dtype, next(bases, None))
        oid = Oid(whole.digest())
        with self._working():
            if not parts:
                self._put_segment(oid, Segment(b"", None), dtype, None)
            elif len(parts) > 1 and not self._known(oid):
                self._put_list(oid, parts, dtype)
        return oid, sum(part.length for part in parts)

    @contextmanager
    def _working(self) -> Iterator[None]:
        if self._failed:
            raise StoreError("this batch has failed before and stores nothing")
        try:
            with reported(self._shelf.folders.root):
                yield
        except BaseException:
            self._failed = True
            raise

    def _segments_of(self, base: Oid | None) -> Iterator[Part]:
        """The segments of ``base``; none where they are not here to be read."""
        if base is None:
            return iter(())
        try:
            return iter(self._frames.parts(base))
        except (MissingObjectError, DamagedObjectError):
            return iter(())

    def _put_segment(self, oid: Oid, segment: Segment, dtype: str, base: Part | None) -> None:
        if self._known(oid):
            self._cutter.give_back(segment)
            return
        self._mine.add(oid)
        job = partial(encode, oid, segment.data, dtype, self._base(base, len(segment.data)))
        if len(segment.data) < INLINE:
            self._write_in_turn(_ready(job()), segment)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, "git-nn-encode")
        self._write_in_turn(self._pool.submit(job).result, segment, ahead=self._threads + 2)

    def _base(self, part: Part | None, length: int) -> Base | None:
        """The base to code a segment against; None where there is none, or its chain is full."""
        if part is None or part.length != length:
            return None
        header = top = self._frames.header(part.oid)
        stored = 0
        while header is not None and header.base != frame.NO_BASE:
            stored += header.clen
            header = self._frames.header(header.base, below=header.depth)
        if top is None or header is None:
            return None
        if top.depth >= MAX_DEPTH or stored > CHAIN_BYTES * length:
            return None
        return Base(part.oid, top.depth, partial(self._frames.segment, part))

    def _put_list(self, oid: Oid, parts: Sequence[Part], dtype: str) -> None:
        self._mine.add(oid)
        body = frame.render_list(parts)
        length = sum(part.length for part in parts)
        hint = hints.hint_of(dtype)
        header = Header(oid, frame.LIST, table.RAW, hint, 0, frame.NO_BASE, len(body), length)
        self._write_in_turn(_ready((header, body)), Segment(b"", None))

    def _write_in_turn(self, coded: Pending, segment: Segment, *, ahead: int = 0) -> None:
        """Write ``coded`` after what waits already; few frames may wait."""
        busy = bool(self._waiting)
        self._waiting.append((coded, segment))
        self._write_down_to(self._threads + 2 if busy else ahead)

    def _write_down_to(self, count: int) -> None:
        while len(self._waiting) > count:
            coded, segment = self._waiting.popleft()
            self._staging.add(*coded())
            self._cutter.give_back(segment)

    def rely(self, oid: Oid) -> bool:
        """Whether the object and its segments are in a store, and could be made fresh."""
        segments = (part.oid for part in self._segments_of(oid))
        return self._known(oid) and all(map(self._known, segments))

    def _known(self, oid: Oid) -> bool:
        """Whether the frame is in this batch, or in a store where it could be made fresh."""
        self._begin()
        if oid in self._mine:
            return True
        return any(self._freshen(pack) for pack in self._frames.known_holders(oid))

    def _begin(self) -> None:
        if not self._begun:
            self._held.enter_context(self._lock())
            self._shelf.refresh()
            self._begun = True

    def _freshen(self, pack: PackFile) -> bool:
        if pack in self._fresh:
            return True
        try:
            system.utime(pack.path)
        except FileNotFoundError:
            self._shelf.forget(pack)
            return False
        except OSError as error:
            if error.errno != errno.EROFS:  # nobody takes anything away there
                return False
        self._fresh.add(pack)
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                with self._working():
                    self._publish()
        finally:
            if self._pool is not None:
                self._pool.shutdown(cancel_futures=True)
            self._waiting.clear()
            self._staging.drop()
            self._held.close()

    def _publish(self) -> None:
        self._write_down_to(0)
        for pack in self._staging.publish():
            self._shelf.add(pack)


def _ready(coded: Coded) -> Pending:
    return lambda: coded


@dataclass(frozen=True, slots=True)
class Base:
    """A segment of the store to code another one against."""

    oid: Oid
    depth: int
    load: Callable[[], Buffer]


def encode(oid: Oid, data: Buffer, dtype: str, base: Base | None) -> Coded:
    """A data frame; a delta where that is smaller and ``base`` can be read."""
    raw = None
    if base is not None:
        with suppress(MissingObjectError, DamagedObjectError):
            raw = base.load()
    codec, body = table.encode(data, dtype, raw)
    below, depth = frame.NO_BASE, 0
    if base is not None and table.needs_base(codec):
        below, depth = base.oid, base.depth + 1
    hint = hints.hint_of(dtype)
    return Header(oid, frame.DATA, codec, hint, depth, below, len(body), len(data)), body
