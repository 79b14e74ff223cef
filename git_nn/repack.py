"""repack: what Git still needs, coded again as small as we can, whatever time that takes.

Adding a file must be quick, so it codes a tensor alone or against the version that the
index has. Here there is time for every codec (codec/best.py), and all of the history is known:
each tensor is coded against the version before it, the oldest first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod

from git_nn.bases import bases
from git_nn.earlier import pointer_at
from git_nn.errors import DamagedObjectError, MissingObjectError
from git_nn.gitio.objects import open_reader
from git_nn.gitio.repository import Repository
from git_nn.objects.oid import Oid
from git_nn.objects.pointer import Pointer, Stored
from git_nn.objects.tensor import stored_width
from git_nn.reach import find_needs
from git_nn.store.base import SEGMENT
from git_nn.store.local import LocalStore
from git_nn.store.recode import Job, Recoded


def repack(
    repo: Repository, store: LocalStore, progress: Callable[[int], object] = lambda _: None
) -> Recoded:
    """Write smaller copies of everything that pointers need; gc then drops the old ones."""
    return store.recode(jobs(repo, store), progress)


def jobs(repo: Repository, store: LocalStore) -> Iterator[Job]:
    """Every segment of every tensor, version by version, the oldest first."""
    latest: dict[bytes, Pointer] = {}
    pointed = find_needs(repo, store).pointers  # Git lists the newest first
    with open_reader(repo) as reader:
        for item in reversed(pointed):
            pointer = pointer_at(reader, item.blob)
            if pointer is not None:
                yield from _of_version(store, pointer, latest.get(item.path))
                latest[item.path] = pointer


def _of_version(store: LocalStore, pointer: Pointer, before: Pointer | None) -> Iterator[Job]:
    entries = list(pointer.stored.values())
    earlier = bases(entries, before)
    for entry in entries:
        old = earlier.get(entry.name)
        yield from _of_tensor(store, entry, old if old != entry.oid else None)


def _of_tensor(store: LocalStore, entry: Stored, old: Oid | None) -> Iterator[Job]:
    dtype = "u8" if entry.form else entry.dtype
    size = stored_width(entry.dtype)
    columns = prod(entry.shape[1:]) if len(entry.shape) > 1 and not entry.form else 0
    segments, below = _segments(store, entry.oid), _segments(store, old)
    for number, oid in enumerate(segments):
        base = below[number] if number < len(below) else None
        yield Job(oid, dtype, base, columns, number * SEGMENT // size)


def _segments(store: LocalStore, oid: Oid | None) -> Sequence[Oid]:
    if oid is None:
        return ()
    try:
        return store.parts(oid)
    except (MissingObjectError, DamagedObjectError):
        return ()
