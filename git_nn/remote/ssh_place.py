"""ssh_place: an ssh address as Git reads it, and the person's ssh as Git finds it."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from git_nn.errors import RemoteError
from git_nn.gitio import config as configs
from git_nn.gitio.repository import Repository
from git_nn.remote.http import printable

_SSH = ("ssh", "sftp", "git+ssh", "ssh+git")
_SCP = re.compile(r"(?!\w:[\\/])((?:[^/:@]+@)?\[[^\]]+\]|[^/:]+):(?!//)(.+)\Z")


@dataclass(frozen=True, slots=True)
class SshPlace:
    """A folder on a host that is reached by ssh."""

    host: str
    port: str
    path: str


def ssh_place(url: str) -> SshPlace | None:
    """The parts of an ssh address, as Git reads it; None for any other address."""
    if "://" in url:
        parts = urlsplit(url)
        if parts.scheme not in _SSH or not parts.hostname:
            return None
        host, port = parts.netloc, ""
        if match := re.fullmatch(r"(.*):(\d*)", host):
            host, port = match[1], match[2]
        path = unquote(parts.path)
        path = path[1:] if path.startswith("/~") else path
    else:
        match = _SCP.match(url)
        if match is None:
            return None
        host, port, path = match[1], "", match[2]
    user, at, name = host.rpartition("@")
    user = user.partition(":")[0]  # ssh takes no password
    if name.startswith("-") or user.startswith("-") or path.startswith("-"):
        raise RemoteError(f"{printable(url)!r} is no address", hint="run 'git remote -v'")
    return SshPlace(f"{user}{at}{name.strip('[]')}", port, path)


def ssh_command(repo: Repository, place: SshPlace) -> list[str]:
    """The beginning of a command line, with the person's ssh as Git finds it."""
    text = repo.env.get("GIT_SSH_COMMAND") or configs.load(repo).get("core.sshCommand")
    program = repo.env.get("GIT_SSH") or "ssh"
    name = Path((shlex.split(text) or ["ssh"])[0] if text else program).name.lower()
    other = name.removesuffix(".exe") in ("plink", "tortoiseplink", "putty")
    port = ["-P" if other else "-p", place.port] if place.port else []
    return ["sh", "-c", f'{text} "$@"', text, *port] if text else [program, *port]
