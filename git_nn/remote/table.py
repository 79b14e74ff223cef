"""table: an address -> a remote. Each kind is imported when it is asked for."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from git_nn.errors import RemoteError
from git_nn.gitio.repository import Repository
from git_nn.remote.address import Address, store_beside
from git_nn.remote.base import CONNECTIONS, Remote, identity_of
from git_nn.remote.keys import KeyedRemote
from git_nn.store.folders import Folders

_DAY = 86400.0  # seconds
_YES, _NO = b"yes\n", b"no\n"


def open_remote(repo: Repository, address: Address, *, connections: int = CONNECTIONS) -> Remote:
    """The remote at ``address``; RemoteError where it cannot be had at all."""
    match address.kind:
        case "folder":
            return _folder(repo, address, connections)
        case "ssh":
            return _ssh(repo, address, connections)
        case "bucket":
            from git_nn.remote.cloud import open_bucket

            return KeyedRemote(open_bucket(address.url, repo.env), connections=connections)
        case "lfs":
            from git_nn.remote.lfs import LfsRemote

            endpoint = address.url or None
            return LfsRemote(repo, address.git_url, endpoint=endpoint, connections=connections)
    from git_nn.remote.in_git import GitRemote

    return GitRemote(repo, address.git_url)


def _folder(repo: Repository, address: Address, connections: int) -> Remote:
    from git_nn.remote.folder import FolderKeys

    start = repo.work_tree or repo.git_dir
    root: Path | None = start / Path(address.url).expanduser()
    if address.beside:
        root = store_beside(start, address.url)
    if root is None:
        raise RemoteError(
            f"there is no repository at {address.label}", hint="run 'git remote -v' and mend it"
        )
    return KeyedRemote(FolderKeys(Path(os.path.normpath(root))), connections=connections)


def _ssh(repo: Repository, address: Address, connections: int) -> Remote:
    """The folder on the other machine; the Git LFS server where that machine says it has one."""
    from git_nn.remote.ssh import open_folder

    if address.beside:
        from git_nn.remote.lfs import LfsRemote

        if _serves_lfs(repo, address):
            return LfsRemote(repo, address.git_url, connections=connections)
    keys = open_folder(repo, address.url, beside=address.beside)
    return KeyedRemote(keys, connections=connections)


def _serves_lfs(repo: Repository, address: Address) -> bool:
    """Whether the host has a Git LFS server: asked once a day, since that costs a connection."""
    from git_nn.remote.lfs_access import answers_over_ssh

    note = Folders(repo.nn_dir).remote(identity_of(address.label)) / "lfs"
    with suppress(OSError):
        if abs(time.time() - note.stat().st_mtime) < _DAY:
            return note.read_bytes() == _YES
    found = answers_over_ssh(repo, address.git_url)
    if found is not None:
        with suppress(OSError):
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_bytes(_YES if found else _NO)
    return bool(found)
