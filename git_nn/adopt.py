"""adopt: bring objects from stores that lie on this machine into ours.

A clone of a local path has no store of its own yet: its origin's store lies beside the
origin's objects. Alternates (git clone --shared, --reference) are read through and never
copied; a remote that is a local path is copied from, since it may vanish tomorrow.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from git_nn.errors import GitNNError
from git_nn.gitio.alternates import object_folders
from git_nn.gitio.config import load
from git_nn.gitio.repository import Repository
from git_nn.objects import skeleton as skeletons
from git_nn.objects.oid import Oid
from git_nn.objects.pointer import Pointer
from git_nn.store.base import read_bytes
from git_nn.store.local import LocalStore, open_store

_SCP = re.compile(r"[^/]+:")  # host:path, which Git reads before it looks for a folder


def alternates(repo: Repository) -> list[Path]:
    """Stores beside the object folders that this repository borrows from, and nn.alternates."""
    stores = [folder.with_name("nn") for folder in object_folders(repo)]
    named = repo.git("config", "-z", "--type=path", "--get-all", "nn.alternates", check=False)
    stores += [repo.top / os.fsdecode(name) for name in named.split(b"\0")[:-1]]
    own = repo.nn_dir.resolve()
    return [store for store in stores if store.is_dir() and store.resolve() != own]


def neighbours(repo: Repository) -> Iterator[Path]:
    """Stores of remotes that are folders on this machine."""
    config = load(repo)
    for key in config.section("remote"):
        if not key.endswith((".url", ".pushurl")):
            continue
        for url in config.get_all(key):
            store = _store_beside(url, repo.work_tree or repo.git_dir)
            if store is not None:
                yield store


def adopt(repo: Repository, store: LocalStore, pointers: Iterable[Pointer]) -> None:
    """Copy what the store lacks of ``pointers`` from the neighbours that have it."""
    wanted = list(pointers)
    if not any(lacks(store, pointer) for pointer in wanted):
        return
    for path in neighbours(repo):
        if path == store.root:
            continue
        other = open_store(path)
        missing = {oid for pointer in wanted for oid in lacks(store, pointer)}
        store.adopt_packs(other, missing)
        blobs = {oid for pointer in wanted for oid in lacks(store, pointer)}
        store.adopt_packs(other, blobs - missing)


def elsewhere(repo: Repository, store: LocalStore, oids: Iterable[Oid]) -> dict[Path, list[Oid]]:
    """Which of ``oids`` a neighbour has, by the path of its store; each oid once."""
    left = list(oids)
    found: dict[Path, list[Oid]] = {}
    for path in neighbours(repo):
        if left and path != store.root:
            missing = set(open_store(path).missing(left))
            found[path] = [oid for oid in left if oid not in missing]
            left = [oid for oid in left if oid in missing]
    return {path: held for path, held in found.items() if held}


def lacks(store: LocalStore, pointer: Pointer) -> list[Oid]:
    """What ``pointer`` needs and the store has not: tensors, skeleton, its blobs."""
    missing = store.missing([pointer.skeleton, *(s.oid for s in pointer.stored.values())])
    if pointer.skeleton not in missing:
        try:
            skeleton = skeletons.decode(read_bytes(store, pointer.skeleton))
        except GitNNError:
            return [*missing, pointer.skeleton]
        missing = [*missing, *store.missing(blob.oid for blob in skeleton.blobs())]
    return missing


def _store_beside(url: str, start: Path) -> Path | None:
    """The store of the repository at ``url``, where that is a folder that exists."""
    if url.startswith("file://"):
        url = unquote(urlsplit(url).path)
    elif "://" in url or _SCP.match(url):
        return None
    root = start / Path(url).expanduser()
    for git_dir in (root / ".git", root, root.with_name(root.name + ".git")):
        store = git_dir / "nn"
        if (git_dir / "HEAD").is_file() and store.is_dir():
            return store
    return None
