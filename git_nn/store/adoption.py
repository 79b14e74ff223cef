"""Bringing packs of another store on this machine into ours.

Packs never change, so a hard link is as good as a copy and costs nothing. A pack is
taken only where it is a plain file, never a link, and a copy must match its name.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from blake3 import blake3

from git_nn.objects.oid import Oid
from git_nn.store import frame, system
from git_nn.store.folders import Folders
from git_nn.store.frame import DamageError
from git_nn.store.pack import PackFile, read_at, scanned_index, write_all, write_file
from git_nn.store.shelf import Shelf
from git_nn.store.staging import Staging, place, sync_folders

_CHUNK = 4 * 1024 * 1024


def adopt(folders: Folders, other: Shelf, oids: Iterable[Oid]) -> None:
    """Bring every pack of ``other`` that holds ``oids``, their segments and their bases."""
    other.refresh()
    chosen: dict[str, PackFile] = {}
    seen: set[Oid] = set()
    waiting = list(oids)
    while waiting:
        oid = waiting.pop()
        if oid in seen:
            continue
        seen.add(oid)
        for holder in other.holders(oid):
            try:
                waiting += _needs(holder, oid)
            except (DamageError, FileNotFoundError):
                continue
            chosen[holder.name] = holder
            break
    _take(folders, list(chosen.values()))


def _needs(holder: PackFile, oid: Oid) -> list[Oid]:
    """What the frame refers to. Bodies of data frames are not read: their readers check them."""
    entry = holder.index().find(oid)
    if entry is not None and entry.header.kind == frame.DATA:
        return [] if entry.header.base == frame.NO_BASE else [entry.header.base]
    stored = holder.fetch(oid)
    stored.check()
    return [part.oid for part in frame.parse_list(stored.header, stored.body)]


def _take(folders: Folders, chosen: list[PackFile]) -> None:
    staging = Staging(folders)
    taken = []
    try:
        for number, holder in enumerate(chosen):
            own = PackFile(holder.name, staging.folder() / f"adopted-{number}.nnp")
            try:
                _link_or_copy(holder, own)
                write_file(own.index_path, scanned_index(own).data)
            except (DamageError, FileNotFoundError):
                continue  # what it held stays missing, and the caller says so
            staging.ensure_format()
            place(folders, own.name, own.path, own.index_path)
            taken.append(own.name)
        if taken:
            sync_folders(folders, taken)
    finally:
        staging.drop()


def _link_or_copy(holder: PackFile, own: PackFile) -> None:
    try:
        system.link(holder.path, own.path)
    except FileNotFoundError:
        raise
    except OSError:  # another file system, one without links, or a file of somebody else
        _copy(holder, own)
        return
    with own.opened() as fd:
        system.file_size(fd)  # a link to anything but a plain file is refused
        system.fsync(fd)
    with suppress(OSError):
        system.utime(own.path)


def _copy(holder: PackFile, own: PackFile) -> None:
    hasher = blake3()
    with holder.opened() as source:
        size = system.file_size(source)
        target = system.open_excl(own.path)
        try:
            for offset in range(0, size, _CHUNK):
                data = read_at(source, min(_CHUNK, size - offset), offset)
                hasher.update(data)
                write_all(target, data)
            system.fsync(target)
        finally:
            system.close(target)
    if hasher.hexdigest() != holder.name:
        raise DamageError("the bytes of the pack do not match its name")
