"""dtypes and shapes: what a payload's bytes mean.

A dtype is one of the short names below, the field's own. A name with the suffix
``be`` is the big-endian form of the same type. Sub-byte types count bits: their
payloads are packed, and a tensor of them must fill whole bytes. The block types are those
of GGUF: a block of so many elements of the last dimension takes so many bytes.
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

# name -> elements and bytes of one block (ggml-common.h of llama.cpp; gguf.constants)
BLOCKS: dict[str, tuple[int, int]] = {
    "q4_0": (32, 18), "q4_1": (32, 20), "q5_0": (32, 22), "q5_1": (32, 24), "q8_0": (32, 34),
    "q8_1": (32, 36), "q2_k": (256, 84), "q3_k": (256, 110), "q4_k": (256, 144),
    "q5_k": (256, 176), "q6_k": (256, 210), "q8_k": (256, 292), "iq2_xxs": (256, 66),
    "iq2_xs": (256, 74), "iq3_xxs": (256, 98), "iq1_s": (256, 50), "iq4_nl": (32, 18),
    "iq3_s": (256, 110), "iq2_s": (256, 82), "iq4_xs": (256, 136), "iq1_m": (256, 56),
    "tq1_0": (256, 54), "tq2_0": (256, 66), "mxfp4": (32, 17), "nvfp4": (64, 36),
    "q1_0": (128, 18),
}  # fmt: skip

MAX_RANK = 64
MAX_DIM = 2**62

Shape = tuple[int, ...]


def is_dtype(name: str) -> bool:
    return name in DTYPE_BITS or name in _BIG_ENDIAN or name in BLOCKS


def dtype_bits(name: str) -> int:
    """Bits per element; KeyError for an unknown dtype and for a block type."""
    return DTYPE_BITS[name.removesuffix("be") if name in _BIG_ENDIAN else name]


def stored_width(name: str) -> int:
    """Bytes of the smallest unit that a codec may see as a number; 1 for packed and block types."""
    return 1 if name in BLOCKS else max(dtype_bits(name) // 8, 1)


def nbytes(dtype: str, shape: Shape) -> int:
    """Bytes of a packed C-order tensor; ValueError where bits or blocks are not whole."""
    if dtype in BLOCKS:
        elements, size = BLOCKS[dtype]
        if not shape or shape[-1] % elements:
            raise ValueError(f"{dtype} {format_shape(shape)} does not fill whole blocks")
        return prod(shape) // elements * size
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
