"""What the codecs make of a dtype: the width of its words and how they compare."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """``width`` of a word in bytes; ``floats``: sign and magnitude; ``dense``: no repeats."""

    width: int
    floats: bool = False
    dense: bool = False

    @property
    def planar(self) -> bool:
        """Its exponents are worth a plane of their own."""
        return self.floats and self.width > 1


_BYTES = Kind(1)
_KINDS = {
    "bf16": Kind(2, floats=True), "f16": Kind(2, floats=True), "f32": Kind(4, floats=True),
    "c64": Kind(4, floats=True), "f64": Kind(8, floats=True), "c128": Kind(8, floats=True),
    "i16": Kind(2), "u16": Kind(2), "i32": Kind(4), "u32": Kind(4), "i64": Kind(8), "u64": Kind(8),
    "i8": Kind(1, dense=True), "i4": Kind(1, dense=True), "u4": Kind(1, dense=True),
    "f8_e8m0": Kind(1, dense=True),
}  # fmt: skip


def kind_of(dtype: str) -> Kind:
    """The kind of ``dtype``; that of plain bytes for one that is unknown or big-endian."""
    if dtype.startswith(("f8_", "f6_", "f4_")) and dtype not in _KINDS:
        return Kind(1, floats=dtype.startswith("f8_"), dense=True)
    return _KINDS.get(dtype, _BYTES)
