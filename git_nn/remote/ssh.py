"""ssh: a folder on another machine, through the person's own ssh and the server's SFTP.

Keys, agents, jump hosts and ports are ssh's affair. A file is written under tmp/, made durable
where the server can, its length compared with what the server says, and renamed.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from struct import error as StructError  # noqa: N812

from git_nn.errors import RemoteError
from git_nn.gitio.repository import Repository
from git_nn.remote.address import redacted
from git_nn.remote.base import Advance
from git_nn.remote.keys import Content, Value
from git_nn.remote.sftp import (
    CREATE,
    EXCLUSIVE,
    FILE,
    FOLDER,
    READ,
    WRITE,
    FailedError,
    Sftp,
)
from git_nn.remote.ssh_place import SshPlace, ssh_command, ssh_place


def open_folder(repo: Repository, url: str, *, beside: bool) -> SftpKeys:
    """The folder at an ssh address; with ``beside`` that of the weights of the repository there.

    Raises RemoteError where there is no such repository, and where the host cannot be reached.
    """
    place = ssh_place(url)
    if place is None:
        raise RemoteError(f"{redacted(url)} is no ssh address", hint="run 'git nn remote list'")
    argv = [*ssh_command(repo, place), "-s", place.host, "sftp"]

    def start() -> Sftp:
        return Sftp(argv, repo.env, repo.top, place.host)

    keys = SftpKeys(start, redacted(url), place.path)
    if beside:
        keys.root = _git_folder(keys, place)
    return keys


def _git_folder(keys: SftpKeys, place: SshPlace) -> str:
    """The store in the git folder of a repository, which has the name Git takes it for."""
    for folder in (f"{place.path}/.git", place.path, f"{place.path}.git"):
        if keys.has(f"{folder}/HEAD"):
            return f"{folder}/nn"
    raise RemoteError(
        f"there is no repository at {keys.label}", hint="run 'git remote -v' and mend it"
    )


class SftpKeys:
    """Keys (see keys.py) that are files below ``root`` on another machine."""

    def __init__(self, start: Callable[[], Sftp], label: str, root: str) -> None:
        self.root = _home(root.rstrip("/")) or "/"
        self._start = start
        self._label = label
        self._session: Sftp | None = None
        self._lock = threading.Lock()
        self._made: set[str] = set()

    @property
    def label(self) -> str:
        return self._label

    def has(self, path: str) -> bool:
        """Whether there is anything at ``path``, from the root of that machine."""
        with self._told() as session:
            try:
                session.status(_home(path))
            except FileNotFoundError:
                return False
            return True

    def list(self, prefix: str) -> Iterator[Value]:
        prefixes = [prefix]
        with self._told() as session:
            while prefixes:
                folders = {self._path(one.rstrip("/")): one for one in prefixes}
                prefixes = []
                for path, entries in session.lists(folders):
                    for name, status in entries:
                        key = folders[path] + name
                        if status.kind == FOLDER and name not in (".", ".."):
                            prefixes.append(f"{key}/")
                        elif status.kind == FILE:
                            yield Value(key, status.size, status.modified)

    def read(self, key: str, start: int, stop: int | None) -> Iterator[bytes]:
        with self._told() as session:
            handle = session.open(self._path(key), READ)
            try:
                yield from session.read(handle, start, stop)
            finally:
                with suppress(RemoteError, FailedError):
                    session.close_handle(handle)

    def write(self, key: str, content: Content, advance: Advance) -> None:
        with self._told() as session:
            new = f"tmp/{secrets.token_hex(16)}"
            self._make_parent(session, new)
            self._make_parent(session, key)
            path = self._path(new)
            handle = session.open(path, WRITE | CREATE | EXCLUSIVE)
            try:
                length = 0
                for count in session.write(handle, content.pieces()):
                    length += count
                    advance(count)
                session.sync(handle)
                session.close_handle(handle)
                if session.status(path).size != length:
                    raise RemoteError(f"{self.label} lost a part of a file", transient=True)
                self._rename(session, path, key)
            except BaseException:
                with suppress(RemoteError, FailedError, FileNotFoundError):
                    session.remove(path)
                raise

    def _rename(self, session: Sftp, path: str, key: str) -> None:
        try:
            session.rename(path, self._path(key))
        except FailedError:  # a server that replaces nothing: the same bytes are there already
            if session.status(self._path(key)).size != session.status(path).size:
                session.remove(self._path(key))
                session.rename(path, self._path(key))
            else:
                session.remove(path)

    def size(self, key: str) -> int | None:
        with self._told() as session:
            try:
                found = session.status(self._path(key))
            except FileNotFoundError:
                return None
            return found.size if found.kind == FILE else None

    def move(self, key: str, target: str) -> None:
        with self._told() as session:
            self._make_parent(session, target)
            session.rename(self._path(key), self._path(target))

    def remove(self, key: str) -> None:
        with self._told() as session, suppress(FileNotFoundError):
            session.remove(self._path(key))

    def close(self) -> None:
        with self._lock:
            if self._session is not None:
                self._session.close()
            self._session = None

    def _path(self, key: str) -> str:
        return f"{self.root.rstrip('/')}/{key}"

    def _make_parent(self, session: Sftp, key: str) -> None:
        """Make the folders above a key, each once."""
        parts = self._path(key).split("/")[:-1]
        missing = []
        for count in range(len(parts), 0, -1):
            folder = "/".join(parts[:count])
            if not folder or folder in self._made:
                break
            try:
                session.status(folder)
                break
            except FileNotFoundError:
                missing.append(folder)
        for folder in reversed(missing):
            try:
                session.make_folder(folder)
            except FailedError:  # somebody else was quicker
                session.status(folder)
        self._made.add("/".join(parts))

    @contextmanager
    def _told(self) -> Iterator[Sftp]:
        """The connection, begun anew where it was lost; its failures in words."""
        with self._lock:
            if self._session is None or not self._session.alive:
                if self._session is not None:
                    self._session.close()
                self._session = self._start()
            session = self._session
        try:
            yield session
        except FailedError as error:
            raise RemoteError(f"{self.label}: {error}", hint="look at its folder there") from error
        except (StructError, EOFError) as error:
            raise RemoteError(f"{self.label} gives answers that are not SFTP") from error


def _home(path: str) -> str:
    """``~/x`` as SFTP has it: relative paths begin in the person's folder."""
    return path.removeprefix("~/")
