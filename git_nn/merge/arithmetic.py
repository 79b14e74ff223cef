"""arithmetic: the bytes of a tensor that a strategy computes, a block at a time.

Rules (docs/merge.md tells them to the user):
1. Each element is widened to double, the formula is computed in double, and the result is
   rounded once to the tensor's dtype, to nearest even. Complex numbers are pairs.
2. An element whose bits are the same on every side that the formula reads keeps those
   bits: masks of -inf, NaN payloads and unchanged rows survive every strategy.
3. A NaN that a formula makes is the positive quiet NaN without payload, so that the
   result does not depend on the machine.
4. The result does not depend on how the tensor is cut into blocks.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from math import prod
from typing import Self, TypeVar

import numpy as np

from git_nn.arrays import Array, as_array, as_float32, as_float64, cast, element_bits
from git_nn.merge.rules import Choice
from git_nn.merge.strategies import table
from git_nn.merge.strategies.blocks import Block, Places, Tensor, base_of
from git_nn.objects.oid import Oid, oid_of
from git_nn.objects.tensor import Shape, dtype_bits

BLOCK = 1 << 17  # elements of a side that are computed at a time: with fewer, threads wait for
# the interpreter rather than for memory; with more, for memory
HELD = 1 << 28  # bytes of all sides of a tensor that are kept in memory between passes
_THREADS = max(min(os.cpu_count() or 1, 4) - 1, 1)  # the other one is for encoding

Buffer = bytes | bytearray | memoryview
Raw = tuple[Array, ...]  # the same block of each version
Read = Callable[[], Iterable[Buffer]]  # a tensor's bytes in pieces, from the start each time
Result = TypeVar("Result")

FEW = 0.6  # the share of a block up to which the elements that change are computed alone
_MINUS_ZERO = 1 << 31  # a single; a formula may make a zero of it
_SINGLES = ("f32", "bf16")  # what singles hold every value of, and become quickly
_PARTS = {"c64": "f32", "c128": "f64", "c64be": "f32be", "c128be": "f64be"}


@dataclass(frozen=True, slots=True)
class Version:
    """One side's tensor: its content id, and its packed C-order bytes."""

    oid: Oid
    read: Read


@dataclass(frozen=True, slots=True)
class Statistic:
    """What is known of a side's tensor: an array of real numbers."""

    dtype: str
    shape: Shape
    read: Read


@dataclass(frozen=True, slots=True)
class Versions:
    """The tensor on every side, of one dtype and shape; ``base`` is None if it is not read.

    ``sides`` are two or more, ours first. ``statistics`` are none, or one for each side.
    """

    dtype: str
    shape: Shape
    base: Version | None
    sides: tuple[Version, ...]
    statistics: tuple[Statistic, ...] = ()


def merge_tensor(choice: Choice, versions: Versions, size: int = 0) -> Iterator[tuple[bytes, int]]:
    """The merged bytes in blocks, each with how many computed values are not finite.

    ``size`` is that of a block in bytes, by default of BLOCK elements; it becomes a multiple of
    the strategy's unit.
    """
    strategy, parameters = table.by_name(choice.strategy), dict(choice.parameters)
    assert strategy.merge is not None
    assert len(versions.sides) == 2 or not strategy.two_sided
    merge = strategy.merge
    with _Blocks(versions, strategy, size) as blocks:
        singles = blocks.singles if blocks.dtype in _SINGLES else None
        tensor = Tensor(blocks.shape, blocks.each, len(versions.sides), singles)
        measured = strategy.measure(tensor, parameters) if strategy.measure else None

        def computed(piece: _Piece, places: Places | None = None) -> tuple[Array, int]:
            values = merge(piece.block(as_float64, places), parameters, measured)
            return _rounded(values, blocks.dtype, piece.raw(places) if strategy.reads_both else ())

        def work(piece: _Piece) -> tuple[bytes, int]:
            if strategy.touched is not None and singles is not None:
                block = piece.block(as_float32)
                zeros = element_bits(base_of(block)) == _MINUS_ZERO
                places = np.flatnonzero(strategy.touched(block, parameters, measured) | zeros)
                if len(places) <= piece.size * FEW:
                    bits = element_bits(piece.raw()[-1]).copy()
                    bits[places], strange = computed(piece, places)
                    return bits.tobytes(), strange
            bits, strange = computed(piece)
            return bits.tobytes(), strange

        yield from blocks.apply(work)


@dataclass(frozen=True, slots=True)
class _Piece:
    """A block of every version as it is; the base, if there is one, is the last of ``versions``."""

    shape: Shape
    keys: tuple[int, ...]
    start: int
    has_base: bool
    versions: Raw
    statistics: Raw

    @property
    def size(self) -> int:
        return len(self.versions[0])

    def raw(self, places: Places | None = None) -> Raw:
        """All elements, or those at ``places``."""
        if places is None:
            return self.versions
        return tuple(v.take(places, mode="clip") for v in self.versions)  # the fastest mode

    def block(self, widen: Callable[[Array], Array], places: Places | None = None) -> Block:
        wide = tuple(map(widen, self.raw(places)))
        base, sides = (wide[-1], wide[:-1]) if self.has_base else (None, wide)
        more = tuple(map(as_float64, self.statistics))
        return Block(self.shape, self.keys, self.start, base, sides, more, places)


class _Blocks:
    """The versions side by side, in blocks that are worked on by a few threads.

    What is small is read once and kept; what is larger is read again for each pass.
    """

    def __init__(self, versions: Versions, strategy: table.Strategy, size: int) -> None:
        self.dtype = _PARTS.get(versions.dtype, versions.dtype)
        shape = versions.shape
        if self.dtype != versions.dtype:
            shape = (*shape[:-1], 2 * (shape or (1,))[-1])
        self.shape = shape
        width = dtype_bits(self.dtype) // 8
        self._unit = width * max(strategy.unit(shape) if strategy.unit else 1, 1)
        self._size = max((size or BLOCK * width) // self._unit, 1) * self._unit
        self._keys, self._base = _keys(versions), versions.base is not None
        read = [*versions.sides, *([versions.base] if versions.base else [])]
        self._count = len(read)
        self._known = versions.statistics
        self._whole = any(known.shape != versions.shape for known in self._known)
        reads = [*(version.read for version in read), *(known.read for known in self._known)]
        kept = self._whole or prod(shape) * width * len(reads) <= HELD
        self._reads = [_held(read) for read in reads] if kept else reads
        self._pool = ThreadPoolExecutor(_THREADS, "git-nn-merge")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def each(self, work: Callable[[Block], Result], every: int = 1) -> Iterator[Result]:
        """One pass; see strategies.blocks.Each."""
        return self.apply(lambda piece: work(piece.block(as_float64)), every)

    def singles(self, work: Callable[[Block], Result], every: int = 1) -> Iterator[Result]:
        return self.apply(lambda piece: work(piece.block(as_float32)), every)

    def apply(self, work: Callable[[_Piece], Result], every: int = 1) -> Iterator[Result]:
        """One pass over the blocks as they are."""
        pieces = zip(*self._pieces(), strict=True)
        waiting: deque[Future[Result]] = deque()
        width = dtype_bits(self.dtype) // 8
        start = 0
        for piece in pieces:
            some = self._first(piece, every)
            waiting.append(self._pool.submit(self._applied, work, some, start))
            if len(waiting) > 2 * _THREADS:
                yield waiting.popleft().result()
            start += len(piece[0]) // width
        while waiting:
            yield waiting.popleft().result()

    def _first(self, pieces: Sequence[Buffer], every: int) -> Sequence[Buffer]:
        """About one element in so many, but whole units."""
        if every == 1 or self._whole:
            return pieces
        kept = max(self._size // every // self._unit, 1) * self._unit  # bytes
        dtypes = [self.dtype] * self._count + [known.dtype for known in self._known]
        sizes = [kept * dtype_bits(dtype) // dtype_bits(self.dtype) for dtype in dtypes]
        return [piece[:size] for piece, size in zip(pieces, sizes, strict=True)]

    def _pieces(self) -> Iterator[Iterator[Buffer]]:
        """Every version in blocks; statistics of another shape are all in the one block."""
        elements = self._size * 8 // dtype_bits(self.dtype)
        sizes = [self._size] * self._count
        for known in self._known:
            count = max(prod(known.shape), 1) if self._whole else elements
            sizes.append(count * dtype_bits(known.dtype) // 8)
        return (blocks(read(), size) for read, size in zip(self._reads, sizes, strict=True))

    def _applied(
        self, work: Callable[[_Piece], Result], pieces: Sequence[Buffer], start: int
    ) -> Result:
        raw = tuple(_flat(piece, self.dtype) for piece in pieces[: self._count])
        known = zip(pieces[self._count :], self._known, strict=True)
        more = tuple(_flat(piece, each.dtype) for piece, each in known)
        with np.errstate(all="ignore"):
            return work(_Piece(self.shape, self._keys, start, self._base, raw, more))


def _held(read: Read) -> Read:
    """The same bytes, read now and kept."""
    pieces = [bytes(piece) for piece in read()]
    return lambda: pieces


def _keys(versions: Versions) -> tuple[int, ...]:
    """A key for each side's draws; where the sides are in another order, so are the keys.

    It is of the ids of the base, of the side, and of the other sides in ascending order.
    """
    base = versions.base.oid if versions.base else b""
    oids = [side.oid for side in versions.sides]
    keys = []
    for i, own in enumerate(oids):
        others = sorted(oids[:i] + oids[i + 1 :])
        keys.append(int.from_bytes(oid_of(base, own, *others)[:16], "little"))
    return tuple(keys)


def _flat(data: Buffer, dtype: str) -> Array:
    return as_array(data, dtype, (len(data) * 8 // dtype_bits(dtype),))


def _rounded(values: Array, dtype: str, sides: Raw) -> tuple[Array, int]:
    """The bits of ``values`` in ``dtype``, or those of ``sides`` where these are all the same;
    and how many of the values are not finite."""
    strange = np.isnan(values)
    if strange.any():
        values[strange] = np.nan
    merged = cast(values, dtype)
    bits, strange = element_bits(merged), _not_finite(merged, dtype)
    if sides:
        first, *others = map(element_bits, sides)
        kept = reduce(np.logical_and, [first == other for other in others])
        if kept.any():
            keep = np.negative(kept.view(np.int8), dtype=f"i{bits.itemsize}").view(bits.dtype)
            bits = bits ^ ((bits ^ first) & keep)
            strange &= ~kept
    return bits, int(np.count_nonzero(strange))


def _not_finite(array: Array, dtype: str) -> Array:
    if dtype == "bf16":  # whose own isfinite takes ten times as long
        strange: Array = (array.view(np.uint16) & 0x7F80) == 0x7F80
    else:
        strange = ~np.isfinite(as_float64(array) if array.dtype.kind == "V" else array)
    return strange


def blocks(pieces: Iterable[Buffer], size: int) -> Iterator[Buffer]:
    """The same bytes in blocks of ``size``, the last one shorter.

    A piece may be reused once the next one is asked for, so its blocks are copies; only those
    of ``bytes``, which nobody can change, are not.
    """
    held = bytearray()
    for piece in pieces:
        view = memoryview(piece)
        start = size - len(held) if held else 0
        held += view[:start]
        if len(held) == size:
            yield bytes(held)
            held = bytearray()
        if held:
            continue
        while len(view) - start >= size:
            block = view[start : start + size]
            yield block if isinstance(piece, bytes) else bytes(block)
            start += size
        held += view[start:]
    if held:
        yield bytes(held)
