"""FlatBuffers read in place: tables, vectors and strings, without a schema.

A table is a position in the file. Every read is checked against the file, and every count before
anything is read for it. Tables may be shared and counts may repeat them, so who walks a file bounds
how many tables it looks at.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import iter_unpack, unpack

from git_nn.errors import LayoutError
from git_nn.formats.base import Source

Table = int

_FIELDS = 32  # of a table that are looked at


@dataclass(frozen=True, slots=True)
class FlatBuffer:
    """A file whose root table is named by its first four bytes; all numbers are little-endian."""

    source: Source
    _shapes: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def root(self) -> Table:
        return self.number(0, 4)

    def number(self, at: int, size: int, *, signed: bool = False) -> int:
        return int.from_bytes(self.source.read(at, size), "little", signed=signed)

    def slot(self, table: Table, index: int) -> int | None:
        """Where field ``index`` of a table stands; None where it has its default."""
        shape_at = table - self.number(table, 4, signed=True)
        shape = self._shapes.get(shape_at)
        if shape is None:  # most tables share a few of these
            length = self.number(shape_at, 2)
            data = self.source.read(shape_at + 4, min(length // 2 * 2 - 4, 2 * _FIELDS))
            shape = self._shapes[shape_at] = unpack(f"<{len(data) // 2}H", data)
        offset = shape[index] if index < len(shape) else 0
        return table + offset if offset else None

    def scalar(
        self, table: Table, index: int, size: int, default: int = 0, *, signed: bool = False
    ) -> int:
        at = self.slot(table, index)
        return default if at is None else self.number(at, size, signed=signed)

    def table(self, table: Table, index: int) -> Table | None:
        at = self.slot(table, index)
        return None if at is None else at + self.number(at, 4)

    def vector(self, table: Table, index: int, width: int, most: int) -> tuple[int, int]:
        """Where the items of a vector of ``width`` bytes each stand, and how many there are.

        LayoutError where there are more than ``most``, or they leave the file.
        """
        at = self.table(table, index)
        if at is None:
            return 0, 0
        count = self.number(at, 4)
        if count > most:
            raise LayoutError("a vector is too long")
        if at + 4 + count * width > self.source.size:
            raise LayoutError("a vector leaves the file")
        return at + 4, count

    def integers(self, table: Table, index: int, most: int) -> tuple[int, ...]:
        """A vector of int32."""
        at, count = self.vector(table, index, 4, most)
        return unpack(f"<{count}i", self.source.read(at, 4 * count))

    def tables(self, table: Table, index: int, most: int) -> list[Table]:
        at, count = self.vector(table, index, 4, most)
        offsets = iter_unpack("<I", self.source.read(at, 4 * count))
        return [at + 4 * i + offset for i, (offset,) in enumerate(offsets)]

    def text(self, table: Table, index: int, most: int) -> str:
        at, count = self.vector(table, index, 1, most)
        return self.source.read(at, count).decode("utf-8", "surrogateescape")
