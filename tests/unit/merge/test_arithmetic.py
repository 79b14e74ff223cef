"""What the strategies compute, held against exact fractions."""

from __future__ import annotations

import math
import struct
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

from git_nn.merge.arithmetic import BLOCK, Version, Versions, blocks, merge_tensor
from git_nn.merge.rules import Choice
from git_nn.objects.oid import oid_of
from git_nn.objects.tensor import dtype_bits

MEAN = Choice("mean", (("weight", 0.5),))
TASK = Choice("task-arithmetic", (("lambda", 1.0),))
# dtype -> numpy type, bits of the significand with the hidden one, least exponent of a normal
TYPES = {
    "f16": (np.dtype("<f2"), 11, -14),
    "bf16": (np.dtype(ml_dtypes.bfloat16), 8, -126),
    "f32": (np.dtype("<f4"), 24, -126),
    "f32be": (np.dtype(">f4"), 24, -126),
}


def merge_block(
    choice: Choice, dtype: str, base: bytes | None, ours: bytes, theirs: bytes
) -> tuple[bytes, int]:
    """The merged bytes of a vector, and how many computed values are not finite."""
    origin, sides = None if base is None else version(base), (version(ours), version(theirs))
    shape = (len(ours) * 8 // dtype_bits(dtype),)
    merged = [*merge_tensor(choice, Versions(dtype, shape, origin, sides))]
    return b"".join(data for data, _ in merged), sum(strange for _, strange in merged)


def version(data: bytes) -> Version:
    return Version(oid_of(data), lambda: [data])


def nearest_even(value: Fraction, digits: int, least: int) -> Fraction:
    """``value`` rounded once to a binary float of this precision, by integer arithmetic."""
    if not value:
        return value
    exponent = max(math.floor(math.log2(abs(value))) - 1, least)
    while abs(value) >= Fraction(2) ** (exponent + 1):
        exponent += 1
    step = Fraction(2) ** (exponent - digits + 1)
    return Fraction(round(value / step)) * step  # round() of a Fraction is half to even


def values(dtype: str, seed: int, count: int = 4000) -> np.ndarray:
    """Values whose exponents are spread, so that means fall on and beside ties."""
    random = np.random.default_rng(seed)
    spread = random.standard_normal(count) * 2.0 ** random.integers(-12, 4, count)
    return spread.astype(TYPES[dtype][0])


@pytest.mark.parametrize("dtype", TYPES)
def test_the_mean_is_the_exact_mean_rounded_once_to_nearest_even(dtype: str) -> None:
    kind, digits, least = TYPES[dtype]
    ours, theirs = values(dtype, 1), values(dtype, 2)
    merged, strange = merge_block(MEAN, dtype, None, ours.tobytes(), theirs.tobytes())
    expected = [
        nearest_even((Fraction(float(a)) + Fraction(float(b))) / 2, digits, least)
        for a, b in zip(ours, theirs, strict=True)
    ]
    assert merged == np.array([float(value) for value in expected]).astype(kind).tobytes()
    assert strange == 0


@pytest.mark.parametrize("dtype", TYPES)
def test_task_arithmetic_is_the_base_plus_both_changes_rounded_once(dtype: str) -> None:
    kind, digits, least = TYPES[dtype]
    base, ours, theirs = values(dtype, 1), values(dtype, 2), values(dtype, 3)
    merged, _ = merge_block(TASK, dtype, base.tobytes(), ours.tobytes(), theirs.tobytes())
    exact = [
        Fraction(float(a)) + Fraction(float(b)) - Fraction(float(o))
        for o, a, b in zip(base, ours, theirs, strict=True)
    ]
    expected = [float(nearest_even(value, digits, least)) for value in exact]
    found = np.frombuffer(merged, dtype=kind).astype(np.float64)
    assert [*found] == expected


def test_a_weighted_mean_counts_theirs_by_the_weight() -> None:
    ours, theirs = np.float32([1, 2]), np.float32([3, 10])
    choice = Choice("mean", (("weight", 0.25),))
    merged, _ = merge_block(choice, "f32", None, ours.tobytes(), theirs.tobytes())
    assert merged == np.float32([1.5, 4]).tobytes()


def test_lambda_scales_both_changes() -> None:
    base, ours, theirs = np.float64([1]), np.float64([3]), np.float64([0])
    choice = Choice("task-arithmetic", (("lambda", 0.5),))
    merged, _ = merge_block(choice, "f64", base.tobytes(), ours.tobytes(), theirs.tobytes())
    assert merged == np.float64([1.5]).tobytes()


def test_two_equal_tensors_merge_to_themselves() -> None:
    """The nearest peer halves them: its average divides by two twice."""
    ones = np.ones(8, dtype="<f4").tobytes()
    assert merge_block(MEAN, "f32", None, ones, ones) == (ones, 0)
    two, four = np.full(8, 2, dtype="<f4").tobytes(), np.full(8, 4, dtype="<f4").tobytes()
    assert merge_block(MEAN, "f32", None, two, four)[0] == np.full(8, 3, dtype="<f4").tobytes()


@pytest.mark.parametrize("choice", [MEAN, TASK, Choice("mean", (("weight", 0.3),))])
def test_elements_with_equal_bits_keep_them(choice: Choice) -> None:
    codes = [0xFF800000, 0x7F800000, 0x7FC00001, 0xFFC12345, 0x80000000, 0x00000001, 0x3DCCCCCD]
    same = struct.pack(f"<{len(codes)}I", *codes)
    extra = [struct.pack("<f", value) for value in (1.0, 2.0, 4.0)]
    base, ours, theirs = (same + value for value in extra)
    merged, strange = merge_block(choice, "f32", base, ours, theirs)
    assert merged[:-4] == same
    assert merged[-4:] not in extra
    assert strange == 0


def test_a_nan_or_infinity_that_is_made_is_told_and_is_the_same_everywhere() -> None:
    inf = np.float32([np.inf, 1, 3e38, -np.inf])
    other = np.float32([-np.inf, np.nan, 3e38, 5])
    base = np.float32([0, 0, -3e38, 0])
    merged, strange = merge_block(TASK, "f32", base.tobytes(), inf.tobytes(), other.tobytes())
    assert strange == 4
    assert [*np.frombuffer(merged, "<u4")] == [0x7FC00000, 0x7FC00000, 0x7F800000, 0xFF800000]
    for kind, dtype, code in ((np.dtype("<f2"), "f16", 0x7E00), (TYPES["bf16"][0], "bf16", 0x7FC0)):
        nan, one = np.array([-np.nan], dtype=kind), np.array([1], dtype=kind)
        merged, strange = merge_block(MEAN, dtype, None, nan.tobytes(), one.tobytes())
        assert (np.frombuffer(merged, "<u2")[0], strange) == (code, 1)


def test_halves_overflow_to_infinity_and_not_to_a_wrapped_number() -> None:
    base, ours = np.float16([0]), np.float16([60000])
    merged, strange = merge_block(TASK, "f16", base.tobytes(), ours.tobytes(), ours.tobytes())
    assert np.frombuffer(merged, "<f2")[0] == np.inf
    assert strange == 1


@pytest.mark.parametrize("dtype", ["c64", "c128", "c64be", "c128be"])
def test_complex_numbers_are_computed_by_parts(dtype: str) -> None:
    kind = np.dtype({"c64": "<c8", "c128": "<c16", "c64be": ">c8", "c128be": ">c16"}[dtype])
    ours, theirs = np.array([1 + 2j, np.inf + 1j]), np.array([3 - 4j, np.inf + 3j])
    sides = (ours.astype(kind).tobytes(), theirs.astype(kind).tobytes())
    merged, strange = merge_block(MEAN, dtype, None, *sides)
    assert merged == np.array([2 - 1j, np.inf + 2j]).astype(kind).tobytes()
    assert strange == 0


def test_the_sides_may_be_swapped() -> None:
    base, ours, theirs = (values("bf16", seed).tobytes() for seed in (1, 2, 3))
    for choice in (MEAN, TASK):
        one = merge_block(choice, "bf16", base, ours, theirs)
        assert one == merge_block(choice, "bf16", base, theirs, ours)


def test_an_empty_block_is_empty() -> None:
    assert merge_block(MEAN, "f32", None, b"", b"") == (b"", 0)


def test_blocks_are_the_same_bytes_whatever_the_pieces() -> None:
    data = np.random.default_rng(1).bytes(10_000)
    for step in (1, 7, 4096, 9_999, 10_000, 20_000):
        reused = bytearray(step)
        pieces = []

        def feed(step: int = step, reused: bytearray = reused):  # type: ignore[no-untyped-def]
            for start in range(0, len(data), step):
                piece = data[start : start + step]
                reused[: len(piece)] = piece
                yield memoryview(reused)[: len(piece)]

        pieces = list(blocks(feed(), 1024))
        assert b"".join(pieces) == data
        assert {len(piece) for piece in pieces[:-1]} <= {1024}
    assert list(blocks([b""], 1024)) == []
    assert BLOCK % 16 == 0
