"""stage: put weight files into the index by their paths, without Git's pipe.

Here only what is slow in Git is done: cleaning a regular file that is not empty, is no
pointer, and may have changed. Everything else, and every refusal, is Git's own: after
``stage`` comes ``git add`` with the same words, which finds these files as unchanged as
their stat data say they are. So nothing here can differ from ``git add`` but in speed.

1. All objects are durable before the first pointer stands in the index, and where one
   file fails nothing is staged.
2. No component of a path may be a symbolic link, and a file that changes while it is
   read is refused: what is stored is a state in which the file once was.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from git_nn import earlier
from git_nn.beside import Folder
from git_nn.clean import clean
from git_nn.errors import GitError, GitNNError, LayoutError, UsageError
from git_nn.formats.base import FileSource
from git_nn.gitio import index, revisions
from git_nn.gitio.attributes import lookup
from git_nn.gitio.config import load
from git_nn.gitio.index import Written
from git_nn.gitio.objects import Reader, open_batch
from git_nn.gitio.repository import Repository
from git_nn.gitio.revisions import Entry
from git_nn.materialise import open_parent
from git_nn.objects import pointer as pointers
from git_nn.objects.pointer import Pointer, looks_like_pointer
from git_nn.remembered import is_same
from git_nn.store.base import Store
from git_nn.store.local import LocalStore

_ORDINARY = b"H?M"  # ls-files -v: cached, other, unmerged; not skip-worktree nor assume-unchanged
_CONVERSIONS = ("ident", "working-tree-encoding")  # these would change the pointer's text
_TICK = 20_000_000  # ns; a second change within one tick of the file system's clock has no trace


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file to clean, its size in bytes, and what the index has for its path."""

    path: bytes
    size: int
    entry: Entry | None
    before: Pointer | None


@dataclass(frozen=True, slots=True)
class Staged:
    """A file whose pointer is in the index now; ``notes`` are for the person."""

    path: bytes
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Ready:
    """A file whose objects are stored: its state when it was read, and its pointer's text."""

    candidate: Candidate
    pointer: Pointer
    written: Written
    notes: tuple[str, ...]


def select(
    repo: Repository, pathspecs: Sequence[str], cwd: Path, *, force: bool
) -> list[Candidate]:
    """Files that ``git add`` would clean through our filter, in the order of the index.

    Empty where Git would refuse one of ``pathspecs``, and in a sparse checkout, where Git
    alone knows which paths it would take.
    """
    config = load(repo)
    if repo.work_tree is None or config.boolean("core.sparsecheckout", default=False):
        return []
    if config.get("filter.nn.process") is None:
        raise UsageError("git-nn is not installed here", hint="run 'git nn install'")
    paths = _expanded(repo, pathspecs, cwd, force=force)
    found = lookup(repo, paths, ["filter", *_CONVERSIONS])
    ours = [path for path in paths if found[path] == {"filter": "nn"}]
    same = index.unchanged(repo, ours)
    changed = [path for path in ours if path not in same]
    entries = {entry.path: entry for entry in revisions.index(repo) if entry.stage == 0}
    with open_batch(repo) as objects:
        found_or_not = [
            _candidate(repo.work_tree, path, entries.get(path), objects) for path in changed
        ]
    return [candidate for candidate in found_or_not if candidate is not None]


def _expanded(repo: Repository, pathspecs: Sequence[str], cwd: Path, *, force: bool) -> list[bytes]:
    """The paths, relative to the top, that Git's own rules give; none where it finds fault."""
    which = ["--cached", "--others", *(() if force else ["--exclude-standard"])]
    argv = ("ls-files", "-z", "-v", "--full-name", "--error-unmatch", *which, "--", *pathspecs)
    try:
        lines = repo.git(*argv, cwd=cwd).split(b"\0")[:-1]
    except GitError:
        return []
    return list(dict.fromkeys(line[2:] for line in lines if line[:1] in _ORDINARY))


def _candidate(root: Path, path: bytes, entry: Entry | None, objects: Reader) -> Candidate | None:
    """None where the filter itself had better answer.

    It alone knows whether raw content in Git is the file's; so at the same size it decides.
    """
    before = earlier.pointer_at(objects, entry.oid) if entry is not None else None
    info = objects.info(entry.oid) if entry is not None and before is None else None
    try:
        with _opened(root, path) as fd:
            size = os.fstat(fd).st_size
            if size in (0, info and info[2]) or looks_like_pointer(os.pread(fd, 4096, 0)):
                return None
    except OSError:
        return None
    return Candidate(path, size, entry, before)


@contextmanager
def _opened(root: Path, path: bytes) -> Iterator[int]:
    """The regular file at ``path``, open for reading; OSError for anything else."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with open_parent(root, path) as folder:
        fd = os.open(path.rpartition(b"/")[2], flags, dir_fd=folder)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(0, "not a regular file")
        yield fd
    finally:
        os.close(fd)


def stage(
    repo: Repository,
    store: LocalStore,
    candidates: Sequence[Candidate],
    progress: Callable[[int], Any] = lambda _: None,
) -> list[Staged]:
    """Clean the files and put their pointers into the index.

    GitNNError names the file that cannot be read or changed meanwhile. ``progress`` is
    told how many bytes were read.
    """
    if not candidates:
        return []
    assert repo.work_tree is not None
    listed = {entry.path: entry.oid for entry in revisions.index(repo)}
    cleaned: dict[bytes, Pointer] = {}
    ready = []
    with store.shared(), open_batch(repo) as objects:  # no gc before the index names all
        for one in candidates:
            likely = one.before or earlier.likely(objects, one.path, listed, cleaned)
            done = _clean(repo.work_tree, one, likely, store, progress)
            cleaned[one.path] = done.pointer
            ready.append(done)
        _enter(repo, store, ready)
    written = {one.candidate.path: one.written for one in ready}
    index.refresh(repo, list(written), written)
    return [Staged(one.candidate.path, one.notes) for one in ready]


@dataclass(slots=True)
class _Watched:
    """A file whose reading is told, up to its size: some formats are read twice."""

    file: FileSource
    progress: Callable[[int], Any]
    told: int = 0

    @property
    def size(self) -> int:
        return self.file.size

    def read(self, offset: int, length: int) -> bytes:
        data = self.file.read(offset, length)
        news = min(length, self.size - self.told)
        self.told += news
        self.progress(news)
        return data


def _clean(
    root: Path,
    candidate: Candidate,
    likely: Pointer | None,
    store: Store,
    progress: Callable[[int], Any],
) -> _Ready:
    name = os.fsdecode(candidate.path)
    changed = GitNNError(
        f"{name} changed while it was read", hint="add it again when nothing writes to it"
    )
    try:
        with _opened(root, candidate.path) as fd:
            found = _settled(fd)
            source = _Watched(FileSource.of(fd), progress)
            folder = Folder(root / name)
            cleaned = clean(source, store, candidate.before, likely, folder)
            if not is_same(os.fstat(fd), found):
                raise changed
    except LayoutError as error:  # it became shorter
        raise changed from error
    except OSError as error:
        raise GitNNError(f"cannot read {name}: {error.strerror}") from error
    written = Written(found, pointers.render(cleaned.pointer))
    return _Ready(candidate, cleaned.pointer, written, cleaned.notes)


def _settled(fd: int) -> os.stat_result:
    """The state of a file of which any later change will show in its times."""
    found = os.fstat(fd)
    if 0 <= time.time_ns() - found.st_ctime_ns < _TICK:
        time.sleep(_TICK / 10**9)
        found = os.fstat(fd)
    return found


def _enter(repo: Repository, store: LocalStore, ready: Sequence[_Ready]) -> None:
    """Write the pointers as blobs and name them in the index."""
    trusts_mode = load(repo).boolean("core.filemode", default=True)
    lines = []
    for one, blob in zip(ready, _blobs(repo, store, ready), strict=True):
        entry = one.candidate.entry
        mode = "100755" if one.written.stat.st_mode & stat.S_IXUSR else "100644"
        if not trusts_mode:
            mode = entry.mode if entry is not None else "100644"
        if entry is None or (entry.mode, entry.oid) != (mode, blob):
            lines.append(f"{mode} {blob} 0\t".encode() + one.candidate.path + b"\0")
    if lines:
        repo.git("update-index", "-z", "--index-info", stdin=b"".join(lines))


def _blobs(repo: Repository, store: LocalStore, ready: Sequence[_Ready]) -> list[str]:
    """Git's names of the pointers' blobs, all written by one process."""
    with store.scratch() as scratch:
        names = [str(number) for number in range(len(ready))]
        for name, one in zip(names, ready, strict=True):
            (scratch / name).write_bytes(one.written.blob)
        argv = ("hash-object", "-w", "--no-filters", "--", *names)
        return repo.git(*argv, cwd=scratch).decode().split()
