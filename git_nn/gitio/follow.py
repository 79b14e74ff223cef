"""follow: the commits that gave one file another content, as ``git log --follow`` finds them.

Commits and trees are read as raw objects through a Reader, so that there is one walk for
libgit2 and for ``git cat-file``. At a merge the walk goes on where the file is the same, as
``git log`` simplifies history; a merge with a content of its own is one of the commits. Unlike
``git log --follow``, a rename holds for the branch that it is on, and for no other.
"""

from __future__ import annotations

import heapq
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from git_nn.gitio.objects import Reader
from git_nn.gitio.repository import Repository

_PERSON = re.compile(rb"^author (.*?) ?<([^>\n]*)> (-?[0-9]+) ([+-][0-9]{4})$", re.MULTILINE)
_WHEN = re.compile(rb"^committer .*> (-?[0-9]+) [+-][0-9]{4}$", re.MULTILINE)
_ENCODING = re.compile(rb"^encoding (\S+)$", re.MULTILINE)
_TREE_ENTRY = {
    "sha1": re.compile(rb"([0-7]+) ([^\0]+)\0(.{20})", re.DOTALL),
    "sha256": re.compile(rb"([0-7]+) ([^\0]+)\0(.{32})", re.DOTALL),
}
_KEPT = 4096  # commits and tree entries in memory


@dataclass(frozen=True, slots=True)
class Commit:
    """What a commit says of itself; times are seconds since 1970, ``zone`` is as ``+0130``."""

    id: str
    tree: str
    parents: tuple[str, ...]
    author: str
    email: str
    time: int
    zone: str
    committed: int
    subject: str


@dataclass(frozen=True, slots=True)
class Place:
    """A path in a commit, and the blob that it has there: '' where there is no plain file."""

    commit: str
    path: bytes
    blob: str


@dataclass(frozen=True, slots=True)
class Step:
    """A commit whose file is that of none of its parents; ``blob`` is '' where it deletes it.

    ``parents`` are where the file was before, under the name that it had there.
    """

    commit: Commit
    path: bytes
    blob: str
    parents: tuple[Place, ...]

    @property
    def before(self) -> str:
        """The blob of the first parent; '' where there is none."""
        return self.parents[0].blob if self.parents else ""

    @property
    def was(self) -> bytes | None:
        """The path in the first parent, where it is another one."""
        first = self.parents[0] if self.parents else None
        return first.path if first is not None and first.path != self.path else None


class Past:
    """The history that can be read here; where a shallow clone ends, it begins."""

    def __init__(self, repo: Repository, reader: Reader) -> None:
        self._repo = repo
        self._reader = reader
        self._entry = _TREE_ENTRY[repo.object_format]
        self._cut = _shallow(repo)
        self._steps: dict[tuple[str, bytes], Step | None] = {}
        self.commit = lru_cache(_KEPT)(self._commit)
        self._find = lru_cache(_KEPT)(self._find_in)

    def blob(self, commit: Commit, path: bytes) -> str:
        """The plain file at ``path``; '' where there is none."""
        mode, found = "", commit.tree
        for name in path.split(b"/"):
            if mode not in ("", "40000"):
                return ""
            mode, found = self._find(found, name)
            if not found:
                return ""
        return found if mode.startswith("100") else ""

    def last_change(self, commit: str, path: bytes) -> Step | None:
        """The latest commit, from ``commit`` on, that gave the file the content it has there."""
        trail = []
        here: str | None = commit
        found: Step | None = None
        while here is not None:
            if (here, path) in self._steps:
                found = self._steps[here, path]
                break
            trail.append((here, path))
            here, found = self._one_back(here, path)
        self._steps.update(dict.fromkeys(trail, found))
        return found

    def _one_back(self, name: str, path: bytes) -> tuple[str | None, Step | None]:
        """The parent with the same content, or else the commit as a step."""
        commit = self.commit(name)
        if commit is None:
            return None, None
        blob = self.blob(commit, path)
        places = []
        for parent in filter(None, map(self.commit, commit.parents)):
            place = Place(parent.id, path, self.blob(parent, path))
            if place.blob == blob:
                return parent.id, None
            places.append(place)
        if not blob and not places:
            return None, None
        if blob:
            places = [place if place.blob else self._source(commit, place) for place in places]
        return None, Step(commit, path, blob, tuple(places))

    def _source(self, commit: Commit, place: Place) -> Place:
        """Where the file that ``place`` lacks came from, by Git's own rules; else ``place``."""
        output = self._repo.git(
            "--literal-pathspecs", "diff-tree", "-r", "-z", "--raw", "--no-abbrev", "--follow",
            place.commit, commit.id, "--", os.fsdecode(place.path),
        )  # fmt: skip
        head, *paths = output.split(b"\0")[:-1] or [b""]
        if len(paths) != 2:
            return place
        mode, _, blob, _, status = head.decode().removeprefix(":").split(" ")
        copied = status.startswith("C") and len(commit.parents) > 1
        if copied or not mode.startswith("100"):
            return place  # what a branch without the file has is no older version of it
        return Place(place.commit, paths[0], blob)

    def _commit(self, name: str) -> Commit | None:
        text = self._reader.read(name)
        return None if text is None else parse_commit(name, text, whole=name not in self._cut)

    def _find_in(self, tree: str, wanted: bytes) -> tuple[str, str]:
        """(mode, object name) of an entry of a tree; ('', '') where it is not there."""
        for mode, name, oid in self._entry.findall(self._reader.read(tree) or b""):
            if name == wanted:
                return mode.decode(), oid.hex()
        return "", ""


def steps(past: Past, commit: str, path: bytes) -> Iterator[Step]:
    """Every commit, ``commit`` or before it, that changed the file; the latest first."""
    waiting: list[tuple[int, int, Step]] = []
    seen: set[tuple[str, bytes]] = set()

    def meet(step: Step | None) -> None:
        if step is not None and (key := (step.commit.id, step.path)) not in seen:
            seen.add(key)
            heapq.heappush(waiting, (-step.commit.committed, len(seen), step))

    meet(past.last_change(commit, path))
    while waiting:
        step = heapq.heappop(waiting)[2]
        yield step
        for place in step.parents:
            meet(past.last_change(place.commit, place.path))


def parse_commit(name: str, text: bytes, *, whole: bool = True) -> Commit:
    """A raw commit object; ``whole`` is whether its parents are to be known of."""
    head, _, message = text.partition(b"\n\n")
    lines = head.split(b"\n")
    links = [line.partition(b" ") for line in lines if line.startswith((b"tree ", b"parent "))]
    person, when, code = (found.search(head) for found in (_PERSON, _WHEN, _ENCODING))
    author, email, time, zone = person.groups() if person else (b"", b"", b"0", b"+0000")
    codec = code[1].decode("ascii", "replace") if code else "utf-8"
    subject = message.lstrip(b"\n").partition(b"\n\n")[0]
    return Commit(
        name,
        links[0][2].decode(),
        tuple(oid.decode() for word, _, oid in links[1:] if whole),
        _text(author, codec), _text(email, codec), int(time), zone.decode(),
        int(when[1]) if when else int(time),
        " ".join(_text(subject, codec).split()),
    )  # fmt: skip


def _text(raw: bytes, codec: str) -> str:
    """One visible line: what a terminal would take for a command is replaced."""
    try:
        text = raw.decode(codec, "replace")
    except LookupError:
        text = raw.decode("utf-8", "replace")
    return "".join(char if char.isprintable() or char in "\n\t" else "�" for char in text)


def _shallow(repo: Repository) -> frozenset[str]:
    """Commits whose parents are not here."""
    try:
        return frozenset((repo.common_dir / "shallow").read_text("ascii").split())
    except (OSError, ValueError):
        return frozenset()
