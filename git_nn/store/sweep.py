"""Taking packs away: to the trash, to bad/, and out of the trash for good.

1. What is kept is durable in its new place before the old one is touched.
2. Nothing is deleted but from the trash, from folders of dead writers, and packs of which
   every frame has a better copy in another pack.
"""

from __future__ import annotations

import time
from calendar import timegm
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from git_nn.errors import DamagedObjectError, MissingObjectError, StoreError
from git_nn.objects.oid import Oid
from git_nn.store import folders as places
from git_nn.store import frame, pack, staging, system
from git_nn.store.copies import Copy
from git_nn.store.folders import Folders
from git_nn.store.frame import DamageError
from git_nn.store.index import Entry
from git_nn.store.inspection import BaseOf
from git_nn.store.pack import PackFile, Stored
from git_nn.store.staging import Staging

_TIME = "%Y%m%dT%H%M%SZ"


def retire(folders: Folders, name: str) -> None:
    """Move a pack to the trash, the index first: it must not stand alone in packs/."""
    bin_ = folders.trash / time.strftime(_TIME, time.gmtime(system.now()))
    _move(folders, name, bin_)


def _move(folders: Folders, name: str, target: Path) -> None:
    places.make(target)
    for source in (folders.index(name), folders.pack(name)):
        with suppress(FileNotFoundError):
            system.rename(source, target / source.name)
    system.fsync_dir(target)
    system.fsync_dir(folders.pack(name).parent)


def rewrite(folders: Folders, target: int, keep: Iterable[Copy]) -> list[str]:
    """See LocalStore.rewrite."""
    by_pack: dict[str, dict[Oid, int]] = defaultdict(dict)
    for copy in keep:
        by_pack[copy.pack][copy.frame.id] = copy.depth
    new = Staging(folders, target=target)
    try:
        for name, depths in by_pack.items():
            copy_to(new, PackFile(name, folders.pack(name)), depths)
        return [file.name for file in new.publish()]
    finally:
        new.drop()


def copy_to(new: Staging, file: PackFile, depths: Mapping[Oid, int]) -> None:
    """Copy frames of ``file``, each with the depth given; DamagedObjectError where one is not."""
    try:
        copied = _copy_frames(file, depths, new)
    except DamageError as error:
        raise StoreError(f"a pack cannot be read: {error}", hint="run 'git nn fsck'") from error
    for oid in depths.keys() - copied:
        raise DamagedObjectError(oid.hex(), "its frame cannot be read")


def quarantine(folders: Folders, target: int, name: str, base_of: BaseOf) -> list[str]:
    """See LocalStore.quarantine."""
    file = PackFile(name, folders.pack(name))
    new = Staging(folders, target=target)
    try:
        wanted = {entry.header.id: entry.header.depth for entry in pack.scanned_index(file)}
        _copy_frames(file, wanted, new, base_of)
        salvaged = [other.name for other in new.publish()]
    except FileNotFoundError as error:
        raise StoreError(f"there is no pack {name}", hint="run 'git nn fsck'") from error
    finally:
        new.drop()
    if name not in salvaged:  # else the pack as it should be has just replaced the damaged one
        _move(folders, name, folders.bad)
    return salvaged


def _copy_frames(
    file: PackFile, wanted: Mapping[Oid, int], new: Staging, base_of: BaseOf | None = None
) -> set[Oid]:
    """Copy the ``wanted`` frames of ``file`` that are whole, with the depth wanted; their ids.

    With ``base_of`` they are decoded, too, and what the disk cannot read is passed over.
    """
    copied: set[Oid] = set()
    with file.opened() as fd:
        for entry in pack.scan(fd, system.file_size(fd), strict=base_of is None):
            if not isinstance(entry, Entry) or entry.header.id not in wanted:
                continue
            if entry.header.id in copied:
                continue
            try:
                stored = pack.read_frame(fd, entry)
                stored.check()
                if base_of is not None and entry.header.kind == frame.DATA:
                    _decode(stored, base_of)
            except DamageError:
                continue
            new.add(replace(stored.header, depth=wanted[entry.header.id]), stored.body)
            copied.add(entry.header.id)
    return copied


def _decode(stored: Stored, base_of: BaseOf) -> None:
    """DamageError unless the frame decodes, as far as its base can be read."""
    with suppress(MissingObjectError, DamagedObjectError):
        frame.decode(stored.header, stored.body, base_of(stored.header))


def check(folders: Folders, copies: Iterable[Copy], base_of: BaseOf) -> None:
    """See LocalStore.check."""
    for copy in copies:
        oid, file = copy.frame.id, PackFile(copy.pack, folders.pack(copy.pack))
        try:
            stored = file.fetch(oid)
            stored.check()
            if stored.header.kind == frame.DATA:
                frame.decode(stored.header, stored.body, base_of(stored.header))
        except DamageError as error:
            raise DamagedObjectError(oid.hex(), str(error)) from error


def drop(folders: Folders, name: str) -> None:
    """Delete a pack of which every frame stands elsewhere, too; the index first."""
    for path in (folders.index(name), folders.pack(name)):
        with suppress(FileNotFoundError):
            system.unlink(path)
    system.fsync_dir(folders.pack(name).parent)


def empty_trash(folders: Folders, older_than: float) -> list[str]:
    """See LocalStore.empty_trash."""
    removed = []
    limit = system.now() - older_than
    for bin_ in sorted({path.parent for _, path in _trashed(folders)} | _bins(folders)):
        if _time_of(bin_) > limit:
            continue
        removed += [name for name, path in _trashed(folders) if path.parent == bin_]
        with suppress(FileNotFoundError):
            staging.remove_folder(bin_)
    return removed


def _trashed(folders: Folders) -> list[tuple[str, Path]]:
    return places.list_packs(folders.trash)


def _bins(folders: Folders) -> set[Path]:
    try:
        found = system.listing(folders.trash)
    except FileNotFoundError:
        return set()
    return {folders.trash / name for name, kind in found if kind == "dir"}


def _time_of(bin_: Path) -> float:
    try:
        return timegm(time.strptime(bin_.name, _TIME))
    except ValueError:
        return system.status(bin_).st_mtime


def clean_tmp(folders: Folders, older_than: float) -> list[str]:
    """See LocalStore.clean_tmp."""
    try:
        found = system.listing(folders.tmp)
    except FileNotFoundError:
        return []
    limit = system.now() - older_than
    return [
        name
        for name, kind in sorted(found)
        if kind == "dir" and _remove_if_dead(folders.tmp / name, limit)
    ]


def _remove_if_dead(folder: Path, limit: float) -> bool:
    with suppress(FileNotFoundError):
        if system.status(folder).st_mtime > limit:
            return False
        fd = system.open_lock(folder / staging.LOCK_NAME)
        try:
            if system.try_lock(fd, exclusive=True):
                staging.remove_folder(folder)
                return True
        finally:
            system.close(fd)
    return False


def remove_stray_indexes(folders: Folders) -> list[str]:
    """See LocalStore.remove_stray_indexes."""
    there = {name for name, _ in places.list_packs(folders.packs)}
    stray = [
        (name, path)
        for name, path in places.list_packs(folders.packs, suffix=places.INDEX)
        if name not in there
    ]
    for _, path in stray:
        system.unlink(path)
    return [name for name, _ in stray]
