"""du: where the bytes are, per file, version and tensor.

1. Every number is a sum over frames as they stand in packs, each counted once in its sum;
   nothing is estimated. A delta counts only its own bytes: its base counts where that
   belongs as an object of its own.
2. Saved is what a frame yields less the length of its body: by compression for one that
   stands alone, by deltas (and their compression) for one upon a base. Saved by sharing is
   what the versions of a file name less what their frames yield.
3. Read are pointers, skeletons and the indexes of packs, never a payload. Memory grows
   with the distinct frames, not with versions times tensors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from git_nn.errors import DamagedObjectError, MissingObjectError, PointerError
from git_nn.gitio import history
from git_nn.gitio.history import Version
from git_nn.gitio.objects import Reader, open_reader
from git_nn.gitio.repository import Repository
from git_nn.objects import pointer as pointers
from git_nn.objects import skeleton as skeletons
from git_nn.objects.oid import Oid
from git_nn.objects.pointer import looks_like_pointer
from git_nn.reach import find_needs
from git_nn.store.base import read_bytes
from git_nn.store.frame import HEADER_SIZE, LIST
from git_nn.store.info import FrameInfo
from git_nn.store.local import LocalStore
from git_nn.worktree import Tracked, tracked

CONTAINER = ""  # in place of a tensor's name: the skeleton and the blobs that it names
_SKELETON = re.compile(rb"^skeleton ([0-9a-f]{64}) ", re.MULTILINE)
_STANZA = re.compile(rb"tensor ([^\n]+)\n  [^ \n]+ [^ \n]+ ([0-9a-f]{64})(?: |\Z)")


@dataclass(frozen=True, slots=True)
class Amount:
    """A set of frames, in bytes: what they yield, what they take in packs, what was saved."""

    raw: int = 0
    stored: int = 0
    by_compression: int = 0
    by_deltas: int = 0


@dataclass(frozen=True, slots=True)
class VersionUsage:
    """One content that a path had; ``commit`` is the first that had it, '' for the index.

    ``added`` are the frames that no earlier version of the path has.
    """

    commit: str
    subject: str
    size: int
    stored: Amount
    added: Amount


@dataclass(frozen=True, slots=True)
class TensorUsage:
    """A tensor of the version in the index, by its name as the pointer writes it.

    ``stored`` leaves out frames of tensors above it in the same table. ``history`` are
    all its ``versions`` in all versions of the file.
    """

    name: str
    size: int
    stored: Amount
    versions: int
    history: Amount


@dataclass(frozen=True, slots=True)
class FileUsage:
    """A tracked file: the version in the index, and all versions in history, oldest first.

    ``size`` is the file's; ``shared`` is the part of ``stored.stored`` that other versions
    use, too. ``absent`` objects are not in this store. ``in_git``: Git has the raw bytes.
    """

    path: bytes
    size: int
    stored: Amount
    shared: int
    history: Amount
    by_sharing: int
    versions: tuple[VersionUsage, ...]
    tensors: tuple[TensorUsage, ...]
    absent: int
    in_git: bool


@dataclass(frozen=True, slots=True)
class StoreUsage:
    """All packs, in stored bytes: ``size`` is needed, unneeded, ``copies`` and headers.

    ``copies`` are frames that another pack has as well. Where ``complete`` is false, not
    all that Git needs could be read, and ``unneeded`` is an upper bound.
    """

    packs: int
    size: int
    needed: int
    unneeded: int
    copies: int
    complete: bool


@dataclass(frozen=True, slots=True)
class Usage:
    """Everything that 'git nn du' tells; ``total`` and ``current`` count shared frames once."""

    files: tuple[FileUsage, ...]
    current: Amount
    total: Amount
    store: StoreUsage


def usage(
    repo: Repository, store: LocalStore, paths: Sequence[bytes] = (), *, tensors: bool = False
) -> Usage:
    """Where the bytes of the tracked files at ``paths`` are, or of all; and of the store.

    Versions are those of all refs and HEAD, and the index.
    """
    ledger = _read_ledger(store)
    items = tracked(repo, paths)
    known = history.versions(repo, [(item.path, item.blob) for item in items])
    with open_reader(repo.with_env(GIT_NO_LAZY_FETCH="1")) as reader:
        reading = _Reading(reader, store, ledger)
        counted = [_count(item, known[item.path], reading, tensors=tensors) for item in items]
    return Usage(
        tuple(one.usage for one in counted),
        ledger.amount(set().union(*(one.current for one in counted))),
        ledger.amount(set().union(*(one.frames for one in counted))),
        _store_usage(repo, store, ledger),
    )


# -- the frames of the store ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Part:
    """A tensor's payload, or the container: its objects, and those of its frames that are here.

    ``length`` are the raw bytes of the objects; ``absent`` are those that are not all here.
    """

    name: bytes
    oids: tuple[Oid, ...]
    length: int
    frames: tuple[Oid, ...]
    absent: tuple[Oid, ...]


@dataclass(slots=True)
class _Ledger:
    """The smallest copy of every frame, and the others."""

    packs: int = 0
    size: int = 0
    frames: dict[Oid, FrameInfo] = field(default_factory=dict)
    copies: dict[Oid, list[FrameInfo]] = field(default_factory=dict)

    def part(self, name: bytes, oids: Sequence[Oid]) -> _Part:
        """What is here of some objects: of a list, the list and its segments."""
        here = [self.frames[oid] for oid in oids if oid in self.frames]
        frames = {frame.id for frame in here}.union(*(frame.parts for frame in here))
        absent = tuple(oid for oid in oids if not self._is_whole(oid))
        length = sum(frame.rawlen for frame in here)
        return _Part(name, tuple(oids), length, tuple(frames & self.frames.keys()), absent)

    def _is_whole(self, oid: Oid) -> bool:
        found = self.frames.get(oid)
        return found is not None and all(part in self.frames for part in found.parts)

    def amount(self, oids: Iterable[Oid]) -> Amount:
        raw = stored = alone = deltas = 0
        for frame in map(self.frames.__getitem__, oids):
            stored += HEADER_SIZE + frame.clen
            if frame.kind == LIST:
                continue
            raw += frame.rawlen
            if frame.base is None:
                alone += frame.rawlen - frame.clen
            else:
                deltas += frame.rawlen - frame.clen
        return Amount(raw, stored, alone, deltas)

    def closure(self, roots: Iterable[Oid]) -> set[Oid]:
        """The frames of ``roots``, and all bases below them, in any copy."""
        live: set[Oid] = set()
        waiting = [oid for oid in roots if oid in self.frames]
        while waiting:
            oid = waiting.pop()
            if oid in live:
                continue
            live.add(oid)
            for frame in (self.frames[oid], *self.copies.get(oid, ())):
                below = frame.parts if frame.base is None else (frame.base,)
                waiting += (one for one in below if one in self.frames)
        return live


def _read_ledger(store: LocalStore) -> _Ledger:
    ledger = _Ledger()
    for pack in store.packs():
        ledger.packs += 1
        ledger.size += pack.size
        for frame in pack.frames:
            known = ledger.frames.setdefault(frame.id, frame)
            if known is frame:
                continue
            if frame.stored_size < known.stored_size:
                ledger.frames[frame.id], frame = frame, known  # noqa: PLW2901 - they change places
            ledger.copies.setdefault(frame.id, []).append(frame)
    return ledger


def _store_usage(repo: Repository, store: LocalStore, ledger: _Ledger) -> StoreUsage:
    needs = find_needs(repo, store)
    live = ledger.closure({*needs.objects, *needs.mentioned})
    dead = ledger.frames.keys() - live
    return StoreUsage(
        ledger.packs,
        ledger.size,
        sum(ledger.frames[oid].stored_size for oid in live),
        sum(ledger.frames[oid].stored_size for oid in dead),
        sum(frame.stored_size for frames in ledger.copies.values() for frame in frames),
        needs.complete,
    )


# -- the versions of one file ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Content:
    """The size of a file, and its parts, the container last; none where it is no pointer."""

    size: int
    parts: tuple[_Part, ...] = ()


@dataclass(frozen=True, slots=True)
class _Counted:
    """A file, with its frames for sums over many files."""

    usage: FileUsage
    current: set[Oid]
    frames: set[Oid]


def _count(
    item: Tracked, versions: Sequence[Version], reading: _Reading, *, tensors: bool
) -> _Counted:
    ledger = reading.ledger
    frames: set[Oid] = set()
    others: set[Oid] = set()
    current: set[Oid] = set()
    now = _Content(0)
    parts: dict[bytes, dict[tuple[Oid, ...], _Part]] = {}
    absent: set[Oid] = set()
    named = 0
    rows = []
    for version in versions:
        content = reading.content(version.blob)
        mine = _frames(content.parts)
        rows.append(
            VersionUsage(
                version.commit, version.subject, content.size,
                ledger.amount(mine), ledger.amount(mine - frames),
            )
        )  # fmt: skip
        frames |= mine
        if version.blob == item.blob:
            now, current = content, mine
        else:
            others |= mine
        named += sum(part.length for part in content.parts)
        absent.update(oid for part in content.parts for oid in part.absent)
        for part in content.parts if tensors else ():
            parts.setdefault(part.name, {})[part.oids] = part
    everything = ledger.amount(frames)
    usage = FileUsage(
        item.path, now.size, ledger.amount(current), ledger.amount(current & others).stored,
        everything, named - everything.raw, tuple(rows), tuple(_tensors(now, parts, ledger)),
        len(absent), item.is_raw,
    )  # fmt: skip
    return _Counted(usage, current, frames)


def _frames(parts: Iterable[_Part]) -> set[Oid]:
    return set().union(*[part.frames for part in parts])


def _tensors(
    now: _Content, parts: Mapping[bytes, Mapping[tuple[Oid, ...], _Part]], ledger: _Ledger
) -> Iterator[TensorUsage]:
    taken: set[Oid] = set()
    for part in (part for part in now.parts if part.oids and parts):
        mine = _frames([part]) - taken
        taken |= mine
        ever = parts[part.name].values()
        yield TensorUsage(
            part.name.decode("utf-8", "backslashreplace"), part.length,
            ledger.amount(mine), len(ever), ledger.amount(_frames(ever)),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Reading:
    """Reads what blobs name; what many versions share is looked up once, by its text."""

    reader: Reader
    store: LocalStore
    ledger: _Ledger
    stanzas: dict[bytes, _Part] = field(default_factory=dict)
    skeletons: dict[Oid, tuple[int, _Part]] = field(default_factory=dict)

    def content(self, blob: str) -> _Content:
        """Size 0 where Git does not have the blob."""
        info = self.reader.info(blob)
        text = b""
        if info is not None and info[2] <= pointers.MAX_SIZE:
            text = self.reader.read(blob) or b""
        head, *stanzas = text.removesuffix(b"\n").split(b"\n\n")
        found = _SKELETON.search(head) if looks_like_pointer(head) else None
        if found is None:
            return _Content(info[2] if info is not None else 0)
        known = self.stanzas
        parts = [known.get(stanza) or self._part(stanza) for stanza in stanzas]
        size, container = self._skeleton(_oid(found[1]))
        return _Content(size or sum(part.length for part in parts), (*parts, container))

    def _part(self, stanza: bytes) -> _Part:
        """A view has no objects of its own."""
        found = _STANZA.match(stanza)
        name, oids = (found[1], [_oid(found[2])]) if found else (stanza, [])
        return self.stanzas.setdefault(stanza, self.ledger.part(name, oids))

    def _skeleton(self, oid: Oid) -> tuple[int, _Part]:
        """Size of the file and the container; 0 where the skeleton cannot be read."""
        if oid not in self.skeletons:
            size, blobs = 0, []
            with suppress(MissingObjectError, DamagedObjectError, PointerError):
                found = skeletons.decode(read_bytes(self.store, oid))
                size, blobs = found.size, [blob.oid for blob in found.blobs()]
            self.skeletons[oid] = size, self.ledger.part(CONTAINER.encode(), [oid, *blobs])
        return self.skeletons[oid]


def _oid(text: bytes) -> Oid:
    return Oid(bytes.fromhex(text.decode()))
