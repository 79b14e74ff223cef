"""address: where the packs of a Git remote are, from its address and the configuration.

In order of strength: ``remote.<name>.nnurl``, ``nn.url``, and what follows from the remote's own
address: a folder or ``file://`` has them in its git folder, ``ssh`` with its host or in its git
folder, ``http`` with its host (a Git LFS server), ``git://`` within Git.

    folder, file:///folder      a folder
    ssh://host/folder           a folder on another machine; host:folder, too
    s3:// gs:// az://           a bucket and a prefix
    lfs, lfs+https://server     a Git LFS server: the remote's own, or that one
    git                         within Git, on the remote itself

Addresses come from the person's own configuration. Of the repository's file .nnconfig nothing but
``nn.url`` counts, and only for buckets and Git LFS servers over https, where nothing else is set.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from git_nn.errors import UsageError
from git_nn.gitio.config import Config
from git_nn.gitio.repository import Repository

_SCP = re.compile(r"(?!\w:[\\/])([^/:]+|\[[^\]]+\]):(?!//)")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
SHARED = ".nnconfig"
_HARMLESS = re.compile(r"(?:s3|gs|az|lfs\+https)://[!-~]+\Z")


@dataclass(frozen=True, slots=True)
class Address:
    """``kind``: folder, ssh, bucket, lfs or git. ``git_url`` is Git's own address of the remote.

    ``url`` is the address of the packs where that is another: a path, an ssh address, a bucket, a
    server. ``beside`` is whether they lie in the git folder that ``git_url`` names.
    """

    kind: str
    url: str
    git_url: str = ""
    beside: bool = False

    @property
    def label(self) -> str:
        """For messages, without credentials."""
        return redacted(self.url or self.git_url)


def resolve(repo: Repository, config: Config, name: str, *, push: bool = False) -> Address:
    """The address of the packs of the remote ``name``, a configured name or an address itself."""
    return address_of(repo, config, name, git_url_of(config, name, push=push))


def address_of(repo: Repository, config: Config, name: str, git_url: str) -> Address:
    """The same where Git's own address is known already, as in its hooks."""
    chosen = config.get(f"remote.{name}.nnurl") or config.get("nn.url")
    if chosen:
        return parse(chosen, git_url)
    shared = _shared(repo)
    return parse(shared, git_url) if shared else follow(git_url)


def _shared(repo: Repository) -> str | None:
    """``nn.url`` of the repository's own file, where it is harmless."""
    file = repo.top / SHARED
    if not file.is_file() or file.is_symlink():
        return None
    argv = ("config", "--file", str(file), "--no-includes", "-z", "--get", "nn.url")
    url = repo.git(*argv, check=False).rstrip(b"\0").decode("utf-8", "replace")
    return url if _HARMLESS.match(url) and redacted(url) == url else None


def git_url_of(config: Config, name: str, *, push: bool = False) -> str:
    """Git's own address of a remote; ``name`` itself where it is no configured remote.

    UsageError for what can be no address either: it has no colon, and is no folder here.
    """
    key = f"remote.{name}"
    found = (config.get(f"{key}.pushurl") if push else None) or config.get(f"{key}.url")
    if not found and ":" not in name and not Path(name).exists():
        raise UsageError(f"{name!r} is no remote and no address", hint="run 'git remote -v'")
    return found or name


def parse(text: str, git_url: str = "") -> Address:
    """The address in a setting; UsageError where it is none that we know."""
    if text.startswith("-") or any(ord(char) < 32 for char in text):
        raise UsageError(f"{text[:80]!r} is no address", hint="see 'git nn remote add --help'")
    if text in ("git", "lfs"):
        return Address(text, "", git_url)
    scheme = _SCHEME.match(text)
    match scheme[1].lower() if scheme else "":
        case "file":
            return Address("folder", unquote(urlsplit(text).path), git_url)
        case "s3" | "gs" | "az":
            return Address("bucket", text, git_url)
        case "ssh" | "sftp":
            return Address("ssh", text, git_url)
        case "lfs+https" | "lfs+http":
            return Address("lfs", text.removeprefix("lfs+"), git_url)
        case "":
            kind = "ssh" if _SCP.match(text) else "folder"
            return Address(kind, text, git_url)
        case other:
            raise UsageError(
                f"git-nn has no remote of the kind {other}://",
                hint="use a folder, ssh://, s3://, gs://, az://, lfs, lfs+https:// or git",
            )


def follow(git_url: str) -> Address:
    """Where the packs of a Git remote are when nothing says it."""
    scheme = _SCHEME.match(git_url)
    match scheme[1].lower() if scheme else "":
        case "file":
            return Address("folder", unquote(urlsplit(git_url).path), git_url, beside=True)
        case "http" | "https":
            return Address("lfs", "", git_url)
        case "ssh" | "git+ssh" | "ssh+git":
            return Address("ssh", git_url, git_url, beside=True)
        case "":
            kind = "ssh" if _SCP.match(git_url) else "folder"
            return Address(kind, git_url, git_url, beside=True)
        case _:
            return Address("git", "", git_url)


def store_beside(start: Path, url: str) -> Path | None:
    """The store of the repository in the folder ``url``; None where that is no repository."""
    root = start / Path(url).expanduser()
    for git_dir in (root / ".git", root, root.with_name(root.name + ".git")):
        if (git_dir / "HEAD").is_file() and (git_dir / "objects").is_dir():
            return git_dir / "nn"
    return None


def redacted(url: str) -> str:
    """``url`` without user name and password; a user name alone may stay in an ssh address."""
    if not _SCHEME.match(url):
        return url
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    user = parts.netloc.rpartition("@")[0]
    if parts.scheme in ("ssh", "sftp", "git+ssh", "ssh+git") and user and ":" not in user:
        host = f"{user}@{host}"
    return urlunsplit((parts.scheme, host, parts.path, "", ""))
