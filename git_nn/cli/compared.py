"""Which models a command line compares: each is opened on both sides, compared and shown.

A watcher sees every comparison while its models are open, and every model that cannot be
compared; on demand also the models that are the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from git_nn import changed_files
from git_nn.changed_files import ChangedFile
from git_nn.cli.words import are_files, split
from git_nn.compare import compare
from git_nn.differences.result import ModelDiff
from git_nn.drivers.open import open_repository, store_of
from git_nn.drivers.places import (
    CONFIGURATIONS,
    Beside,
    Configurations,
    Place,
    beside,
    in_folder_of,
    on_disk,
    opened,
    places,
    reconfigured,
    training,
    unchanged,
)
from git_nn.drivers.side import Sides, opened_file, reading
from git_nn.errors import GitNNError, UsageError
from git_nn.gitio.objects import open_reader
from git_nn.gitio.repository import Repository
from git_nn.model import Model

Models = tuple[Model | None, Model | None]
Texts = Callable[[], tuple[Beside, Beside]]  # of the files beside both versions


@dataclass(frozen=True, slots=True)
class Shown:
    """A file that differs: the comparison, or what is to be said in its place."""

    path: str
    diff: ModelDiff | None
    message: str = ""
    status: int = 0


class Watcher(Protocol):
    """What is told of every model."""

    @property
    def wants_all(self) -> bool:
        """Whether models that are the same are to be told of too."""
        ...

    def see(self, path: str, diff: ModelDiff, models: Models, texts: Texts) -> None: ...

    def refuse(self, path: str, message: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Asked:
    """A command line: revisions and paths in ``words``, and what stands after ``--``."""

    words: tuple[str, ...]
    names: list[str] | None
    cached: bool = False
    plain: bool = False


def find(asked: Asked) -> Repository | None:
    """The repository; None where two files are compared anywhere."""
    try:
        return None if asked.plain else open_repository()
    except UsageError:
        if len(asked.words) == 2 and all(Path(word).is_file() for word in asked.words):
            return None
        raise


def compared(repo: Repository | None, asked: Asked, watcher: Watcher) -> Iterator[Shown]:
    """The files that differ, each compared when it is asked for."""
    words, names, cached = asked.words, asked.names, asked.cached
    if repo is None or (names is None and not cached and are_files(repo, words)):
        return _two_files(repo, (*words, *(names or ())), watcher)
    a, b, paths = split(repo, words, names)
    if cached and b is not None:
        raise UsageError("--cached compares the index with one revision")
    return _in_repository(repo, (a, b), paths, watcher, cached=cached)


def _two_files(
    repo: Repository | None, words: tuple[str, ...], watcher: Watcher
) -> Iterator[Shown]:
    if len(words) != 2:
        raise UsageError("--no-index compares two files", hint="git nn diff --no-index OLD NEW")
    store = None if repo is None else store_of(repo)
    paths = os.fsencode(words[0]), os.fsencode(words[1])
    label = " → ".join(words)
    with ExitStack() as stack:
        old, new = (stack.enter_context(opened_file(Path(word), store)) for word in words)
        diff = compare(old, new, reading=stack.enter_context(reading(repo)))
        watcher.see(label, diff, (old, new), lambda: training(on_disk, on_disk, paths))
    sides = (beside(on_disk, path, CONFIGURATIONS) for path in paths)
    yield from _shown(label, diff, reconfigured(*sides))


def _shown(label: str, diff: ModelDiff, configured: tuple[str, ...]) -> Iterator[Shown]:
    """A model that differs, or whose configuration beside it does."""
    if configured or not diff.is_empty:
        yield Shown(label, replace(diff, structure=(*diff.structure, *configured)))


@dataclass(frozen=True, slots=True)
class _Pair:
    """What the two sides of a comparison are opened with."""

    sides: Sides
    old: Place
    new: Place
    watcher: Watcher
    configurations: Configurations


def _in_repository(
    repo: Repository,
    revisions: tuple[str | None, str | None],
    paths: list[bytes],
    watcher: Watcher,
    *,
    cached: bool,
) -> Iterator[Shown]:
    """Every change of a model; a file that is none only where it was named itself."""
    changes = changed_files.between(repo, *revisions, cached=cached, paths=paths)
    with open_reader(repo) as reader:
        sides = Sides(repo, reader, store_of(repo))
        old, new = places(repo, reader, *revisions, cached=cached)
        pair = _Pair(sides, old, new, watcher, Configurations(old, new))
        wanted = sides.tracked([change.path for change in changes]) | set(paths)
        for change in changes:
            blobs = [side.blob for side in (change.old, change.new) if side]
            if change.path in wanted or any(map(sides.is_pointer, blobs)):
                yield from _changed(pair, change)
        yield from _reconfigured(pair, changes)
        for change in unchanged(sides, old, changes, paths) if watcher.wants_all else ():
            _compare_sides(pair, change)


def _changed(pair: _Pair, change: ChangedFile) -> Iterator[Shown]:
    path = os.fsdecode(change.path)
    if change.unmerged:
        yield _refused(pair, path, "is unmerged (to settle it: git nn resolve)", 0)
        return
    try:
        diff = _compare_sides(pair, change)
    except GitNNError as error:
        yield _refused(pair, path, f"cannot be compared: {error}", error.exit_code)
        return
    yield from _shown(path, diff, pair.configurations.lines(change.path))


def _refused(pair: _Pair, path: str, message: str, status: int) -> Shown:
    pair.watcher.refuse(path, message)
    return Shown(path, None, message, status)


def _compare_sides(pair: _Pair, change: ChangedFile) -> ModelDiff:
    path = change.path
    with ExitStack() as stack:
        old, new = (opened(pair.sides, path, side, stack) for side in (change.old, change.new))
        diff = compare(old, new, reading=stack.enter_context(reading(pair.sides.repo)))
        texts = partial(training, pair.old.read, pair.new.read, (path, path))
        pair.watcher.see(os.fsdecode(path), diff, (old, new), texts)
        return diff


def _reconfigured(pair: _Pair, changes: list[ChangedFile]) -> Iterator[Shown]:
    """A model that is the same, where the configuration beside it is not."""
    for change in changes:
        folder, _, name = change.path.rpartition(b"/")
        if os.fsdecode(name) not in CONFIGURATIONS or pair.configurations.is_told(change.path):
            continue
        same = unchanged(pair.sides, pair.new, changes, [folder] if folder else [])
        for model in in_folder_of(change.path, same)[:1]:
            with ExitStack() as stack:
                version = opened(pair.sides, model.path, model.new, stack)
                diff = compare(version, version)
            lines = pair.configurations.lines(model.path)
            yield from _shown(os.fsdecode(model.path), diff, lines)
