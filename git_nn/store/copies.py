"""copies: of several copies of a frame, which one to keep. Pure decisions about pack contents.

A frame may stand in many packs, in different encodings. The smallest copy is kept, with
one condition: the kept copies must be decodable upon each other. So a delta is kept only
where the chain below it, of kept copies, ends within MAX_DEPTH. The copies with the
smallest depth always do that (docs/spec-store.md, section 3).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from git_nn.objects.oid import Oid
from git_nn.store.info import FrameInfo, PackInfo

MAX_DEPTH = 8
_NO_LIMIT = 255
_PATIENCE = 64  # frames between one and the end of its chain, over whatever copies


@dataclass(frozen=True, slots=True)
class Copy:
    """A frame in a pack, and the depth that it must have among the kept copies."""

    pack: str
    frame: FrameInfo
    depth: int

    @property
    def can_stand(self) -> bool:
        """Whether its header says that depth already."""
        return self.frame.depth == self.depth


def choose(packs: Iterable[PackInfo], wanted: Collection[Oid]) -> dict[Oid, Copy]:
    """The copy to keep of each wanted frame that is in ``packs``."""
    found: dict[Oid, list[tuple[str, FrameInfo]]] = defaultdict(list)
    for pack in packs:
        for frame in pack.frames:
            if frame.id in wanted:
                found[frame.id].append((pack.name, frame))
    for copies in found.values():
        copies.sort(key=lambda copy: (copy[1].stored_size, copy[1].depth, copy[0]))
    kept: dict[Oid, Copy] = {}
    for limit in (MAX_DEPTH, _NO_LIMIT):
        for oid in found:
            _settle(oid, found, kept, limit, ())
    return kept


def _settle(
    oid: Oid,
    found: Mapping[Oid, list[tuple[str, FrameInfo]]],
    kept: dict[Oid, Copy],
    limit: int,
    above: tuple[Oid, ...],
) -> Copy | None:
    """Decide on ``oid``, and on what is below it; None where no copy has a short chain."""
    if oid in kept or len(above) > _PATIENCE:
        return kept.get(oid)
    for pack, frame in found[oid]:
        depth = frame.depth
        if frame.base in above:
            continue
        if frame.base is not None and frame.base in found:
            below = _settle(frame.base, found, kept, limit, (*above, oid))
            if below is None:
                continue
            depth = max(depth, below.depth + 1)
        if depth <= limit:
            kept[oid] = Copy(pack, frame, depth)
            return kept[oid]
    return None
