"""materialise: write weight files into the work tree ourselves, in bounded memory.

Git keeps the whole output of a smudge in memory, so a large file is answered with its
pointer and written here when Git has finished. A pointer in the work tree is a clean
state, so each step in between is one:

1. A file is replaced only while it still is exactly the pointer that Git wrote.
2. The new file is complete and verified before it takes the name (rename).
3. No component of the path may be a symbolic link: what Git checked may have changed
   since (the lesson of CVE-2021-21300).
4. The index gets the new stat data, so that Git need not clean the file to know it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from git_nn import smudge
from git_nn.errors import GitNNError, StoreError
from git_nn.gitio import index
from git_nn.gitio.index import Written
from git_nn.gitio.repository import Repository
from git_nn.objects import pointer as pointers
from git_nn.smudge import FileSink
from git_nn.store.local import LocalStore

if TYPE_CHECKING:
    from collections.abc import Iterator

_NO_LINK = os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Task:
    """A path (bytes, relative to the top) whose work-tree file is this pointer text."""

    path: bytes
    text: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a task: the written file's stat data, or why there are none.

    Neither ``written`` nor ``error``: the file was no longer that pointer.
    """

    task: Task
    written: os.stat_result | None = None
    error: GitNNError | None = None


def materialise(
    repo: Repository,
    store: LocalStore,
    tasks: Sequence[Task],
    progress: Callable[[int], Any] = lambda _: None,
) -> list[Outcome]:
    """Write every task's file, then tell the index; failures leave the pointer in place."""
    assert repo.work_tree is not None
    index.forget(repo, {task.path: task.text for task in tasks})
    with store.scratch() as scratch:
        outcomes = [_attempt(repo.work_tree, store, scratch, task, progress) for task in tasks]
    written = {
        outcome.task.path: Written(outcome.written, outcome.task.text)
        for outcome in outcomes
        if outcome.written is not None
    }
    if written:
        index.refresh(repo, list(written), written)
    return outcomes


def _attempt(
    root: Path, store: LocalStore, scratch: Path, task: Task, progress: Callable[[int], Any]
) -> Outcome:
    try:
        return Outcome(task, _write(root, store, scratch, task, progress))
    except GitNNError as error:
        return Outcome(task, error=error)
    except OSError as error:
        name = os.fsdecode(task.path)
        reason = StoreError(f"cannot write {name}: {error.strerror}", hint="run 'git nn pull'")
        return Outcome(task, error=reason)


def _write(
    root: Path, store: LocalStore, scratch: Path, task: Task, progress: Callable[[int], Any]
) -> os.stat_result | None:
    """Replace the pointer by the file; None where the file is no longer that pointer."""
    pointer = pointers.parse(task.text)
    skeleton = smudge.load_skeleton(pointer, store)
    name = task.path.rpartition(b"/")[2]
    with open_parent(root, task.path) as folder, _temporary(scratch, folder) as (where, temporary):
        mode = _mode_of(folder, name, task.text)
        if mode is None:
            return None
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | _NO_LINK
        with os.fdopen(os.open(temporary, flags, 0o600, dir_fd=where), "r+b") as file:
            smudge.write_file(pointer, skeleton, store, FileSink(file.fileno()), store.threads)
            os.fchmod(file.fileno(), mode)
            if _mode_of(folder, name, task.text) is None:
                return None
            os.rename(temporary, name, src_dir_fd=where, dst_dir_fd=folder)
            progress(skeleton.size)
            return os.fstat(file.fileno())


@contextmanager
def _temporary(scratch: Path, folder: int) -> Iterator[tuple[int, bytes]]:
    """(folder, name) for a file that is renamed into ``folder``; removed if it is still there.

    It stands in the store, where gc finds it should we be killed, not in the work tree,
    where it would be an untracked file; but a rename cannot leave a file system.
    """
    name = b".nn-%d-%s" % (os.getpid(), os.urandom(6).hex().encode())
    where = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if not _can_rename(where, folder, name):
            os.close(where)
            where = os.dup(folder)
        try:
            yield where, name
        finally:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=where)
    finally:
        os.close(where)


def _can_rename(source: int, target: int, name: bytes) -> bool:
    """Asked by doing it, with an empty file: one device can be mounted twice."""
    if os.fstat(source).st_dev != os.fstat(target).st_dev:
        return False
    os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK, 0o600, dir_fd=source))
    try:
        os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
    except OSError:
        os.unlink(name, dir_fd=source)
        return False
    os.unlink(name, dir_fd=target)
    return True


@contextmanager
def open_parent(root: Path, path: bytes) -> Iterator[int]:
    """A descriptor of the folder that holds ``path``; OSError where a link is on the way."""
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in path.split(b"/")[:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | _NO_LINK, dir_fd=folder)
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


def _mode_of(folder: int, name: bytes, text: bytes) -> int | None:
    """Permission bits of the file where its content is exactly ``text``, else None."""
    try:
        fd = os.open(name, os.O_RDONLY | _NO_LINK, dir_fd=folder)
    except OSError:
        return None
    with os.fdopen(fd, "rb") as file:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_size != len(text):
            return None
        return stat.S_IMODE(found.st_mode) if file.read() == text else None
