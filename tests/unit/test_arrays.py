"""arrays: every bit pattern survives, values are rounded once."""

from __future__ import annotations

import struct
from fractions import Fraction

import numpy as np
import pytest

from git_nn import arrays
from git_nn.objects.tensor import DTYPE_BITS, dtype_bits

BIG_ENDIAN = [f"{name}be" for name, bits in DTYPE_BITS.items() if bits > 8 and name != "bf16"]
WHOLE_BYTES = [name for name in DTYPE_BITS if dtype_bits(name) >= 8] + BIG_ENDIAN
SUB_BYTE = [name for name in DTYPE_BITS if dtype_bits(name) < 8]


def noise(length: int, seed: int = 1) -> bytes:
    return np.random.default_rng(seed).bytes(length)


@pytest.mark.parametrize("dtype", WHOLE_BYTES + SUB_BYTE)
def test_every_bit_pattern_survives(dtype: str) -> None:
    data = noise(48 * 16)
    shape = (len(data) * 8 // dtype_bits(dtype) // 4, 4)
    array = arrays.as_array(data, dtype, shape)
    assert array.shape == shape
    assert arrays.to_bytes(array, dtype) == data


@pytest.mark.parametrize("dtype", ["bf16", "f16", "f8_e4m3fn", "f8_e5m2", "f8_e8m0", "bool", "i8"])
def test_all_codes_of_narrow_types_survive(dtype: str) -> None:
    bits = dtype_bits(dtype)
    data = np.arange(2**bits, dtype=f"<u{bits // 8}").tobytes()
    assert arrays.to_bytes(arrays.as_array(data, dtype, (2**bits,)), dtype) == data


@pytest.mark.parametrize(
    "bits", [0x7FC00001, 0xFFC12345, 0x7F800001, 0x80000000, 0xFF800000, 0x00000001]
)
def test_nan_payloads_and_negative_zero_survive(bits: int) -> None:
    data = struct.pack("<I", bits)
    assert arrays.to_bytes(arrays.as_array(data, "f32", ()), "f32") == data


def test_a_transposed_array_is_written_in_c_order() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert arrays.to_bytes(array.T, "f32") == struct.pack("<6f", 0, 3, 1, 4, 2, 5)
    codes = arrays.as_array(bytes([0x21, 0x43]), "u4", (2, 2))
    assert arrays.to_bytes(codes.T, "u4") == bytes([0x31, 0x42])


def test_sub_byte_types_begin_with_the_lowest_bits() -> None:
    assert arrays.as_array(b"\x21\xf8", "i4", (4,)).astype(int).tolist() == [1, 2, -8, -1]
    codes = [1, 2, 3, 63]
    packed = sum(code << (6 * i) for i, code in enumerate(codes)).to_bytes(3, "little")
    assert arrays.as_array(packed, "f6_e2m3", (4,)).view(np.uint8).tolist() == codes


def test_empty_and_scalar_arrays() -> None:
    for dtype in DTYPE_BITS:
        assert arrays.to_bytes(arrays.as_array(b"", dtype, (0, 4)), dtype) == b""
    assert float(arrays.as_array(struct.pack(">d", 1.5), "f64be", ())) == 1.5


def test_a_payload_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"reshape|multiple"):
        arrays.as_array(b"1234567", "f32", (2,))


def bf16_value(code: int) -> Fraction:
    return Fraction(struct.unpack("<f", struct.pack("<I", code << 16))[0])


def nearest_bf16(value: Fraction) -> int:
    """The bf16 code nearest to a positive value, to even on a tie; by plain search."""
    codes = range(0x3F00, 0x4100)
    return min(codes, key=lambda code: (abs(bf16_value(code) - value), code & 1))


def test_doubles_are_rounded_to_bf16_once() -> None:
    values = [1 + 2.0**-8 + 2.0**-40, 1 + 2.0**-8, 1 + 3 * 2.0**-8 - 2.0**-50, 1.1, 2 - 2.0**-52]
    got = np.frombuffer(arrays.to_bytes(np.array(values), "bf16"), dtype="<u2").tolist()
    assert got == [nearest_bf16(Fraction(value)) for value in values]


def test_random_doubles_are_rounded_to_bf16_once() -> None:
    rng = np.random.default_rng(5)
    near_ties = (
        1 + (2 * rng.integers(0, 128, 200) + 1) * 2.0**-8 + rng.integers(-2, 3, 200) * 2.0**-45
    )
    got = np.frombuffer(arrays.to_bytes(near_ties, "bf16"), dtype="<u2").tolist()
    assert got == [nearest_bf16(Fraction(value)) for value in near_ties.tolist()]


def test_too_large_a_double_becomes_an_infinity_and_nan_stays_nan() -> None:
    values = np.array([1e300, -1e300, np.nan, np.inf, 3.4e38, -0.0])
    single = np.frombuffer(arrays.to_bytes(values, "bf16"), dtype="<u2").tolist()
    assert single[:2] == [0x7F80, 0xFF80]
    assert single[2] & 0x7F80 == 0x7F80
    assert single[2] & 0x7F
    assert single[3] == 0x7F80
    assert single[5] == 0x8000


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("i8", [2, 2, -128, 127, 0]),
        ("u8", [2, 2, 0, 255, 0]),
        ("i4", [2, 2, -8, 7, 0]),
        ("i64", [2, 2, -(2**63), 2**63 - 1, 0]),
        ("u64", [2, 2, 0, 2**64 - 1, 0]),
    ],
)
def test_doubles_become_integers_to_nearest_even_and_stay_in_range(
    dtype: str, expected: list[int]
) -> None:
    values = np.array([1.5, 2.5, -1e30, 1e30, np.nan])
    got = arrays.cast(values, dtype)
    assert [int(value) for value in got] == expected


def test_integers_are_held_at_the_ends_of_a_narrower_type() -> None:
    wide = np.array([-(2**40), -1, 5, 2**40])
    assert arrays.cast(wide, "u8").tolist() == [0, 0, 5, 255]
    assert arrays.cast(wide, "i32").tolist() == [-(2**31), -1, 5, 2**31 - 1]


def test_a_boolean_of_two_is_true_and_keeps_its_bits() -> None:
    array = arrays.as_array(b"\x00\x01\x02", "bool", (3,))
    assert arrays.as_float64(array).tolist() == [0.0, 1.0, 1.0]
    assert arrays.to_bytes(array, "bool") == b"\x00\x01\x02"


def test_blocks_walk_arrays_side_by_side() -> None:
    count = arrays.BLOCK + 3
    left, right = np.arange(count), np.arange(count) * 2
    pairs = list(arrays.blocks(left, right))
    assert [len(a) for a, _ in pairs] == [arrays.BLOCK, 3]
    assert all((b == 2 * a).all() for a, b in pairs)
    assert list(arrays.blocks(np.empty((0, 2)))) == []
