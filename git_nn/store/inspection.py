"""What fsck finds out about the packs of a store, and the one repair that is always safe."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from blake3 import blake3

from git_nn.errors import DamagedObjectError, MissingObjectError, StoreError
from git_nn.objects.oid import Oid
from git_nn.store import folders as places
from git_nn.store import frame, pack, system
from git_nn.store.base import Buffer
from git_nn.store.folders import Folders
from git_nn.store.frame import DamageError, Header
from git_nn.store.index import Entry, Index
from git_nn.store.info import Damage
from git_nn.store.pack import PackFile
from git_nn.store.staging import Staging, sync_folders

_CHUNK = 4 * 1024 * 1024
Holders = Callable[[Oid], Iterator[PackFile]]
BaseOf = Callable[[Header], Buffer | None]
Read = Callable[[Oid], Iterator[Buffer]]


def missing(holders: Holders, oids: Iterable[Oid]) -> list[Oid]:
    """See LocalStore.missing. Walks without recursion: chains may be hostile."""
    needs: dict[Oid, tuple[Oid, ...] | None] = {}

    def whole(top: Oid) -> bool:
        seen, waiting = {top}, [top]
        while waiting:
            oid = waiting.pop()
            if oid not in needs:
                needs[oid] = _needs(holders, oid)
            below = needs[oid]
            if below is None:
                return False
            waiting += [other for other in below if other not in seen]
            seen.update(below)
        return True

    return [oid for oid in oids if not whole(oid)]


def _needs(holders: Holders, oid: Oid) -> tuple[Oid, ...] | None:
    """The oids that a frame refers to; None where there is no copy that can be read."""
    for holder in holders(oid):
        try:
            entry = holder.index().find(oid)
            if entry is not None and entry.header.kind == frame.DATA:
                return () if entry.header.base == frame.NO_BASE else (entry.header.base,)
            stored = holder.fetch(oid)
            stored.check()
            return tuple(part.oid for part in frame.parse_list(stored.header, stored.body))
        except (DamageError, FileNotFoundError):
            continue
    return None


def verify(folders: Folders, name: str, base_of: BaseOf, read: Read) -> list[Damage]:
    """See LocalStore.verify_pack. ``read`` gives whole objects, to check lists."""
    file = PackFile(name, folders.pack(name))
    try:
        with file.opened() as fd:
            size = system.file_size(fd)
            found = [*_check_file(name, fd, size)]
            scanned = list(pack.scan(fd, size))
            for item in scanned:
                if isinstance(item, pack.Gap):
                    found.append(
                        Damage(name, None, f"bytes {item.start}..{item.stop} are no frame")
                    )
                else:
                    found += _check_frame(name, fd, item, base_of, read)
    except FileNotFoundError:
        return [Damage(name, None, "the pack is missing")]
    entries = [item for item in scanned if isinstance(item, Entry)]
    return found + _check_index(file, size, entries)


def verify_bytes(file: PackFile) -> list[Damage]:
    """What is wrong with a pack and its index, as far as no frame need be decoded for it."""
    with file.opened() as fd:
        size = system.file_size(fd)
        found = [*_check_file(file.name, fd, size)]
        entries = []
        for item in pack.scan(fd, size):
            if isinstance(item, pack.Gap):
                found.append(
                    Damage(file.name, None, f"bytes {item.start}..{item.stop} are no frame")
                )
                continue
            entries.append(item)
            try:
                pack.read_frame(fd, item).check()
            except DamageError as error:
                found.append(Damage(file.name, item.header.id, str(error)))
    return found + _check_index(file, size, entries)


def _check_file(name: str, fd: int, size: int) -> Iterator[Damage]:
    """The header, and the name against the bytes."""
    try:
        pack.check_header(pack.read_at(fd, pack.HEADER_SIZE, 0))
    except DamageError as error:
        yield Damage(name, None, str(error))
    hasher = blake3()
    try:
        for offset in range(0, size, _CHUNK):
            hasher.update(pack.read_at(fd, min(_CHUNK, size - offset), offset))
    except DamageError as error:
        yield Damage(name, None, str(error))
    if hasher.hexdigest() != name:
        yield Damage(name, None, "the bytes of the pack do not match its name")


def _check_frame(name: str, fd: int, entry: Entry, base_of: BaseOf, read: Read) -> Iterator[Damage]:
    oid = entry.header.id
    try:
        stored = pack.read_frame(fd, entry)
        stored.check()
        if entry.header.kind == frame.DATA:
            frame.decode(stored.header, stored.body, base_of(stored.header))
            return
        frame.parse_list(stored.header, stored.body)
        for _ in read(oid):
            pass
    except DamageError as error:
        yield Damage(name, oid, str(error))
    except (DamagedObjectError, MissingObjectError) as error:
        yield Damage(name, oid, error.message)


def _check_index(file: PackFile, size: int, entries: list[Entry]) -> list[Damage]:
    try:
        index = pack.read_index(file)
    except FileNotFoundError:
        return [Damage(file.name, None, "the index is missing")]
    except DamageError as error:
        return [Damage(file.name, None, str(error))]
    first: dict[Oid, Entry] = {}
    for entry in entries:
        first.setdefault(entry.header.id, entry)
    if index.pack_size != size or {entry.header.id: entry for entry in index} != first:
        return [Damage(file.name, None, "the index does not match the pack")]
    return []


def unindexed(folders: Folders) -> list[str]:
    """See LocalStore.unindexed."""
    found = []
    for name, path in places.list_packs(folders.packs):
        try:
            pack.read_index(PackFile(name, path))
        except (DamageError, FileNotFoundError):
            found.append(name)
    return found


def rebuild_index(folders: Folders, name: str) -> None:
    """See LocalStore.rebuild_index."""
    file = PackFile(name, folders.pack(name))
    try:
        index: Index = pack.scanned_index(file, strict=True)
    except FileNotFoundError as error:
        raise StoreError(f"there is no pack {name}", hint="run 'git nn fsck'") from error
    except DamageError as error:
        raise StoreError(
            f"pack {name} cannot be read: {error}", hint="run 'git nn fsck --repair'"
        ) from error
    staging = Staging(folders)
    try:
        new = staging.folder() / "0.idx"
        pack.write_file(new, index.data)
        system.rename(new, file.index_path)
        sync_folders(folders, [name])
    finally:
        staging.drop()
