"""arithmetic: the bytes of a tensor that a strategy computes, a block at a time.

Rules (docs/merge.md tells them to the user):
1. Each element is widened to double, the formula is computed in double, and the result is
   rounded once to the tensor's dtype, to nearest even. Complex numbers are pairs.
2. An element whose bits are the same on every side that the formula reads keeps those
   bits: masks of -inf, NaN payloads and unchanged rows survive every strategy.
3. A NaN that a formula makes is the positive quiet NaN without payload, so that the
   result does not depend on the machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from git_nn.arrays import Array, as_array, as_float64, element_bits, to_bytes
from git_nn.merge.rules import Choice
from git_nn.merge.strategies import table
from git_nn.objects.tensor import dtype_bits

BLOCK = 1 << 20  # bytes of one side that are computed at a time; whole elements of any dtype

_PARTS = {"c64": "f32", "c128": "f64", "c64be": "f32be", "c128be": "f64be"}


def merge_block(
    choice: Choice, dtype: str, base: bytes | None, ours: bytes, theirs: bytes
) -> tuple[bytes, int]:
    """Merged bytes of blocks of equal length, and how many computed values are not finite."""
    dtype = _PARTS.get(dtype, dtype)
    a, b = _flat(ours, dtype), _flat(theirs, dtype)
    o = None if base is None else _flat(base, dtype)
    kept = element_bits(a) == element_bits(b)
    if o is not None:
        kept &= element_bits(o) == element_bits(a)
    values = _compute(choice, o, a, b)
    merged = _flat(to_bytes(values, dtype), dtype)
    strange = ~(np.isfinite(as_float64(merged)) | kept)
    bits = np.where(kept, element_bits(a), element_bits(merged))
    return bits.tobytes(), int(np.count_nonzero(strange))


def _flat(data: bytes, dtype: str) -> Array:
    return as_array(data, dtype, (len(data) * 8 // dtype_bits(dtype),))


def _compute(choice: Choice, base: Array | None, ours: Array, theirs: Array) -> Array:
    formula = table.by_name(choice.strategy).merge
    assert formula is not None
    with np.errstate(all="ignore"):
        values = formula(
            None if base is None else as_float64(base),
            as_float64(ours),
            as_float64(theirs),
            dict(choice.parameters),
        )
    values[np.isnan(values)] = np.nan
    return values


def blocks(pieces: Iterable[bytes | bytearray | memoryview], size: int = BLOCK) -> Iterator[bytes]:
    """The same bytes in blocks of ``size``, the last one shorter; a piece may be reused."""
    held = bytearray()
    for piece in pieces:
        held += piece
        while len(held) >= size:
            yield bytes(memoryview(held)[:size])
            del held[:size]
    if held:
        yield bytes(held)
