"""reach: every object of the store that something in Git, or a merge under way, needs.

Pointers are found by reading every blob that Git itself keeps (see gitio/revisions.py), at
whatever path it stands. From a pointer follow its tensors, its skeleton, and the blobs
that the skeleton names; so skeletons are read from the store.

1. A pointer that is no valid one (a text merge left markers in it, a hand changed it)
   protects whatever it mentions: nobody may lose the weights that such a text names.
2. What cannot be known is said, never guessed: where a blob, a skeleton or a pointer of
   a newer version cannot be read, ``complete`` is false and nothing may be swept.
3. Memory grows with the distinct objects, not with pointers times tensors.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from git_nn.errors import (
    DamagedObjectError,
    MissingObjectError,
    PointerError,
    PointerVersionError,
)
from git_nn.gitio import revisions
from git_nn.gitio.objects import Reader, open_reader
from git_nn.gitio.repository import Repository
from git_nn.gitio.revisions import Found
from git_nn.objects import pointer as pointers
from git_nn.objects import skeleton as skeletons
from git_nn.objects.names import escape
from git_nn.objects.oid import Oid
from git_nn.objects.pointer import Pointer, looks_like_pointer
from git_nn.store.base import Store, read_bytes

MIN_SIZE = 80  # no pointer is shorter: its second line alone is longer
_MENTIONED = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_HEAD = re.compile(rb"git-nn pointer 1\n#[^\n]*\nlayout [^\n]+\nskeleton ([0-9a-f]{64}) [0-9]+\n")
_STANZA = re.compile(rb"\ntensor [^\n]+\n  \S+ \S+ (?:([0-9a-f]{64})(?: [^\n]+)?|view [^\n]+)\n")
_SKELETON = re.compile(rb"^skeleton ([0-9a-f]{64}) ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Pointed:
    """A pointer: the Git blob that holds it, and a path at which it stands."""

    blob: str
    path: bytes


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A reachable pointer that cannot be used.

    ``kind``: its text is no valid pointer, it is of a newer version, or its skeleton
    cannot be read. All but the first hide what else is needed.
    """

    pointed: Pointed
    why: str
    kind: Literal["text", "version", "skeleton"]

    @property
    def blocks(self) -> bool:
        return self.kind != "text"


@dataclass(slots=True)
class Needs:
    """What is needed. ``objects`` has for each oid the first pointer that needs it."""

    pointers: list[Pointed] = field(default_factory=list)
    objects: dict[Oid, int] = field(default_factory=dict)
    mentioned: set[Oid] = field(default_factory=set)
    unreadable: list[Unreadable] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    _seen: set[bytes] = field(default_factory=set)
    _skeletons: dict[Oid, bool] = field(default_factory=dict)  # whether it could be read
    _retried: frozenset[Pointed] = frozenset()

    @property
    def pointer_count(self) -> int:
        return len(self.pointers)

    @property
    def complete(self) -> bool:
        """Whether these are all: no Git object is absent, no skeleton unreadable."""
        return not self.absent and not any(item.blocks for item in self.unreadable)

    @property
    def skeletons(self) -> set[Oid]:
        return set(self._skeletons)


def find_needs(
    repo: Repository, store: Store, before: Needs | None = None, *, strict: bool = False
) -> Needs:
    """All needs of ``repo`` and of the merges under way in it.

    ``strict`` parses every pointer, to find those that are not valid; else a text of the
    right shape is only searched for oids, which is many times faster.
    ``before`` is an earlier answer: what it read is not read again, and what it needs is
    needed still. Skeletons that could not be read then are tried again.
    """
    needs = Needs() if before is None else _again(before)
    _look_at_all(repo, revisions.reachable(repo), store, needs, strict=strict)
    for record in sorted((repo.nn_dir / "merge").glob("*.json")):
        needs.mentioned.update(_mentions(record.read_bytes()))
    for record in (repo.nn_dir / "settled").glob("*.json"):
        needs.mentioned.update(_remembered(record))
    return needs


def _remembered(record: Path) -> Iterator[Oid]:
    """What is remembered of a tensor that was edited by hand (docs/spec-conflicts.md)."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        yield Oid(bytes.fromhex(json.loads(record.read_bytes())["choice"]["content"]["oid"]))


def needs_of(repo: Repository, store: Store, revs: Sequence[str]) -> Needs:
    """The needs of what can be reached from ``revs``, object names, alone."""
    needs = Needs()
    _look_at_all(repo, revisions.reachable_from(repo, revs), store, needs, strict=False)
    return needs


def needs_at(repo: Repository, store: Store, blobs: Iterable[Pointed]) -> Needs:
    """The needs of these blobs, as far as they are pointers, alone."""
    needs = Needs()
    with open_reader(repo) as reader:
        for pointed in blobs:
            _look_at(pointed, reader, store, needs, strict=False)
    return needs


def standing(repo: Repository, revs: Sequence[str]) -> Iterator[Pointed]:
    """Blobs that may be pointers in the trees of ``revs`` and in the indexes of all worktrees."""
    for found in revisions.standing(repo, revs):
        if found.size is not None and MIN_SIZE <= found.size <= pointers.MAX_SIZE:
            yield Pointed(found.oid, found.path)


def _look_at_all(
    repo: Repository, blobs: Iterable[Found], store: Store, needs: Needs, *, strict: bool
) -> None:
    with open_reader(repo) as reader:
        for found in blobs:
            if found.size is None:
                needs.absent.append(found.oid)
            elif MIN_SIZE <= found.size <= pointers.MAX_SIZE:
                _look_at(Pointed(found.oid, found.path), reader, store, needs, strict=strict)


def _again(before: Needs) -> Needs:
    """``before``, with all that it could not read forgotten."""
    retried = frozenset(item.pointed for item in before.unreadable)
    return Needs(
        before.pointers,
        before.objects,
        before.mentioned,
        _seen=before._seen - {bytes.fromhex(pointed.blob) for pointed in retried},
        _skeletons={oid: True for oid, read in before._skeletons.items() if read},
        _retried=retried,
    )


def _look_at(pointed: Pointed, reader: Reader, store: Store, needs: Needs, *, strict: bool) -> None:
    name = bytes.fromhex(pointed.blob)
    if name in needs._seen:
        return
    needs._seen.add(name)
    text = reader.read(pointed.blob)
    if text is None:
        needs.absent.append(pointed.blob)
    elif looks_like_pointer(text[:4096]):
        _add_text(pointed, text, store, needs, strict=strict)


def _add_text(pointed: Pointed, text: bytes, store: Store, needs: Needs, *, strict: bool) -> None:
    found = None if strict else _oids_in(text)
    try:
        skeleton, payloads = found or _parsed(text)
    except PointerError as error:
        kind: Literal["text", "version"] = (
            "version" if isinstance(error, PointerVersionError) else "text"
        )
        needs.unreadable.append(Unreadable(pointed, error.message, kind))
        needs.mentioned.update(_mentions(text))
        needs.mentioned.update(_mentioned_blobs(text, store))
    else:
        _add_pointer(pointed, skeleton, payloads, store, needs)


def _parsed(text: bytes) -> tuple[Oid, list[Oid]]:
    pointer = pointers.parse(text)
    return pointer.skeleton, [entry.oid for entry in pointer.stored.values()]


def _oids_in(text: bytes) -> tuple[Oid, list[Oid]] | None:
    """Skeleton and payloads of a text that has the shape of a pointer, line for line."""
    head = _HEAD.match(text)
    stanzas = _STANZA.findall(text, head.end()) if head else []
    if head is None or text.count(b"\n", head.end()) != 3 * len(stanzas):
        return None
    payloads = [Oid(bytes.fromhex(oid.decode())) for oid in stanzas if oid]
    return Oid(bytes.fromhex(head[1].decode())), payloads


def _mentions(text: bytes) -> Iterator[Oid]:
    for match in _MENTIONED.finditer(text):
        yield Oid(bytes.fromhex(match[0].decode()))


def _mentioned_blobs(text: bytes, store: Store) -> Iterator[Oid]:
    for match in _SKELETON.finditer(text):
        with suppress(MissingObjectError, DamagedObjectError, PointerError):
            yield from _read_blobs(Oid(bytes.fromhex(match[1].decode())), store)


def _add_pointer(
    pointed: Pointed, skeleton: Oid, payloads: Sequence[Oid], store: Store, needs: Needs
) -> None:
    if pointed in needs._retried and pointed in needs.pointers:
        number = needs.pointers.index(pointed)
    else:
        number = len(needs.pointers)
        needs.pointers.append(pointed)
    for oid in (*_blobs(skeleton, pointed, store, needs), skeleton, *payloads):
        needs.objects.setdefault(oid, number)


def _blobs(oid: Oid, pointed: Pointed, store: Store, needs: Needs) -> list[Oid]:
    """The blobs that a skeleton names, the first time; a note where it cannot be read."""
    if oid in needs._skeletons:
        return []
    blobs: list[Oid] = []
    kind: Literal["text", "skeleton"] | None = None
    try:
        blobs = _read_blobs(oid, store)
    except PointerError as error:  # whole bytes that are no skeleton hide nothing
        why, kind = error.message, "skeleton" if error.hint else "text"
    except (MissingObjectError, DamagedObjectError) as error:
        why, kind = error.message, "skeleton"
    if kind:
        unreadable = Unreadable(pointed, f"the skeleton cannot be read: {why}", kind)
        needs.unreadable.append(unreadable)
    needs._skeletons[oid] = kind is None
    return blobs


def _read_blobs(oid: Oid, store: Store) -> list[Oid]:
    return [blob.oid for blob in skeletons.decode(read_bytes(store, oid)).blobs()]


@dataclass(frozen=True, slots=True)
class Place:
    """Where an object is needed, for a person: tensor or other part, file, commit."""

    what: str
    path: str
    where: str

    def __str__(self) -> str:
        return f"{self.what} of {self.path} ({self.where})"


def place_of(repo: Repository, needs: Needs, oid: Oid) -> Place:
    """What ``oid`` is for the first pointer that needs it; walks history, so for few oids."""
    pointed = needs.pointers[needs.objects[oid]]
    with open_reader(repo) as reader:
        text = reader.read(pointed.blob) or b""
    try:
        what = _name_in(pointers.parse(text), oid)
    except PointerError:
        what = "an object"
    return Place(what, pointed.path.decode("utf-8", "backslashreplace"), commit_of(repo, pointed))


def _name_in(pointer: Pointer, oid: Oid) -> str:
    names = [escape(name) for name, entry in pointer.stored.items() if entry.oid == oid]
    if names:
        return f"tensor {names[0]}" + (f" and {len(names) - 1} more" if names[1:] else "")
    return "the skeleton" if pointer.skeleton == oid else "bytes between the tensors"


def commit_of(repo: Repository, pointed: Pointed) -> str:
    """The newest commit that brought the blob to a path, or where else it is."""
    paths = [pointed.path] if pointed.path else []
    if any(entry.oid == pointed.blob for entry in revisions.index(repo, paths)):
        return "in the index"
    argv = ("log", "--all", "--reflog", "-m", "--format=%H", "--raw", "--no-abbrev",
            "--no-renames", f"--find-object={pointed.blob}")  # fmt: skip
    commit = ""
    for line in repo.git(*argv, check=False).decode("utf-8", "replace").splitlines():
        if not line.startswith(":"):
            commit = line or commit
        elif line.split(" ")[3] == pointed.blob:  # else the commit took it away
            return f"commit {repo.git('rev-parse', '--short', commit).decode().strip()}"
    return "in another worktree or a stash"
