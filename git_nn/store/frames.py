"""frames: finding and decoding frames wherever they are: in packs, trash and alternates.

1. Nothing is given away before it has been compared with its id.
2. A delta is decoded upon a copy of its base that has a smaller depth, so every chain
   ends, whatever a damaged or hostile pack says.
3. A copy that is damaged, or whose base is, is passed over as long as there is another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from git_nn.errors import DamagedObjectError, MissingObjectError
from git_nn.objects.oid import Oid
from git_nn.store import frame
from git_nn.store.base import Buffer
from git_nn.store.frame import DamageError, Header, Part
from git_nn.store.pack import PackFile, Stored
from git_nn.store.shelf import Shelf


class Frames:
    """The frames of a shelf and of the shelves it may borrow from; any thread may ask."""

    def __init__(self, shelf: Shelf, lenders: Sequence[Frames] = (), *, borrowed: bool) -> None:
        self.shelf = shelf
        self._lenders = lenders
        self._borrowed = borrowed

    def holders(self, oid: Oid) -> Iterator[PackFile]:
        """Every pack that has the frame, wherever it is (docs/spec-store.md, section 9)."""
        seen: list[PackFile] = []
        for pack in self.shelf.holders(oid):
            seen.append(pack)
            yield pack
        self.shelf.refresh()
        yield from (pack for pack in self.shelf.holders(oid) if pack not in seen)
        yield from self.shelf.trashed(oid, restore=not self._borrowed)
        for lender in self._lenders:
            yield from lender.holders(oid)

    def known_holders(self, oid: Oid) -> Iterator[PackFile]:
        """The packs that have the frame as far as this process has listed them."""
        yield from self.shelf.holders(oid)
        for lender in self._lenders:
            yield from lender.known_holders(oid)

    def header(self, oid: Oid, *, below: int = frame.NO_LIMIT) -> Header | None:
        """What an index says of a copy of less depth than that; the body may be damaged."""
        for pack in self.holders(oid):
            entry = pack.index().find(oid)
            if entry is not None and entry.header.depth < below:
                return entry.header
        return None

    def smallest(self, oid: Oid) -> Header | None:
        """The header of the smallest copy in a pack."""
        entries = (pack.index().find(oid) for pack in self.known_holders(oid))
        headers = [entry.header for entry in entries if entry is not None]
        return min(headers, key=lambda header: header.clen, default=None)

    def load(self, oid: Oid, *, below: int = frame.NO_LIMIT) -> Buffer | tuple[Part, ...]:
        """The raw bytes of a data frame of a depth ``below`` that, or the parts of a list.

        Raises MissingObjectError or DamagedObjectError: of the frame, or of its base.
        """
        problem: DamageError | DamagedObjectError | MissingObjectError | None = None
        for pack in self.holders(oid):
            try:
                stored = pack.fetch(oid)
                if stored.header.kind == frame.LIST:
                    return parts_of(stored)
                if stored.header.depth < below:
                    return frame.decode(stored.header, stored.body, self.base_of(stored.header))
                problem = problem or DamageError("its bases go round in a circle")
            except FileNotFoundError:
                self.shelf.forget(pack)
            except (DamageError, DamagedObjectError, MissingObjectError) as error:
                problem = error
        if problem is None:
            raise MissingObjectError(oid.hex())
        if isinstance(problem, DamageError):
            raise DamagedObjectError(oid.hex(), str(problem)) from problem
        raise problem

    def base_of(self, header: Header) -> Buffer | None:
        """The raw bytes that the frame is a delta against; None for one that is none."""
        if header.base == frame.NO_BASE:
            return None
        base = self.load(header.base, below=header.depth)
        if isinstance(base, tuple):
            raise DamageError("its base is a list")
        return base

    def segment(self, part: Part) -> Buffer:
        """The raw bytes of one part of a list."""
        raw = self.load(part.oid)
        if isinstance(raw, tuple) or len(raw) != part.length:
            raise DamagedObjectError(part.oid.hex(), "a segment is not what its list says")
        return raw

    def parts(self, oid: Oid) -> tuple[Part, ...]:
        """The segments of an object; the object itself where it is a single one.

        Raises MissingObjectError or DamagedObjectError; the segments may be either.
        """
        damage: DamageError | None = None
        for pack in self.holders(oid):
            entry = pack.index().find(oid)
            if entry is not None and entry.header.kind == frame.DATA:
                return (Part(oid, entry.header.rawlen),)
            try:
                return parts_of(pack.fetch(oid))
            except DamageError as error:
                damage = error
            except FileNotFoundError:
                self.shelf.forget(pack)
        if damage is not None:
            raise DamagedObjectError(oid.hex(), str(damage)) from damage
        raise MissingObjectError(oid.hex())

    def has(self, part: Part) -> bool:
        """Whether the segment and its bases are here, as far as the indexes tell."""
        header = self.header(part.oid)
        fits = header is not None and header.kind == frame.DATA and header.rawlen == part.length
        while fits and header is not None and header.base != frame.NO_BASE:
            header = self.header(header.base, below=header.depth)
            fits = header is not None
        return fits


def parts_of(stored: Stored) -> tuple[Part, ...]:
    """The parts of a list frame; DamageError for any other."""
    stored.check()
    if stored.header.kind != frame.LIST:
        raise DamageError("a frame is not the list that it should be")
    return frame.parse_list(stored.header, stored.body)
