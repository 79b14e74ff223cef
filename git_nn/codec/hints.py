"""dtype hints: one byte in a frame that says what its raw bytes were (docs/spec-store.md, 7).

A hint has no meaning for decoding. It is there so that a repack, which sees no pointer,
can choose an encoding as well as the first writer did.
"""

from __future__ import annotations

_NAMES = (
    "", "f64", "f32", "f16", "bf16",
    "f8_e4m3", "f8_e4m3fn", "f8_e4m3fnuz", "f8_e5m2", "f8_e5m2fnuz", "f8_e8m0",
    "f6_e2m3", "f6_e3m2", "f4_e2m1",
    "i64", "i32", "i16", "i8", "i4", "u64", "u32", "u16", "u8", "u4", "bool", "c64", "c128",
)  # fmt: skip
_BIG_ENDIAN = 64
_NUMBERS = {name: number for number, name in enumerate(_NAMES)}


def hint_of(dtype: str) -> int:
    """The hint for ``dtype``; 0 for one that has none."""
    if dtype in _NUMBERS:
        return _NUMBERS[dtype]
    little = _NUMBERS.get(dtype.removesuffix("be"), 0)
    return little + _BIG_ENDIAN if little else 0


def dtype_of(hint: int) -> str:
    """The dtype that ``hint`` stands for; ``u8``, plain bytes, where it says nothing."""
    name = _NAMES[hint % _BIG_ENDIAN] if hint % _BIG_ENDIAN < len(_NAMES) else ""
    if not name or hint >= 2 * _BIG_ENDIAN:
        return "u8"
    return name + "be" if hint >= _BIG_ENDIAN else name
