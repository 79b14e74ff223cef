"""seen: what remotes had when they were asked the last time, from the indexes kept in the clone.

Nobody is asked. It tells an object that a lazy clone has not fetched, or that 'git nn prune' took
away, from one that is lost; only 'git nn fsck' of the remote itself tells whether it is there now.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

from git_nn.objects.oid import Oid
from git_nn.store import index as indexes
from git_nn.store.folders import INDEX, Folders
from git_nn.store.frame import DamageError
from git_nn.store.index import Index


def seen(folders: Folders, oids: Iterable[Oid]) -> set[Oid]:
    """Those of ``oids`` of which some remote had a frame."""
    left = set(oids)
    found: set[Oid] = set()
    if left:
        for index in _kept(folders):
            found |= {oid for oid in left - found if index.find(oid) is not None}
    return found


def _kept(folders: Folders) -> Iterator[Index]:
    for path in sorted(folders.remotes.glob(f"*/*{INDEX}")):
        with suppress(OSError, DamageError):
            yield indexes.parse(path.read_bytes(), path.stem)
