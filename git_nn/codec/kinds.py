"""What the codecs make of a dtype: the width of its words and how they compare."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """``width`` of a word in bytes; ``floats``: sign and magnitude, with so many bits of
    exponent; ``dense``: no repeats; ``name``: of a real float that low rank is looked for in."""

    width: int
    floats: bool = False
    dense: bool = False
    key_bits: int = 0
    name: str = ""

    @property
    def planar(self) -> bool:
        """Its exponents are worth a plane of their own."""
        return self.floats and self.width > 1


_BYTES = Kind(1)
_KINDS = {
    "bf16": Kind(2, floats=True, key_bits=8, name="bf16"),
    "f16": Kind(2, floats=True, key_bits=5, name="f16"),
    "f32": Kind(4, floats=True, key_bits=8, name="f32"),
    "c64": Kind(4, floats=True, key_bits=8),
    "f64": Kind(8, floats=True, key_bits=11), "c128": Kind(8, floats=True, key_bits=11),
    "i16": Kind(2), "u16": Kind(2), "i32": Kind(4), "u32": Kind(4), "i64": Kind(8), "u64": Kind(8),
    "i8": Kind(1, dense=True), "i4": Kind(1, dense=True), "u4": Kind(1, dense=True),
    "f8_e8m0": Kind(1, dense=True),
}  # fmt: skip


def kind_of(dtype: str) -> Kind:
    """The kind of ``dtype``; that of plain bytes for one that is unknown or big-endian."""
    if dtype.startswith(("f8_", "f6_", "f4_")) and dtype not in _KINDS:
        exponent = {"f8_e4m3": 4, "f8_e5m2": 5}.get(dtype[:7], 0)
        return Kind(1, floats=exponent > 0, dense=True, key_bits=exponent)
    return _KINDS.get(dtype, _BYTES)
