"""Which payloads and views the storages of a torch file become; the same for every container.

1. A storage that a tensor fills in C order is a payload of that tensor's name, dtype and
   shape (of several such names the first in natural order).
2. A storage that tensors in C order tile, without gap and overlap, is cut at their borders:
   flat parameters are one payload for each tensor.
3. Any other storage is one payload called ``storage:KEY``.

Every other tensor is a view on the payload that it lies in. What has no name, leaves its
storage or is of an unknown dtype is not placed; the bytes are its storage's all the same.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from git_nn.formats.torch_walk import Reference
from git_nn.objects.layout import Extent, Payload, View
from git_nn.objects.names import natural_key
from git_nn.objects.tensor import contiguous_strides, dtype_bits, nbytes

_SLACK = 64 * 1024 * 1024  # a view may be larger than its storage by this much (expanded tensors)


@dataclass(slots=True)
class Placed:
    payloads: list[Payload] = field(default_factory=list)
    views: list[View] = field(default_factory=list)


def place(found: Iterable[Reference], storages: Mapping[str, Extent], taken: set[str]) -> Placed:
    """Payloads for the ``storages``, by key, on which a tensor of ``found`` lies, and views.

    ``taken`` are names that are in use; those of ``found`` and of storages are added.
    """
    groups: dict[str, list[Reference]] = {}
    for reference in found:
        groups.setdefault(reference.storage.key, []).append(reference)
        if reference.name is not None:
            taken.add(reference.name)
    placed = Placed()
    for key, group in groups.items():
        if key in storages:
            _place(storages[key], group, key, taken, placed)
    return placed


def _place(
    storage: Extent, group: list[Reference], key: str, taken: set[str], placed: Placed
) -> None:
    """Add what one storage becomes."""
    usable = [reference for reference in group if _fits(reference, storage.length)]
    tiles = _tiles(usable, storage.length)
    if tiles is None:
        dtype = group[0].storage.dtype or "u8"
        if storage.length % (dtype_bits(dtype) // 8):
            dtype = "u8"
        shape = (storage.length // (dtype_bits(dtype) // 8),)
        name = free(f"storage:{key}", taken)
        placed.payloads.append(Payload(name, dtype, shape, _extents(storage)))
        placed.views += (_view(reference, name, 0) for reference in usable)
        return
    owners = {id(tile) for tile in tiles}
    starts = [_span(tile)[0] for tile in tiles]
    for tile, start in zip(tiles, starts, strict=True):
        extent = Extent(storage.offset + start, nbytes(tile.dtype, tile.shape))
        placed.payloads.append(Payload(tile.name or "", tile.dtype, tile.shape, _extents(extent)))
    for reference in usable:
        if id(reference) not in owners:
            at = max(bisect_right(starts, _span(reference)[0]) - 1, 0)
            placed.views.append(_view(reference, tiles[at].name or "", starts[at]))


def _extents(extent: Extent) -> tuple[Extent, ...]:
    return (extent,) if extent.length else ()


def _tiles(usable: list[Reference], size: int) -> list[Reference] | None:
    """Tensors in C order that fill ``size`` bytes one after the other.

    None where there are none, or where another tensor would lie on several of them.
    """
    first: dict[tuple[int, int], Reference] = {}
    for reference in usable:
        if reference.strides == contiguous_strides(reference.shape):
            span = _span(reference)
            first[span] = _first(reference, first.get(span))
    whole = first.get((0, size))
    if whole is not None:
        return [whole]
    if len({dtype_bits(reference.dtype) for reference in usable}) > 1:
        return None
    spans = _row(first, size)
    borders = [start for start, _ in spans] + [size]
    for start, stop in map(_span, usable):
        if start < stop and stop > borders[bisect_right(borders, start)]:
            return None
    return [first[span] for span in spans] or None


def _row(spans: Iterable[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    """Those that fill [0, size) without gap and overlap, the others inside of them; else []."""
    row: list[tuple[int, int]] = []
    end = 0
    for start, stop in sorted(spans, key=lambda span: (span[0], -span[1])):
        if start == end < stop:
            row.append((start, stop))
            end = stop
        elif stop > end:
            return []
    return row if end == size else []


def _first(reference: Reference, other: Reference | None) -> Reference:
    """The one whose name is first in natural order."""
    if other is None or natural_key(reference.name or "") < natural_key(other.name or ""):
        return reference
    return other


def free(name: str, taken: set[str]) -> str:
    """``name``, made longer until it is not taken; now it is."""
    while name in taken:
        name += "~"
    taken.add(name)
    return name


def _view(r: Reference, payload: str, start: int) -> View:
    """``r`` on a payload that begins ``start`` bytes into the storage."""
    offset = r.offset - start // (dtype_bits(r.dtype) // 8)
    return View(r.name or "", r.dtype, r.shape, payload, max(offset, 0), r.strides)


def _fits(reference: Reference, size: int) -> bool:
    """Whether the tensor has a name and a dtype and stays inside its storage."""
    if reference.name is None or not reference.dtype:
        return False
    if nbytes(reference.dtype, reference.shape) > size + _SLACK:
        return False
    return _span(reference)[1] <= size


def _span(reference: Reference) -> tuple[int, int]:
    """The bytes of the storage from the first to after the last one that the tensor has."""
    width = dtype_bits(reference.dtype) // 8
    start = reference.offset * width
    if 0 in reference.shape:
        return 0, 0
    steps = zip(reference.shape, reference.strides, strict=True)
    return start, start + width * (1 + sum((dim - 1) * step for dim, step in steps))
