"""places: where the two sides of a comparison stand, and what stands there beside a model.

A place is a commit, the index or the work tree. Files beside a model are plain text that Git
has as it is; they are read and never run, and other files than those asked for are not opened.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from git_nn.changed_files import ChangedFile, Version
from git_nn.differences import plain_text
from git_nn.differences.structure import compare_file
from git_nn.drivers.side import Sides
from git_nn.gitio import revisions
from git_nn.gitio.objects import Reader
from git_nn.gitio.repository import Repository
from git_nn.model import Model

# What configures a model, and what a training was run with; in the folder of the model.
CONFIGURATIONS = ("config.json", "generation_config.json", "tokenizer_config.json")
TRAINING = ("params.json", "params.yaml", "training_args.json", "config.json", "dvc.yaml")

Beside = Mapping[str, Mapping[str, str]]  # name of a file -> its texts by key
Read = Callable[[bytes], bytes | None]


@dataclass(frozen=True, slots=True)
class Place:
    """``prefix`` is what Git is asked for before a path; None for the work tree."""

    repo: Repository
    reader: Reader
    prefix: str | None

    def read(self, path: bytes) -> bytes | None:
        """A plain file of a sane length; None where there is none."""
        if self.prefix is None:
            return on_disk(os.fsencode(self.repo.top) + b"/" + path)
        info = self.reader.info(f"{self.prefix}{os.fsdecode(path)}")
        if info is None or info[1] != "blob" or info[2] > plain_text.MOST:
            return None
        return self.reader.read(info[0])

    def files(self, paths: Sequence[bytes]) -> Iterator[revisions.Entry]:
        """The plain files at ``paths`` (all); in the work tree those that the index has."""
        if self.prefix in (None, ":"):
            entries = revisions.index(self.repo, paths)
        elif self.prefix:
            entries = revisions.tree(self.repo, self.prefix.removesuffix(":"), paths)
        else:
            entries = []
        yield from (e for e in entries if e.stage == 0 and e.mode.startswith("100"))


def places(
    repo: Repository, reader: Reader, a: str | None, b: str | None, *, cached: bool
) -> tuple[Place, Place]:
    """The two sides, as ``changed_files.between`` chooses them."""
    if cached:
        head = a or revisions.resolve(repo, "HEAD") or ""
        return Place(repo, reader, head and f"{head}:"), Place(repo, reader, ":")
    old = Place(repo, reader, f"{a}:" if a else ":")
    return old, Place(repo, reader, f"{b}:" if b else None)


def on_disk(path: bytes) -> bytes | None:
    """A plain file of a sane length, as ``Place.read``."""
    try:
        file_path = Path(os.fsdecode(path))
        if not stat.S_ISREG(file_path.lstat().st_mode):
            return None
        with file_path.open("rb") as file:
            data = file.read(plain_text.MOST + 1)
    except OSError:
        return None
    return data if len(data) <= plain_text.MOST else None


def unchanged(
    sides: Sides, place: Place, changes: Sequence[ChangedFile], paths: Sequence[bytes]
) -> list[ChangedFile]:
    """The pointers at ``paths`` (all) that are not among ``changes``; ``place`` is either side.

    Only files that pass through our filter, unless Git knows of none: in a bare repository it
    has no attributes.
    """
    changed = {change.path for change in changes}
    entries = [entry for entry in place.files(paths) if entry.path not in changed]
    tracked = sides.tracked([entry.path for entry in entries])
    versions = {
        entry.path: Version(entry.oid, entry.mode)
        for entry in entries
        if (not tracked or entry.path in tracked) and sides.is_pointer(entry.oid)
    }
    return [ChangedFile(path, version, version) for path, version in versions.items()]


def opened(sides: Sides, path: bytes, version: Version | None, stack: ExitStack) -> Model | None:
    """One version of a file, while ``stack`` lasts."""
    if version is None:
        return None
    if version.blob:
        return sides.of_blob(version.blob)
    return stack.enter_context(sides.in_work_tree(path))


def beside(read: Read, path: bytes, names: Sequence[str]) -> Beside:
    """The files ``names`` beside ``path`` that are there and can be read, as texts by key."""
    folder = path[: path.rfind(b"/") + 1]
    found = {}
    for name in names:
        data = read(folder + name.encode())
        texts = None if data is None else plain_text.texts(name, data)
        if texts is not None:
            found[name] = texts
    return found


def common(old: Beside, new: Beside) -> tuple[dict[str, str], dict[str, str]]:
    """The texts of the files that both sides have, by name and key."""
    both = [name for name in old if name in new]
    return _named(old, both), _named(new, both)


def training(old: Read, new: Read, paths: tuple[bytes, bytes]) -> tuple[Beside, Beside]:
    """The files of TRAINING beside both versions of a model."""
    return beside(old, paths[0], TRAINING), beside(new, paths[1], TRAINING)


def in_folder_of(path: bytes, changes: Sequence[ChangedFile]) -> list[ChangedFile]:
    """Those of ``changes`` that stand in the folder of ``path`` itself."""
    folder = path.rpartition(b"/")[0]
    return [change for change in changes if change.path.rpartition(b"/")[0] == folder]


def _named(side: Beside, names: Sequence[str]) -> dict[str, str]:
    return {f"{name}:{key}": text for name in names for key, text in side[name].items()}


def reconfigured(old: Beside, new: Beside) -> tuple[str, ...]:
    """A line for each key that differs in a file of both sides, and for a file that one has."""
    lines: list[str] = []
    for name in dict.fromkeys((*old, *new)):
        if name in old and name in new:
            lines += compare_file(name, old[name], new[name])
        else:
            lines.append(f"{name}: {'removed' if name in old else 'added'}")
    return tuple(lines)


@dataclass(slots=True)
class Configurations:
    """What changed in the configuration beside models; told once for each folder."""

    old: Place
    new: Place
    told: set[bytes] = field(default_factory=set)

    def is_told(self, path: bytes) -> bool:
        return path[: path.rfind(b"/") + 1] in self.told

    def lines(self, path: bytes) -> tuple[str, ...]:
        folder = path[: path.rfind(b"/") + 1]
        if folder in self.told:
            return ()
        self.told.add(folder)
        sides = (beside(place.read, path, CONFIGURATIONS) for place in (self.old, self.new))
        return reconfigured(*sides)
