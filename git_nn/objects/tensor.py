"""dtypes and shapes: what a payload's bytes mean.

A dtype is one of the short names below, the field's own. A name with the suffix
``be`` is the big-endian form of the same type. Sub-byte types count bits: their
payloads are packed, and a tensor of them must fill whole bytes.
"""

from __future__ import annotations

from math import prod

# name -> bits per element
DTYPE_BITS: dict[str, int] = {
    "f64": 64, "f32": 32, "f16": 16, "bf16": 16,
    "f8_e4m3": 8, "f8_e4m3fn": 8, "f8_e4m3fnuz": 8, "f8_e5m2": 8, "f8_e5m2fnuz": 8, "f8_e8m0": 8,
    "f6_e2m3": 6, "f6_e3m2": 6, "f4_e2m1": 4,
    "i64": 64, "i32": 32, "i16": 16, "i8": 8, "i4": 4,
    "u64": 64, "u32": 32, "u16": 16, "u8": 8, "u4": 4,
    "bool": 8, "c64": 64, "c128": 128,
}  # fmt: skip

_BIG_ENDIAN = frozenset(
    f"{name}be" for name, bits in DTYPE_BITS.items() if bits > 8 and name != "bf16"
)

MAX_RANK = 64
MAX_DIM = 2**62

Shape = tuple[int, ...]


def is_dtype(name: str) -> bool:
    return name in DTYPE_BITS or name in _BIG_ENDIAN


def dtype_bits(name: str) -> int:
    """Bits per element; KeyError for an unknown dtype."""
    return DTYPE_BITS[name.removesuffix("be") if name in _BIG_ENDIAN else name]


def nbytes(dtype: str, shape: Shape) -> int:
    """Bytes of a packed C-order tensor; ValueError where the bits do not fill whole bytes."""
    bits = dtype_bits(dtype) * prod(shape)
    if bits % 8:
        raise ValueError(f"{dtype} {format_shape(shape)} does not fill whole bytes")
    return bits // 8


def contiguous_strides(shape: Shape) -> Shape:
    """Strides in elements of a C-order tensor."""
    strides = []
    step = 1
    for dim in reversed(shape):
        strides.append(step)
        step *= max(dim, 1)
    return tuple(reversed(strides))


def format_shape(shape: Shape) -> str:
    """``4096x4096``; a tensor without dimensions is ``scalar``."""
    return "x".join(map(str, shape)) if shape else "scalar"


def parse_shape(text: str) -> Shape:
    """The inverse of ``format_shape``; ValueError where the text is not canonical."""
    if text == "scalar":
        return ()
    if len(text) > 20 * MAX_RANK:
        raise ValueError("a shape this long is not one")
    shape = tuple(int(dim) for dim in text.split("x"))
    check_shape(shape)
    if format_shape(shape) != text:
        raise ValueError(f"not a canonical shape: {text!r}")
    return shape


def check_shape(shape: Shape) -> None:
    """Raise ValueError unless every dimension and the rank are sane."""
    if len(shape) > MAX_RANK or any(not 0 <= dim <= MAX_DIM for dim in shape):
        raise ValueError(f"not a shape: {shape!r}"[:200])
