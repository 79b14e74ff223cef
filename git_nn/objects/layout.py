"""layout: how a file's bytes split into tensor payloads and everything else.

A format *proposes* a layout; ``check`` is the only gate. A checked layout is a
partition of [0, size): every extent lies in the file, none overlap, and what no extent
covers is literal. So whatever a parser believed, literals and payloads in file order
are the file, byte for byte; a wrong layout can cost compression, never data.

Words: extent, a run of payload bytes in the file. payload, the bytes of one tensor as
the file stores them, in one or more extents. view, a tensor that is a window on
another's payload (tied weights, transposed or sliced tensors). checksum, four bytes
that are the CRC-32 of another range of the file and follow from the payloads. chain,
twenty digits that combine the CRC-32s of several ranges, as torch's serialization id does.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

from git_nn.errors import LayoutError
from git_nn.objects import names
from git_nn.objects.tensor import Shape, check_shape, is_dtype, nbytes

MAX_TENSORS = 200_000
MAX_EXTENTS = 2_000_000
MAX_FORM = 200
CHAIN_LENGTH = 20


@dataclass(frozen=True, slots=True, order=True)
class Extent:
    """A run of payload bytes: [offset, offset + length) of the file."""

    offset: int
    length: int

    @property
    def stop(self) -> int:
        return self.offset + self.length


@dataclass(frozen=True, slots=True)
class Payload:
    """A named tensor and where its bytes stand, in payload order.

    ``form`` is empty when the payload is the packed C-order array. Otherwise it is one
    word that says how the container stores it, such as ``h5[100x128;shuffle;deflate]``.
    """

    name: str
    dtype: str
    shape: Shape
    extents: tuple[Extent, ...]
    form: str = ""

    @property
    def length(self) -> int:
        return sum(extent.length for extent in self.extents)


@dataclass(frozen=True, slots=True)
class View:
    """A tensor that is a strided window on a payload; offset and strides in elements."""

    name: str
    dtype: str
    shape: Shape
    payload: str
    offset: int
    strides: Shape


@dataclass(frozen=True, slots=True)
class Checksum:
    """Four bytes at ``offset``: the little-endian CRC-32 of [start, stop) of the file."""

    offset: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Chain:
    """``CHAIN_LENGTH`` digits at ``offset``: the combined CRC-32s of ``spans`` of the file."""

    offset: int
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """What a format says about a file of ``size`` bytes; trust it only after ``check``."""

    format: str
    version: int
    size: int
    payloads: tuple[Payload, ...] = ()
    views: tuple[View, ...] = ()
    checksums: tuple[Checksum, ...] = ()
    chains: tuple[Chain, ...] = ()
    notes: tuple[str, ...] = field(default=(), compare=False)


def check(layout: Layout) -> None:
    """Raise LayoutError unless ``layout`` is a partition whose tensors make sense."""
    _check_counts(layout)
    for payload in layout.payloads:
        _check_payload(payload)
    payloads = {payload.name: payload for payload in layout.payloads}
    for view in layout.views:
        _check_view(view, payloads.get(view.payload))
    _check_names(layout)
    _check_partition(layout)
    _check_checksums(layout)


def _check_counts(layout: Layout) -> None:
    if len(layout.payloads) + len(layout.views) > MAX_TENSORS:
        raise LayoutError(f"more than {MAX_TENSORS} tensors")
    if sum(len(payload.extents) for payload in layout.payloads) > MAX_EXTENTS:
        raise LayoutError(f"more than {MAX_EXTENTS} extents")


def _check_payload(payload: Payload) -> None:
    _check_spec(payload.name, payload.dtype, payload.shape)
    form = payload.form
    if len(form) > MAX_FORM or not form.isascii() or any(c <= " " or c == "\x7f" for c in form):
        raise LayoutError(f"{payload.name!r}: bad form")
    if not form and payload.length != nbytes(payload.dtype, payload.shape):
        raise LayoutError(f"{payload.name!r}: payload and dtype x shape differ in size")


def _check_spec(name: str, dtype: str, shape: Shape) -> None:
    if not names.is_canonical(name):
        raise LayoutError(f"bad tensor name {name[:80]!r}")
    if not is_dtype(dtype):
        raise LayoutError(f"{name!r}: unknown dtype {dtype[:40]!r}")
    try:
        check_shape(shape)
        nbytes(dtype, shape)
    except ValueError as error:
        raise LayoutError(f"{name!r}: {error}") from error


def _check_view(view: View, payload: Payload | None) -> None:
    _check_spec(view.name, view.dtype, view.shape)
    if payload is None or payload.form:
        raise LayoutError(f"{view.name!r}: a view needs a payload stored as a plain array")
    if len(view.strides) != len(view.shape) or min((view.offset, *view.strides)) < 0:
        raise LayoutError(f"{view.name!r}: bad strides or offset")
    last = view.offset + sum(
        (dim - 1) * step for dim, step in zip(view.shape, view.strides, strict=True) if dim
    )
    count = 0 if 0 in view.shape else last + 1
    if nbytes(view.dtype, (count,)) > payload.length:
        raise LayoutError(f"{view.name!r}: the view leaves its payload")


def _check_names(layout: Layout) -> None:
    counts = Counter([p.name for p in layout.payloads] + [v.name for v in layout.views])
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise LayoutError(f"tensor name {twice[0][:80]!r} is used twice")


def _check_partition(layout: Layout) -> None:
    extents = [extent for payload in layout.payloads for extent in payload.extents]
    runs = extents + [Extent(checksum.offset, 4) for checksum in layout.checksums]
    runs += [Extent(chain.offset, CHAIN_LENGTH) for chain in layout.chains]
    if any(run.offset < 0 or run.length < 0 or run.stop > layout.size for run in runs):
        raise LayoutError("an extent leaves the file")
    filled = sorted((run for run in runs if run.length), key=lambda run: run.offset)
    if any(left.stop > right.offset for left, right in pairwise(filled)):
        raise LayoutError("two extents overlap")


def _check_checksums(layout: Layout) -> None:
    """No checksum may depend on another one, no chain on either; a checksum may cover a chain."""
    checksums = [(slot.offset, slot.offset + 4) for slot in layout.checksums]
    chains = [(slot.offset, slot.offset + CHAIN_LENGTH) for slot in layout.chains]
    _check_spans([(c.start, c.stop) for c in layout.checksums], checksums, layout.size)
    spans = [span for chain in layout.chains for span in chain.spans]
    if len(spans) > MAX_EXTENTS or not all(chain.spans for chain in layout.chains):
        raise LayoutError("a chain of no checksums, or of too many")
    _check_spans(spans, checksums + chains, layout.size)


def _check_spans(spans: list[tuple[int, int]], slots: list[tuple[int, int]], size: int) -> None:
    """Raise unless every span lies in the file and touches none of the slots, which are apart."""
    slots = sorted(slots)
    stops = [stop for _, stop in slots]
    for start, stop in spans:
        if not 0 <= start <= stop <= size:
            raise LayoutError("a checksum covers bytes outside the file")
        at = bisect_right(stops, start)
        if at < len(slots) and slots[at][0] < stop:
            raise LayoutError("a checksum covers another checksum")
