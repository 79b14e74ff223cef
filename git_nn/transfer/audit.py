"""audit: has a remote, whole, all that its refs need? And sending again what it has not.

1. Indexes are read anew, not from the clone's cache; each pack must have the length its index says,
   and a Git LFS server must say that it has it.
   With ``full`` each is downloaded and compared with its name, its index, and frame by frame.
2. What counts as there stands in packs that are not damaged, with its segments and bases.
3. A damaged pack is taken away only when nothing that is needed stands in it alone: everything
   else of it that somebody may still read is here, or in other packs there.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from git_nn.errors import GitNNError, RemoteError
from git_nn.gitio.repository import Repository
from git_nn.objects.oid import Oid
from git_nn.reach import Needs, needs_of, place_of
from git_nn.remote.base import Published, Remote
from git_nn.remote.keys import KeyedRemote
from git_nn.remote.lfs import LfsRemote
from git_nn.store import frame, inspection
from git_nn.store import index as indexes
from git_nn.store.frame import DamageError
from git_nn.store.index import Index
from git_nn.store.local import LocalStore
from git_nn.store.pack import PackFile
from git_nn.store.sending import is_closed
from git_nn.transfer.fetch import fetch, fetch_list
from git_nn.transfer.holdings import Holdings
from git_nn.transfer.push import send
from git_nn.transfer.tips import tips_of

_LOCATED = 100  # walking history for the place of each of more would take too long
_CODES = (("damaged", 4), ("missing", 3))


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong at a remote; a ``note`` does not change the exit code."""

    kind: Literal["damaged", "missing", "note"]
    message: str
    pack: str = ""
    oid: str = ""


@dataclass(frozen=True, slots=True)
class Audit:
    """What a remote has, and what is wrong with it. ``size`` in bytes."""

    label: str
    packs: int
    size: int
    objects: int
    findings: tuple[Finding, ...]
    repaired: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        kinds = {finding.kind for finding in self.findings}
        return next((code for kind, code in _CODES if kind in kinds), 0)


@dataclass(frozen=True, slots=True)
class _State:
    """``holdings`` are of packs that are whole; ``known`` are the indexes of all."""

    holdings: Holdings
    known: Mapping[str, Index]
    needs: Needs
    lacking: tuple[Oid, ...]
    bad: Mapping[str, str]
    notes: tuple[Finding, ...]


def audit(repo: Repository, store: LocalStore, remote: Remote, name: str, *, full: bool) -> Audit:
    """Check ``remote``, the weights of the Git remote ``name``. RemoteError, GitError."""
    return _report(repo, store, _look(repo, store, remote, name, full=full))


def repair(repo: Repository, store: LocalStore, remote: Remote, name: str, *, full: bool) -> Audit:
    """Send again what is missing there and is here, and replace damaged packs; then check again."""
    state = _look(repo, store, remote, name, full=full)
    done: list[str] = []
    gone = [pack for pack in state.bad if _can_go(store, state, pack)]
    if gone:
        _take_away(remote, gone)
        done.append(f"took {len(gone)} damaged packs away")
    missing = set(store.missing(state.lacking))
    parcel = store.parcel(
        [oid for oid in state.lacking if oid not in missing], state.holdings.header
    )
    if parcel.copies:
        packs = send(store, remote, parcel)
        done.append(f"sent {len(parcel.copies)} frames in {len(packs)} packs")
    return replace(audit(repo, store, remote, name, full=full), repaired=tuple(done))


def _can_go(store: LocalStore, state: _State, pack: str) -> bool:
    """Whether all that stands in a damaged pack can be had without it, as far as is known."""
    index = state.known.get(pack)
    needed = (
        [oid for oid in state.lacking if index.find(oid) or _has_part(store, index, oid)]
        if index is not None
        else state.lacking
    )
    return not store.missing(needed)


def _has_part(store: LocalStore, index: Index, oid: Oid) -> bool:
    return any(index.find(part) is not None for part in _frames_of(store, oid))


def _take_away(remote: Remote, names: Sequence[str]) -> None:
    """To the trash, where there is one."""
    if isinstance(remote, KeyedRemote):
        remote.retire(names, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()))
    else:
        remote.remove(names)


# --- looking --------------------------------------------------------------------------


def _look(repo: Repository, store: LocalStore, remote: Remote, name: str, *, full: bool) -> _State:
    if isinstance(remote, LfsRemote):
        remote.doubt()
    published = {pack.name: pack for pack in remote.packs()}
    known, bad = _indexes(remote, published)
    if full:
        with store.scratch() as scratch:
            bad |= _unlike(remote, Path(scratch), known.values(), bad)
    holdings = Holdings(remote, {one: index for one, index in known.items() if one not in bad})
    tips = tips_of(repo, name)
    notes = [
        Finding("note", f"{ref} is not in this clone, so what it needs was not looked for")
        for ref in tips.absent
    ]
    needs = needs_of(repo, store, tips.here)
    hidden = [item for item in needs.unreadable if item.kind == "skeleton"]
    if hidden:
        with suppress(RemoteError):
            fetch(store, holdings, store.missing(needs.objects.keys() & needs.skeletons))
        needs = needs_of(repo, store, tips.here)
    lacking = tuple(oid for oid in needs.objects if not _is_there(store, holdings, oid))
    return _State(holdings, known, needs, lacking, bad, tuple(notes))


def _indexes(
    remote: Remote, published: Mapping[str, Published]
) -> tuple[dict[str, Index], dict[str, str]]:
    """The indexes that can be read, and what is wrong with packs, by name."""
    found: dict[str, Index] = {}
    bad = dict.fromkeys(published, "the index cannot be read")
    for name, data in remote.indexes(published.keys()):
        try:
            found[name] = indexes.parse(data, name)
        except DamageError as error:
            bad[name] = str(error)
            continue
        size = published[name].size
        if size in (None, found[name].pack_size):
            del bad[name]
        else:
            bad[name] = f"it has {size} of {found[name].pack_size} bytes"
    return found, bad


def _unlike(
    remote: Remote, scratch: Path, packs: Iterable[Index], bad: Mapping[str, str]
) -> dict[str, str]:
    """Packs that are not what their name and index say, from their bytes."""
    found = {}
    whole = [index for index in packs if index.pack_name not in bad]
    remote.expect([index.pack_name for index in whole])
    for index in whole:
        file = PackFile(index.pack_name, scratch / f"{index.pack_name}.nnp")
        try:
            with file.path.open("wb") as out:
                out.writelines(remote.read(index.pack_name, 0, index.pack_size))
            file.index_path.write_bytes(index.data)
            damages = inspection.verify_bytes(file)
        except RemoteError as error:
            found[index.pack_name] = error.message
            continue
        finally:
            file.path.unlink(missing_ok=True)
            file.index_path.unlink(missing_ok=True)
        if damages:
            found[index.pack_name] = damages[0].what
    return found


def _is_there(store: LocalStore, holdings: Holdings, oid: Oid) -> bool:
    header = holdings.header(oid)
    if header is not None and header.kind == frame.LIST and not store.has_frame(oid):
        try:
            fetch_list(store, holdings, oid)
        except RemoteError:
            return False
    return all(is_closed(one, holdings.header) for one in _frames_of(store, oid))


def _frames_of(store: LocalStore, oid: Oid) -> list[Oid]:
    try:
        return list(dict.fromkeys([oid, *store.parts(oid)]))
    except GitNNError:
        return [oid]


# --- telling --------------------------------------------------------------------------


def _report(repo: Repository, store: LocalStore, state: _State) -> Audit:
    findings = [*_of_packs(state), *_of_objects(repo, store, state), *state.notes]
    size = sum(index.pack_size for index in state.known.values())
    label = state.holdings.remote.label
    return Audit(label, len(state.known), size, len(state.needs.objects), tuple(findings))


def _of_packs(state: _State) -> Iterator[Finding]:
    for name, why in sorted(state.bad.items()):
        yield Finding("damaged", f"pack {name[:12]}: {why}", pack=name)


def _of_objects(repo: Repository, store: LocalStore, state: _State) -> Iterator[Finding]:
    missing = set(store.missing(state.lacking))
    for number, oid in enumerate(state.lacking):
        what = place_of(repo, state.needs, oid) if number < _LOCATED else oid.hex()[:12]
        here = "nor is it here" if oid in missing else "but it is here"
        yield Finding("missing", f"{what} cannot be had from there, {here}", oid=oid.hex())
    for item in state.needs.unreadable:
        if item.blocks:
            path = item.pointed.path.decode("utf-8", "backslashreplace")
            yield Finding("missing", f"what {path} needs is not known: {item.why}")
