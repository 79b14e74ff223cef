"""Reads Git objects: through pygit2 where it can, through ``git cat-file`` always.

libgit2 is several times faster for walks that know full object names, but it cannot
open SHA-256 or reftable repositories, does not fetch lazily, and knows nothing of
GIT_OBJECT_DIRECTORY, replacement refs or the index of this command. So it gets full
object names only, and what it does not find is asked of git.
"""

from __future__ import annotations

import os
import re
import subprocess
from contextlib import AbstractContextManager
from typing import IO, Any, Protocol, Self

from git_nn.errors import GitError
from git_nn.gitio.repository import Repository

_FOUND = re.compile(rb"([0-9a-f]{40}|[0-9a-f]{64}) ([a-z]+) ([0-9]+)\n\Z")
_FULL_NAME = re.compile(r"(?:[0-9a-f]{40}|[0-9a-f]{64})\Z")
_TYPES = {1: "commit", 2: "tree", 3: "blob", 4: "tag"}

Info = tuple[str, str, int]


class Reader(AbstractContextManager["Reader", None], Protocol):
    """Open objects of one repository; a context manager, for one thread.

    A spec is whatever ``git rev-parse`` understands (``HEAD:model.h5``, ``:1:model.h5``, an
    object name); bytes in paths that are no UTF-8 stand as surrogate escapes. An object
    that is not there, or a spec that names nothing or several objects, is None.
    """

    def info(self, spec: str) -> Info | None:
        """(object name, type, size) without reading the content."""
        ...

    def read(self, spec: str) -> bytes | None:
        """The whole content."""
        ...

    def close(self) -> None: ...


class _Closing:
    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class BatchReader(_Closing):
    """Asks ``git cat-file``, one question at a time; children start when first needed."""

    def __init__(self, repo: Repository) -> None:
        self._repo = repo
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def info(self, spec: str) -> Info | None:
        _, found = self._ask("--batch-check", spec)
        return found

    def read(self, spec: str) -> bytes | None:
        child, found = self._ask("--batch", spec)
        if found is None:
            return None
        data = _output(child).read(found[2] + 1)
        if len(data) != found[2] + 1:
            raise self._death("--batch")
        return data[:-1]

    def _ask(self, mode: str, spec: str) -> tuple[subprocess.Popen[bytes], Info | None]:
        """Send one line and read the answer's first line; so neither pipe can fill up."""
        line = os.fsencode(self._one_line(spec)) + b"\n"
        child = self._child(mode)
        assert child.stdin is not None
        try:
            child.stdin.write(line)
            child.stdin.flush()
        except BrokenPipeError as error:
            raise self._death(mode) from error
        answer = _output(child).readline()
        if not answer.endswith(b"\n"):
            raise self._death(mode)
        match = _FOUND.match(answer)
        return child, match and (match[1].decode(), match[2].decode(), int(match[3]))

    def _one_line(self, spec: str) -> str:
        """A spec with a line feed would be two questions: let git name the object first."""
        if "\n" not in spec:
            return spec
        argv = ("rev-parse", "--verify", "--quiet", "--end-of-options", spec)
        return self._repo.git(*argv, check=False).decode().strip() or "0" * 40

    def _child(self, mode: str) -> subprocess.Popen[bytes]:
        if mode not in self._children:
            self._children[mode] = self._repo.start("cat-file", mode, stdin=subprocess.PIPE)
        return self._children[mode]

    def _death(self, mode: str) -> GitError:
        child = self._children.pop(mode)
        _end(child)
        return GitError(("cat-file", mode), child.returncode, "it ended before it answered")

    def close(self) -> None:
        while self._children:
            _end(self._children.popitem()[1])


def _output(child: subprocess.Popen[bytes]) -> IO[bytes]:
    assert child.stdout is not None
    return child.stdout


def _end(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    for stream in (child.stdin, child.stdout):
        try:
            if stream is not None:
                stream.close()
        except BrokenPipeError:  # a question that nobody read
            pass
    child.wait()


class FastReader(_Closing):
    """Full object names through libgit2 once ``after`` of them have been asked for; else git.

    Importing libgit2 takes as long as git takes for some hundred objects.
    """

    def __init__(self, repo: Repository, rest: BatchReader, after: int) -> None:
        self._repo = repo
        self._rest = rest
        self._left = after
        self._objects: Any = None

    def info(self, spec: str) -> Info | None:
        if self._is_fast(spec):
            try:
                kind, size = self._objects.read_header(spec)
                return spec, _TYPES[int(kind)], int(size)
            except (KeyError, ValueError, OSError):
                pass
        return self._rest.info(spec)

    def read(self, spec: str) -> bytes | None:
        if self._is_fast(spec):
            try:
                data: bytes = self._objects.read(spec)[1]
            except (KeyError, ValueError, OSError):
                return self._rest.read(spec)
            return data
        return self._rest.read(spec)

    def _is_fast(self, spec: str) -> bool:
        if not _FULL_NAME.match(spec):
            return False
        if self._left == 0:
            self._objects = _libgit2_objects(self._repo)
        self._left -= 1
        return self._objects is not None

    def close(self) -> None:
        self._rest.close()


def open_batch(repo: Repository) -> Reader:
    """A reader that imports nothing heavy and works in every repository."""
    return BatchReader(repo)


def open_reader(repo: Repository, *, after: int = 100) -> Reader:
    """The fastest reader for this repository; for walks over many objects."""
    rest = BatchReader(repo)
    return rest if _is_special(repo) else FastReader(repo, rest, after)


def _is_special(repo: Repository) -> bool:
    """Whether git would read other objects than libgit2 does."""
    if repo.object_format != "sha1":
        return True
    if repo.env.keys() & {"GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES"}:
        return True
    if "GIT_NO_REPLACE_OBJECTS" in repo.env:
        return False
    packed = repo.common_dir / "packed-refs"
    return (repo.common_dir / "refs" / "replace").exists() or (
        packed.exists() and b" refs/replace/" in packed.read_bytes()
    )


def _libgit2_objects(repo: Repository) -> Any:
    try:
        import pygit2
    except ImportError:
        return None
    try:
        return pygit2.Repository(str(repo.git_dir)).odb
    except (pygit2.GitError, KeyError, ValueError, OSError):
        return None
