"""sending: the frames that somebody else lacks of some objects, as packs to hand over.

A pack of ours of which all is wanted goes as it is. Of others the wanted frames are copied to new
packs in a folder of the caller's: what nobody asked for stays here, branches that were never
pushed too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from git_nn.errors import MissingObjectError
from git_nn.objects.oid import Oid
from git_nn.store import info, sweep
from git_nn.store.copies import Copy, choose
from git_nn.store.folders import Folders
from git_nn.store.frame import Header
from git_nn.store.frames import Frames
from git_nn.store.pack import PackFile
from git_nn.store.settings import Settings
from git_nn.store.staging import Staging

There = Callable[[Oid], Header | None]


@dataclass(frozen=True, slots=True)
class Parcel:
    """What is to be sent: copies of frames in ``files``, by pack.

    ``missing`` are objects or frames that are neither here nor there.
    """

    copies: tuple[Copy, ...]
    files: Mapping[str, PackFile]
    missing: tuple[Oid, ...]

    @property
    def size(self) -> int:
        """Bytes of the frames."""
        return sum(copy.frame.stored_size for copy in self.copies)


def plan(frames: Frames, oids: Iterable[Oid], there: There) -> Parcel:
    """What somebody who has ``there`` (the header of a frame, or None) lacks of ``oids``.

    A list that is there does not prove that its segments are.
    """
    wanted: set[Oid] = set()
    missing: list[Oid] = []
    for oid in dict.fromkeys(oids):
        try:
            ids = {oid, *(part.oid for part in frames.parts(oid))}
        except MissingObjectError:
            if there(oid) is None:
                missing.append(oid)
            continue
        wanted |= {one for one in ids if not is_closed(one, there)}
    copies, files = _chosen(frames, wanted, there)
    missing += sorted(wanted - copies.keys())
    return Parcel(tuple(copies.values()), files, tuple(missing))


def is_closed(oid: Oid, there: There) -> bool:
    """Whether the frame and its bases are there, each with a smaller depth than the last."""
    header = there(oid)
    while header is not None and header.depth:
        below = there(header.base)
        if below is None or below.depth >= header.depth:
            return False
        header = below
    return header is not None


def _chosen(
    frames: Frames, wanted: set[Oid], there: There
) -> tuple[dict[Oid, Copy], dict[str, PackFile]]:
    """A copy of each wanted frame and of the bases that these need; the packs that have them."""
    wanted = set(wanted)
    files: dict[str, PackFile] = {}
    new = set(wanted)
    while True:
        files |= {pack.name: pack for oid in new for pack in _holders(frames, oid)}
        described = [one for pack in files.values() if (one := info.describe(pack)) is not None]
        copies = choose(described, wanted)
        bases = {copy.frame.base for copy in copies.values() if copy.frame.base is not None}
        new = {base for base in bases - wanted if not is_closed(base, there)}
        if not new:
            return _deepened(copies, there), files
        wanted |= new


def _holders(frames: Frames, oid: Oid) -> list[PackFile]:
    """The packs that are known, which asks no folder; else wherever it is."""
    return list(frames.known_holders(oid)) or list(frames.holders(oid))


def _deepened(copies: dict[Oid, Copy], there: There) -> dict[Oid, Copy]:
    """Each with a depth above that of its base, which may stand over there, and deeper."""
    depths: dict[Oid, int] = {}

    def depth(oid: Oid) -> int:
        if oid not in copies:
            below = there(oid)
            return below.depth if below is not None else 0
        if oid not in depths:
            copy = copies[oid]
            base = copy.frame.base
            depths[oid] = copy.depth if base is None else max(copy.depth, depth(base) + 1)
        return depths[oid]

    return {oid: replace(copy, depth=depth(oid)) for oid, copy in copies.items()}


def write(parcel: Parcel, scratch: Path, target: int) -> list[PackFile]:
    """Packs of about ``target`` bytes that hold the parcel and nothing else.

    New ones are written below ``scratch``. DamagedObjectError where a frame cannot be read.
    """
    by_pack: dict[str, list[Copy]] = defaultdict(list)
    for copy in parcel.copies:
        by_pack[copy.pack].append(copy)
    found: list[PackFile] = []
    new = Staging(Folders(scratch, lambda: Settings(sync=False)), target=target)
    try:
        for name, copies in by_pack.items():
            file = parcel.files[name]
            if _is_all(file, copies, target):
                found.append(file)
            else:
                sweep.copy_to(new, file, {copy.frame.id: copy.depth for copy in copies})
        return [*found, *new.publish()]
    finally:
        new.drop()


def _is_all(file: PackFile, copies: list[Copy], target: int) -> bool:
    """Whether the pack holds just these, at these depths, and is not too long to be sent."""
    index = file.index()
    return (
        index.count == len(copies)
        and all(copy.can_stand for copy in copies)
        and index.pack_size <= target + target // 2
    )
