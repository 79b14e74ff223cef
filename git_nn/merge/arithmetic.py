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

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from git_nn.arrays import Array, as_array, as_float64, element_bits, to_bytes
from git_nn.merge.rules import Choice
from git_nn.merge.strategies import table
from git_nn.merge.strategies.blocks import Block, Tensor
from git_nn.objects.oid import Oid, oid_of
from git_nn.objects.tensor import Shape, dtype_bits

BLOCK = 1 << 20  # bytes of one side that are computed at a time; whole elements of any dtype

Buffer = bytes | bytearray | memoryview
Raw = tuple[Array, ...]  # the same block of each version
Read = Callable[[], Iterable[Buffer]]  # a tensor's bytes in pieces, from the start each time

_PARTS = {"c64": "f32", "c128": "f64", "c64be": "f32be", "c128be": "f64be"}


@dataclass(frozen=True, slots=True)
class Version:
    """One side's tensor: its content id, and its packed C-order bytes."""

    oid: Oid
    read: Read


@dataclass(frozen=True, slots=True)
class Versions:
    """The tensor on every side, of one dtype and shape; ``base`` is None if it is not read.

    ``sides`` are two or more, ours first.
    """

    dtype: str
    shape: Shape
    base: Version | None
    sides: tuple[Version, ...]


def merge_tensor(
    choice: Choice, versions: Versions, size: int = BLOCK
) -> Iterator[tuple[bytes, int]]:
    """The merged bytes in blocks, each with how many computed values are not finite.

    ``size`` is that of a block in bytes; it becomes a multiple of the strategy's unit.
    """
    strategy, parameters = table.by_name(choice.strategy), dict(choice.parameters)
    assert strategy.merge is not None
    assert len(versions.sides) == 2 or not strategy.two_sided
    dtype = _PARTS.get(versions.dtype, versions.dtype)
    paired = dtype != versions.dtype
    shape = (*versions.shape[:-1], 2 * (versions.shape or (1,))[-1]) if paired else versions.shape
    unit = dtype_bits(dtype) // 8 * max(strategy.unit(shape) if strategy.unit else 1, 1)
    size = max(size // unit, 1) * unit

    def read() -> Iterator[tuple[Raw, Block]]:
        return _read(versions, dtype, shape, size)

    tensor = Tensor(shape, lambda: (block for _, block in read()), len(versions.sides))
    with np.errstate(all="ignore"):
        measured = strategy.measure(tensor, parameters) if strategy.measure else None
    for sides, block in read():
        with np.errstate(all="ignore"):
            values = strategy.merge(block, parameters, measured)
        yield _rounded(values, dtype, sides if strategy.reads_both else ())


def _read(versions: Versions, dtype: str, shape: Shape, size: int) -> Iterator[tuple[Raw, Block]]:
    """The versions side by side, as they are and as doubles."""
    base, count = versions.base, len(versions.sides)
    read = [*versions.sides, *([base] if base else [])]
    keys, start = _keys(versions), 0
    for pieces in zip(*(blocks(version.read(), size) for version in read), strict=True):
        raw = tuple(_flat(piece, dtype) for piece in pieces)
        wide = tuple(map(as_float64, raw))
        yield raw, Block(shape, keys, start, wide[-1] if base else None, wide[:count])
        start += len(wide[0])


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


def _flat(data: bytes, dtype: str) -> Array:
    return as_array(data, dtype, (len(data) * 8 // dtype_bits(dtype),))


def _rounded(values: Array, dtype: str, sides: Raw) -> tuple[bytes, int]:
    """``values`` in ``dtype``, with the bits of ``sides`` where these are all the same."""
    values[np.isnan(values)] = np.nan
    merged = _flat(to_bytes(values, dtype), dtype)
    bits = element_bits(merged)
    kept = np.full(len(bits), bool(sides))
    for side in sides:
        kept &= element_bits(side) == element_bits(sides[0])
    strange = ~(np.isfinite(as_float64(merged)) | kept)
    if sides:
        bits = np.where(kept, element_bits(sides[0]), bits)
    return bits.tobytes(), int(np.count_nonzero(strange))


def blocks(pieces: Iterable[Buffer], size: int = BLOCK) -> Iterator[bytes]:
    """The same bytes in blocks of ``size``, the last one shorter.

    A piece is not touched once the next one is asked for, so it may be reused.
    """
    held = bytearray()
    for piece in pieces:
        with memoryview(piece) as view:
            start = size - len(held) if held else 0
            held += view[:start]
            if len(held) == size:
                yield bytes(held)
                held = bytearray()
            if held:
                continue
            while len(view) - start >= size:
                yield bytes(view[start : start + size])
                start += size
            held += view[start:]
    if held:
        yield bytes(held)
