"""fsck: is everything that Git needs in the store, and whole? And what can be mended.

Connectivity: each object that a reachable pointer needs is present, down to its segments.
Packs and data: each pack matches its name and its index, each frame decodes to its id.

Repair destroys nothing before its replacement is durable, and never guesses: an index is
rebuilt from its pack; the good frames of a damaged pack are copied to a new one before it
is set aside; missing objects come back from the trash, from stores that lie on this
machine, and from the work tree files themselves, which are cleaned again.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from git_nn.adopt import adopt, elsewhere, lacks
from git_nn.beside import Folder
from git_nn.clean import clean
from git_nn.errors import DamagedObjectError, GitNNError, MissingObjectError, PointerError
from git_nn.formats.base import FileSource
from git_nn.gitio import revisions
from git_nn.gitio.objects import open_reader
from git_nn.gitio.repository import Repository, find
from git_nn.objects import pointer as pointers
from git_nn.objects.oid import Oid
from git_nn.objects.pointer import Pointer
from git_nn.reach import Needs, Place, commit_of, find_needs, place_of
from git_nn.remote.seen import seen
from git_nn.store.info import Damage, PackInfo
from git_nn.store.local import LocalStore
from git_nn.worktree import Tracked, is_pointer_on_disk, tracked

Kind = Literal["missing", "damaged", "pointer", "index", "note"]
_CODES: tuple[tuple[Kind, int], ...] = (("damaged", 4), ("missing", 3), ("pointer", 6))
_LOCATED = 100  # walking history for the place of each of more would take too long
_NAMED = 3
_TMP_AGE = 86_400.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    An ``index`` is only a cache and a ``note`` is nothing wrong: neither changes the exit
    code. A ``pointer`` is one that is checked out or staged and is no valid pointer.
    """

    kind: Kind
    message: str
    oid: str = ""
    pack: str = ""
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found, and what a repair before it did."""

    pointers: int
    objects: int
    packs: int
    findings: tuple[Finding, ...]
    repaired: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        kinds = {finding.kind for finding in self.findings}
        return next((code for kind, code in _CODES if kind in kinds), 0)


def check(repo: Repository, store: LocalStore, *, connectivity: bool = False) -> Report:
    """Check the store of ``repo``; with ``connectivity`` no pack is read."""
    needs = find_needs(repo, store, strict=True)
    damages = [] if connectivity else _verify(store)
    findings = [
        *(_of_pack(damage) for damage in damages),
        *_object_findings(repo, store, needs, damages),
        *_pointer_findings(repo, needs),
        *_notes(store, needs),
    ]
    packs = sum(1 for _ in store.packs())
    return Report(needs.pointer_count, len(needs.objects), packs, tuple(findings))


def _verify(store: LocalStore) -> list[Damage]:
    damages = [damage for pack in store.packs() for damage in store.verify_pack(pack.name)]
    if not damages:
        return []
    there = {pack.name: pack for pack in store.packs()}  # a gc may have run meanwhile
    return [
        damage
        for damage in damages
        if damage.pack in there and not _is_elsewhere(store, there[damage.pack], damage)
    ]


def _is_elsewhere(store: LocalStore, pack: PackInfo, damage: Damage) -> bool:
    """Whether only segments of a list are missing or damaged, which is told where they are."""
    parts = [part for frame in pack.frames if frame.id == damage.oid for part in frame.parts]
    return any(True for _ in _unreadable(store, parts))


def _is_of_index(damage: Damage) -> bool:
    return damage.oid is None and damage.what.startswith("the index ")


def _of_pack(damage: Damage) -> Finding:
    kind: Kind = "index" if _is_of_index(damage) else "damaged"
    return Finding(kind, f"pack {damage.pack[:12]}: {damage.what}", _hex(damage.oid), damage.pack)


def _hex(oid: Oid | None) -> str:
    return oid.hex() if oid is not None else ""


def _object_findings(
    repo: Repository, store: LocalStore, needs: Needs, damages: Sequence[Damage]
) -> Iterator[Finding]:
    missing = store.missing(needs.objects)
    for path, held in elsewhere(repo, store, missing).items():
        yield Finding(
            "note",
            f"{len(held)} objects of other versions are not here yet, but in {path}; "
            "a checkout brings them",
        )
        missing = [oid for oid in missing if oid not in set(held)]
    far = seen(store.folders, missing)
    if far:
        yield _note_of_far(repo, needs, [oid for oid in missing if oid in far])
        missing = [oid for oid in missing if oid not in far]
    troubles: list[tuple[Kind, Oid, str]] = [
        ("missing", oid, "is not in the store") for oid in missing
    ]
    suspects = _suspects(store, needs, damages)
    troubles += _unreadable(store, [oid for oid in suspects if oid not in set(missing)])
    for number, (kind, oid, what) in enumerate(troubles):
        place = place_of(repo, needs, oid) if number < _LOCATED else None
        yield Finding(kind, f"{place or oid.hex()[:12]} {what}", oid.hex(), place=place)


def _note_of_far(repo: Repository, needs: Needs, oids: Sequence[Oid]) -> Finding:
    named = ", ".join(str(place_of(repo, needs, oid)) for oid in oids[:_NAMED])
    rest = f" and {len(oids) - _NAMED} more" if len(oids) > _NAMED else ""
    return Finding(
        "note",
        f"not here, but a remote had them when it was last asked: {named}{rest}; "
        "'git nn fsck --remote' asks again",
    )


def _suspects(store: LocalStore, needs: Needs, damages: Sequence[Damage]) -> list[Oid]:
    """Needed objects of which a piece stands in a damaged pack."""
    bad = {damage.pack for damage in damages if not _is_of_index(damage)}
    if not bad:
        return []
    ids = {frame.id for pack in store.packs() if pack.name in bad for frame in pack.frames}
    ids |= {damage.oid for damage in damages if damage.oid is not None}
    return [oid for oid in needs.objects if oid in ids or not ids.isdisjoint(_parts(store, oid))]


def _parts(store: LocalStore, oid: Oid) -> Collection[Oid]:
    try:
        return store.parts(oid)
    except (DamagedObjectError, MissingObjectError):
        return (oid,)


def _unreadable(store: LocalStore, oids: Sequence[Oid]) -> Iterator[tuple[Kind, Oid, str]]:
    for oid in oids:
        try:
            for _ in store.read(oid):
                pass
        except DamagedObjectError as error:
            yield "damaged", oid, f"is damaged: {error.why}"
        except MissingObjectError:
            yield "missing", oid, "is not in the store as a whole"


def _pointer_findings(repo: Repository, needs: Needs) -> Iterator[Finding]:
    """Broken pointers; one that stands in history only cannot be mended, and is a note."""
    texts = [item for item in needs.unreadable if item.kind != "skeleton"]
    current = {entry.oid for entry in revisions.index(repo)} if texts else set()
    if texts and revisions.resolve(repo, "HEAD^{tree}"):
        current |= {entry.oid for entry in revisions.tree(repo, "HEAD")}
    for item in texts:
        kind: Kind = "pointer" if item.pointed.blob in current else "note"
        path = item.pointed.path.decode("utf-8", "backslashreplace")
        place = Place("the pointer", path, commit_of(repo, item.pointed))
        yield Finding(kind, f"{place}: {item.why}", place=place)


def _notes(store: LocalStore, needs: Needs) -> Iterator[Finding]:
    if needs.absent:
        yield Finding(
            "note", f"{len(needs.absent)} objects of Git are not here, so were not looked into"
        )
    for path in sorted(store.folders.bad.glob("*.nnp")):
        yield Finding("note", f"a damaged pack was set aside in {path}", pack=path.stem)


def repair(repo: Repository, store: LocalStore, report: Report) -> Report:
    """Mend what ``report`` says, then check again, packs and all."""
    done = [*_mend_packs(store, report), *_bring_back(repo, store)]
    store.clean_tmp(_TMP_AGE)
    done += (
        f"removed the index of pack {name[:12]}, which is gone"
        for name in store.remove_stray_indexes()
    )
    return replace(check(repo, store), repaired=tuple(done))


def _mend_packs(store: LocalStore, report: Report) -> Iterator[str]:
    damaged = {item.pack for item in report.findings if item.kind == "damaged" and item.pack}
    for name in sorted(damaged):
        new = store.quarantine(name)
        yield f"salvaged {len(new)} packs from the damaged pack {name[:12]}"
    stale = {item.pack for item in report.findings if item.kind == "index"}
    for name in sorted((stale | set(store.unindexed())) - damaged):
        store.rebuild_index(name)
        yield f"rebuilt the index of pack {name[:12]}"


def _bring_back(repo: Repository, store: LocalStore) -> Iterator[str]:
    """Missing objects from other stores on this machine, then from the work trees."""
    needs = find_needs(repo, store)
    missing = store.missing(needs.objects)
    if not missing:
        return
    adopt(repo, store, _pointers_of(repo, needs, missing))
    found = len(missing) - len(store.missing(missing))
    if found:
        yield f"copied {found} objects from another store on this machine"
    for there in _worktrees(repo):
        for item in tracked(there):
            if _clean_again(there, store, item):
                name = item.path.decode("utf-8", "backslashreplace")
                yield f"stored the file {name} again"


def _pointers_of(repo: Repository, needs: Needs, oids: Collection[Oid]) -> list[Pointer]:
    found = []
    with open_reader(repo) as reader:
        for number in sorted({needs.objects[oid] for oid in oids}):
            try:
                found.append(pointers.parse(reader.read(needs.pointers[number].blob) or b""))
            except PointerError:
                continue
    return found


def _worktrees(repo: Repository) -> Iterator[Repository]:
    """Every work tree of the repository that can be opened."""
    env = {
        name: value
        for name, value in repo.env.items()
        if name not in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_IMPLICIT_WORK_TREE")
    }
    for line in repo.git("worktree", "list", "--porcelain").splitlines():
        if line.startswith(b"worktree "):
            top = Path(os.fsdecode(line.removeprefix(b"worktree ")))
            try:
                there = find(top, env)
            except (GitNNError, OSError):
                continue
            if there.work_tree is not None and there.common_dir == repo.common_dir:
                yield there


def _clean_again(repo: Repository, store: LocalStore, item: Tracked) -> bool:
    """Clean a work tree file whose pointer lacks something; whether that was done."""
    if repo.work_tree is None or item.pointer is None or is_pointer_on_disk(repo, item):
        return False
    if not lacks(store, item.pointer):
        return False
    path = repo.work_tree / os.fsdecode(item.path)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    with os.fdopen(fd, "rb"):
        clean(FileSource.of(fd), store, item.pointer, beside=Folder(path))
    return True
