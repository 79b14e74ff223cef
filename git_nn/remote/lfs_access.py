"""lfs_access: where the Git LFS server of a Git remote is, and who we are to it.

In order of strength the server is what the caller says, ``remote.<name>.lfsurl``, ``lfs.url``, what
the ssh host answers to ``git-lfs-authenticate``, and ``<address>.git/info/lfs``. All of these come
from the person's own configuration; the file .lfsconfig of a repository is not read.

1. A name and password go to the scheme, host and port that Git's credential helpers were asked for,
   and to no other; so does http.extraHeader.
2. They are neither shown by repr nor part of a message.
"""

from __future__ import annotations

import base64
import json
import shlex
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from git_nn.errors import GitError, RemoteError
from git_nn.gitio import config as configs
from git_nn.gitio.repository import Repository
from git_nn.objects.oid import oid_of
from git_nn.remote.http import Client, check_address, is_header, origin_of, printable
from git_nn.remote.ssh_place import SshPlace, ssh_command, ssh_place

Operation = str  # "upload" or "download"

_EARLY = 10.0  # seconds before its end in which a token is taken for a new one
_NO_SERVER = "set lfs.url, or choose another place for the packs with nn.url"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of a server's API; headers that it wants, until ``deadline`` (monotonic)."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    deadline: float = float("inf")

    @property
    def is_fresh(self) -> bool:
        return time.monotonic() < self.deadline


class Access:
    """The server at ``url``, as ``server_of`` gives it. Any thread may call."""

    def __init__(self, repo: Repository, url: str, client: Client) -> None:
        self._repo = repo
        self._client = client
        self._url = url
        self._found: dict[Operation, Endpoint] = {}
        self._user = _User.of(self._url)
        self._proven = False
        self._lock = threading.RLock()

    def endpoint(self, operation: Operation) -> Endpoint:
        """Where to ask for ``operation``."""
        with self._lock:
            found = self._found.get(operation)
            if found is None or not found.is_fresh:
                found = self._found[operation] = self._look_up(operation)
            return found

    def _look_up(self, operation: Operation) -> Endpoint:
        place = ssh_place(self._url)
        if place is None:
            url = _http_endpoint(self._url)
        else:
            found = ask_ssh(self._repo, place, operation)
            if found is not None:
                return found
            path = place.path.lstrip("/").removesuffix("/").removesuffix(".git")
            url = f"https://{place.host.rpartition('@')[2]}/{quote(path)}.git/info/lfs"
        return Endpoint(url, self._client.header(url))

    def authorization(self, url: str, operation: Operation) -> dict[str, str]:
        """Headers that say who we are, for requests to ``url``: none for another server."""
        endpoint = self.endpoint(operation)
        if origin_of(url) != origin_of(endpoint.url):
            return {}
        user = {"Authorization": self._user.basic} if self._user and self._user.password else {}
        return {**user, **endpoint.headers}

    def refused(self, operation: Operation, used: Mapping[str, str]) -> None:
        """Find out better who we are: ``used`` was not accepted. RemoteError where that fails."""
        with self._lock:
            endpoint = self.endpoint(operation)
            if self.authorization(endpoint.url, operation) != used:
                return  # another thread has done it
            if ssh_place(self._url) and endpoint.headers:
                del self._found[operation]
                return
            if any(name.lower() == "authorization" for name in endpoint.headers):
                raise denied(endpoint.url)
            if self._user and self._user.password:
                self._credential("reject", endpoint.url, self._user)
                if self._user.asked:
                    raise denied(endpoint.url)
            self._user, self._proven = self._asked(endpoint.url), False

    def accepted(self, operation: Operation) -> None:
        """What was used last is right; so a helper may keep it."""
        with self._lock:
            if self._user and self._user.asked and not self._proven:
                self._credential("approve", self.endpoint(operation).url, self._user)
            self._proven = True

    def _asked(self, url: str) -> _User:
        """The name and password that Git's helpers, or the person, know for a server."""
        name = self._user.name if self._user else ""
        try:
            output = self._repo.git("credential", "fill", stdin=_question(url, name, ""))
        except GitError:
            raise RemoteError(
                f"{urlsplit(url).netloc} wants a name and a password, and Git knows none",
                hint="set up a credential helper: see 'git help credentials'",
            ) from None
        lines = output.decode("utf-8", "replace").splitlines()
        found = dict(line.partition("=")[::2] for line in lines)
        return _User(found.get("username", ""), found.get("password", ""), asked=True)

    def _credential(self, verb: str, url: str, user: _User) -> None:
        if user.asked:
            stdin = _question(url, user.name, user.password)
            self._repo.git("credential", verb, stdin=stdin, check=False)


@dataclass(frozen=True, slots=True)
class _User:
    """``asked`` is whether Git's credential helpers gave it, and not the address."""

    name: str
    password: str = field(repr=False)
    asked: bool

    @classmethod
    def of(cls, url: str) -> _User | None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or parts.username is None:
            return None
        return cls(unquote(parts.username), unquote(parts.password or ""), asked=False)

    @property
    def basic(self) -> str:
        pair = f"{self.name}:{self.password}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"


def _question(url: str, name: str, password: str) -> bytes:
    """What ``git credential`` reads; an address has no line feed (see check_address)."""
    parts = urlsplit(url)
    lines = [f"protocol={parts.scheme}", f"host={parts.netloc}", f"path={parts.path.lstrip('/')}"]
    lines += [f"username={name}"] if name else []
    lines += [f"password={password}"] if password else []
    return "".join(f"{line}\n" for line in [*lines, ""]).encode()


def denied(url: str) -> RemoteError:
    return RemoteError(
        f"{urlsplit(url).netloc} does not accept who we are",
        hint="check the name and the token, and the rights that they have there",
    )


def server_of(repo: Repository, git_url: str, endpoint: str | None) -> str:
    """The address that stands for the server, where an ssh host has not been asked yet."""
    return endpoint or configured(repo, git_url) or resolved(repo, git_url)


def home_of(url: str) -> str:
    """Which server that is, however it is reached: ``home`` in docs/spec-remote.md."""
    place = ssh_place(url)
    if place is not None:
        host, path = place.host.rpartition("@")[2].lower(), place.path
    else:
        parts = urlsplit(url)
        host, path = parts.netloc.rpartition("@")[2].lower(), unquote(parts.path)
        host = host.removesuffix(":80").removesuffix(":443")
    path = path.strip("/").removesuffix("/info/lfs").removesuffix(".git")
    return oid_of(f"{host}/{path}".encode("utf-8", "surrogateescape")).hex()


def configured(repo: Repository, git_url: str) -> str | None:
    """The address that the configuration gives for the server of this Git remote."""
    settings = configs.load(repo)
    for key in settings.section("remote"):
        name, _, what = key.removeprefix("remote.").rpartition(".")
        if what in ("url", "pushurl") and git_url in (*settings.get_all(key), name):
            found = settings.get(f"remote.{name}.lfsurl")
            if found:
                return found
    return settings.get("lfs.url") or None


def resolved(repo: Repository, git_url: str) -> str:
    """``git_url`` as Git's url.<base>.insteadOf makes it."""
    if git_url.startswith("-"):
        raise RemoteError(f"{git_url[:80]!r} is no address", hint="run 'git remote -v'")
    return repo.git("ls-remote", "--get-url", git_url).decode("utf-8", "replace").strip()


def _http_endpoint(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise RemoteError("no Git LFS server is known for this remote", hint=_NO_SERVER)
    bare = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    bare = bare.rstrip("/")
    if not bare.endswith("/info/lfs"):
        bare = f"{bare.removesuffix('.git')}.git/info/lfs"
    check_address(bare, "the address of the Git LFS server is")
    return bare


# -- ssh


def answers_over_ssh(repo: Repository, git_url: str) -> bool | None:
    """Whether an ssh host says where its Git LFS server is; None where asking failed."""
    place = ssh_place(resolved(repo, git_url))
    try:
        return place is not None and ask_ssh(repo, place, "download") is not None
    except RemoteError:
        return None


def ask_ssh(repo: Repository, place: SshPlace, operation: Operation) -> Endpoint | None:
    """What the host says of its server; None where it knows no git-lfs-authenticate."""
    remote = f"git-lfs-authenticate {shlex.quote(place.path)} {operation}"
    argv = [*ssh_command(repo, place), place.host, remote]
    try:
        done = subprocess.run(
            argv, env=repo.env, cwd=repo.top, stdin=subprocess.DEVNULL, capture_output=True,
            check=False,
        )  # fmt: skip
    except OSError as error:
        raise RemoteError(f"ssh cannot be started: {error.strerror}") from None
    if done.returncode == 0:
        return _endpoint(done.stdout, place.host)
    lines = done.stderr.decode("utf-8", "replace").splitlines()
    if done.returncode == 255:  # ssh itself, not the host
        raise RemoteError(f"{place.host}: {printable(lines[-1] if lines else 'ssh failed')}")
    return None


def _endpoint(output: bytes, host: str) -> Endpoint | None:
    try:
        found: Any = json.loads(output[: 1 << 20])
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not isinstance(found.get("href"), str):
        return None
    url = found["href"].rstrip("/")
    check_address(url, f"{host} names as its Git LFS server")
    return Endpoint(url, headers_of(found.get("header"), host), deadline_of(found))


# -- what servers say of headers and time


_CONNECTION = {"host", "content-length", "transfer-encoding", "connection", "te", "upgrade",
               "trailer", "expect", "accept-encoding", "range"}  # fmt: skip


def headers_of(value: object, who: str) -> dict[str, str]:
    """Headers that a server asks to send; RemoteError where one would smuggle in a line."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RemoteError(f"{who} asks for headers that are none")
    for name, text in value.items():
        if not isinstance(text, str) or not is_header(name, text):
            raise RemoteError(f"{who} asks for a header that is none: {printable(str(name))!r}")
    return {name: text for name, text in value.items() if name.lower() not in _CONNECTION}


def deadline_of(value: Mapping[str, Any]) -> float:
    """When what a server gave is of no use any more, on the monotonic clock."""
    seconds = value.get("expires_in")
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool) or seconds <= 0:
        seconds = _until(value.get("expires_at"))
    return time.monotonic() + max(1.0, min(seconds, 1e6) - _EARLY) if seconds else float("inf")


def _until(text: object) -> float:
    """Seconds from now to a time as in RFC 3339; 0 where that is none."""
    try:
        when = datetime.fromisoformat(text if isinstance(text, str) else "")
        return (when - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError, OverflowError):  # without a zone it is no time
        return 0.0
