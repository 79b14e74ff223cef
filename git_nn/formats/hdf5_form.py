"""How a chunked dataset is stored, as one word: docs/spec-forms.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

_NAMES = {
    1: "deflate", 2: "shuffle", 3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset",
    32000: "lzf",
}  # fmt: skip
_SHUFFLE = 2


@dataclass(frozen=True, slots=True, order=True)
class Chunk:
    """A stored chunk: its origin in the tensor, its place in the file, the filters it skipped."""

    origin: tuple[int, ...]
    offset: int
    length: int
    skipped: int


@dataclass(frozen=True, slots=True)
class Filter:
    number: int
    values: tuple[int, ...]

    def name(self, itemsize: int) -> str:
        if self.number == _SHUFFLE and self.values[:1] != (itemsize,):
            return f"f{self.number}"
        return _NAMES.get(self.number, f"f{self.number}")


def form_of(
    shape: Sequence[int],
    chunk: Sequence[int],
    itemsize: int,
    filters: Sequence[Filter],
    chunks: Sequence[Chunk],
) -> str:
    """The form of a payload made of ``chunks``, which are in the order of their origins."""
    masks = {stored.skipped for stored in chunks}
    applied = filters
    if len(masks) == 1:
        applied = [f for i, f in enumerate(filters) if not min(masks) >> i & 1]
    if len(masks) > 1 or not _is_complete(shape, chunk, itemsize, bool(applied), chunks):
        return _word("h5sparse", chunk, itemsize, filters)
    if not applied and _is_packed(shape, chunk):
        return ""
    return _word("h5", chunk, itemsize, applied)


def _word(kind: str, chunk: Sequence[int], itemsize: int, filters: Sequence[Filter]) -> str:
    words = ["x".join(map(str, chunk)), *(f.name(itemsize) for f in filters)]
    return f"{kind}[{';'.join(words)}]"


def _is_complete(
    shape: Sequence[int],
    chunk: Sequence[int],
    itemsize: int,
    filtered: bool,
    chunks: Sequence[Chunk],
) -> bool:
    """Whether every chunk of the tensor is there once and, unfiltered, of the right length."""
    if len(chunk) != len(shape) or 0 in chunk:
        return False
    grid = [-(-dim // step) for dim, step in zip(shape, chunk, strict=True)]
    if len(chunks) != prod(grid):
        return False
    if not filtered and any(c.length != itemsize * prod(chunk) for c in chunks):
        return False
    return all(c.origin == _origin(i, grid, chunk) for i, c in enumerate(chunks))


def _origin(index: int, grid: Sequence[int], chunk: Sequence[int]) -> tuple[int, ...]:
    """Where the chunk with this number in C order begins."""
    origin = []
    for count, step in zip(reversed(grid), reversed(chunk), strict=True):
        index, place = divmod(index, count)
        origin.append(place * step)
    return tuple(reversed(origin))


def _is_packed(shape: Sequence[int], chunk: Sequence[int]) -> bool:
    """Whether the chunks, one after another, are the packed C-order array."""
    at = next((i for i, step in enumerate(chunk) if step != 1), len(chunk) - 1)
    return shape[at] % chunk[at] == 0 and list(shape[at + 1 :]) == list(chunk[at + 1 :])
