"""smudge: a pointer -> the file, byte for byte, from the skeleton and the store.

No container is ever parsed here. Before a byte is written, the skeleton is held
against the pointer: a pointer that somebody merged by hand into nonsense is an error
that names the tensor, not a broken file.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from typing import Protocol
from zlib import crc32

from git_nn.errors import DamagedObjectError, MissingObjectError, PointerError
from git_nn.objects import skeleton as skeletons
from git_nn.objects.names import escape
from git_nn.objects.oid import Oid
from git_nn.objects.pointer import Pointer
from git_nn.objects.skeleton import Blob, Crc32, Crc32Chain, Literal, Part, Skeleton, chain_digits
from git_nn.store.base import SEGMENT, Store, read_bytes

_ALONE = 1024 * 1024  # bytes; a smaller file is not worth a thread


class Sink(Protocol):
    """Where a file is written; in any order, each byte once before it is read."""

    def write_at(self, offset: int, data: bytes | bytearray | memoryview) -> None: ...

    def read_at(self, offset: int, length: int) -> bytes: ...


@dataclass(frozen=True, slots=True)
class MemorySink:
    data: bytearray

    def write_at(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        self.data[offset : offset + len(data)] = data

    def read_at(self, offset: int, length: int) -> bytes:
        return bytes(memoryview(self.data)[offset : offset + length])


@dataclass(frozen=True, slots=True)
class FileSink:
    fd: int

    def write_at(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self.fd, view, offset)
            offset += written
            view = view[written:]

    def read_at(self, offset: int, length: int) -> bytes:
        return os.pread(self.fd, length, offset)


def load_skeleton(pointer: Pointer, store: Store) -> Skeleton:
    """The skeleton of ``pointer``, checked against it.

    Raises MissingObjectError, DamagedObjectError, or PointerError where the skeleton
    expects other tensors or lengths than the pointer has.
    """
    try:
        skeleton = skeletons.decode(read_bytes(store, pointer.skeleton))
    except MissingObjectError as error:
        raise MissingObjectError(error.oid_hex, what="the skeleton") from error
    check_fit(pointer, skeleton)
    return skeleton


def check_fit(pointer: Pointer, skeleton: Skeleton) -> None:
    """Raise PointerError unless each payload has the length that the skeleton expects."""
    expected = skeleton.payload_lengths()
    for name, entry in pointer.stored.items():
        if expected.pop(name, 0) != entry.length:
            raise PointerError(
                f"tensor {escape(name)} does not fit the skeleton of this pointer",
                hint="take one side with 'git checkout --ours' or 'git checkout --theirs'",
            )
    if expected:
        name = min(expected)
        raise PointerError(
            f"tensor {escape(name)} is in the skeleton but not in the pointer",
            hint="take one side with 'git checkout --ours' or 'git checkout --theirs'",
        )


def write_file(
    pointer: Pointer, skeleton: Skeleton, store: Store, sink: Sink, threads: int = 1
) -> None:
    """Write the whole file; ``sink`` is empty and ``skeleton`` is that of ``pointer``.

    ``sink`` is written by so many threads, never twice at one place.
    """
    places: dict[str, list[tuple[Part, int]]] = {}
    checksums: list[tuple[Crc32 | Crc32Chain, int]] = []
    copies: list[Callable[[], None]] = []
    position = 0
    for run in skeleton.runs:
        match run:
            case Literal():
                sink.write_at(position, run.data)
            case Blob():
                spans = [(run.length, position)]
                copies.append(partial(_copy, store, run.oid, "literal bytes", spans, sink))
            case Part():
                places.setdefault(run.payload, []).append((run, position))
            case Crc32() | Crc32Chain():
                checksums.append((run, position))
        position += run.length
    for name, parts in places.items():
        ordered = sorted(parts, key=lambda place: place[0].offset)
        spans = [(part.length, at) for part, at in ordered]
        what = f"tensor {escape(name)}"
        copies.append(partial(_copy, store, pointer.stored[name].oid, what, spans, sink))
    _run(copies, threads if position > _ALONE else 1)
    _write_checksums(checksums, sink)


def _run(jobs: list[Callable[[], None]], threads: int) -> None:
    """Do all jobs; of several that fail the first is raised, and no more are begun."""
    if threads == 1:
        for job in jobs:
            job()
        return
    with ThreadPoolExecutor(threads, "git-nn-write") as pool:
        try:
            for done in [pool.submit(job) for job in jobs]:
                done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _copy(store: Store, oid: Oid, what: str, spans: list[tuple[int, int]], sink: Sink) -> None:
    """Copy an object into ``spans`` of (length, offset in the file), which it fills exactly."""
    rest = iter(spans)
    room, at = 0, 0
    try:
        for piece in store.read(oid):
            view = memoryview(piece)
            while view:
                if not room:
                    room, at = next(rest)
                data = view[:room]
                sink.write_at(at, data)
                room, at, view = room - len(data), at + len(data), view[len(data) :]
    except MissingObjectError as error:
        raise MissingObjectError(error.oid_hex, what=what, hint=error.hint) from error
    except StopIteration:
        room = -1
    if room or next(rest, None):
        raise DamagedObjectError(oid.hex(), f"{what} has not the length that the file needs")


def _write_checksums(placed: list[tuple[Crc32 | Crc32Chain, int]], sink: Sink) -> None:
    """Chains first, since a checksum may cover one."""

    @cache
    def crc(start: int, stop: int) -> int:
        value = 0
        for offset in range(start, stop, SEGMENT):
            value = crc32(sink.read_at(offset, min(SEGMENT, stop - offset)), value)
        return value

    for run, at in placed:
        if isinstance(run, Crc32Chain):
            sink.write_at(at, chain_digits(crc(*span) for span in run.spans))
    for run, at in placed:
        if isinstance(run, Crc32):
            sink.write_at(at, crc(run.start, run.stop).to_bytes(4, "little"))
