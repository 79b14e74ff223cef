"""table: an address -> a remote. Each kind is imported when it is asked for."""

from __future__ import annotations

import os
from pathlib import Path

from git_nn.errors import RemoteError
from git_nn.gitio.repository import Repository
from git_nn.remote.address import Address, store_beside
from git_nn.remote.base import CONNECTIONS, Remote
from git_nn.remote.keys import KeyedRemote


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
        from git_nn.remote.lfs_access import answers_over_ssh

        if answers_over_ssh(repo, address.git_url):
            return LfsRemote(repo, address.git_url, connections=connections)
    keys = open_folder(repo, address.url, beside=address.beside)
    return KeyedRemote(keys, connections=connections)
