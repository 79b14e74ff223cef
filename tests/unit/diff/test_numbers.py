"""numbers: each one is what docs/diff.md says, checked against plain Python."""

from __future__ import annotations

import math
import struct
from fractions import Fraction

import numpy as np
import pytest

from git_nn import arrays
from git_nn.arrays import as_array
from git_nn.differences.numbers import Numbers, measure, measure_common, measure_flat
from tests.unit.diff.versions import expected


def close(got: float | None, want: float) -> bool:
    return got is not None and math.isclose(got, want, rel_tol=1e-12, abs_tol=1e-300)


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def check(numbers: Numbers, old: np.ndarray, new: np.ndarray) -> None:
    left = [float(x) for x in old.reshape(-1)]
    right = [float(x) for x in new.reshape(-1)]
    want = expected(left, right)
    assert close(numbers.relative, want.relative)
    assert close(numbers.cosine, want.cosine)
    assert numbers.max_abs == want.largest
    assert close(numbers.mean_abs, want.mean)
    assert numbers.max_at is not None
    at = numbers.max_at
    assert abs(float(new[at]) - float(old[at])) == want.largest


@pytest.mark.parametrize("dtype", ["f64", "f32", "f16", "bf16", "f8_e4m3fn", "f8_e5m2", "f64be"])
def test_numbers_of_floats(dtype: str) -> None:
    shape = (17, 31)
    old = arrays.cast(normal(1, *shape), dtype)
    new = arrays.cast(normal(1, *shape) + 0.2 * normal(2, *shape), dtype)
    numbers = measure(old, new, dtype)
    check(numbers, old, new)
    assert numbers.elements == 17 * 31
    assert numbers.changed == sum(
        a.tobytes() != b.tobytes() for a, b in zip(old.reshape(-1), new.reshape(-1), strict=True)
    )
    assert (numbers.nan, numbers.inf) == ((0, 0), (0, 0))


def test_numbers_over_several_blocks() -> None:
    count = arrays.BLOCK * 2 + 5
    old = normal(3, count).astype(np.float32)
    new = old.copy()
    new[arrays.BLOCK + 7] += 4
    new[count - 1] += 1
    numbers = measure(old, new, "f32")
    check(numbers, old, new)
    assert numbers.changed == 2
    assert numbers.max_at == (arrays.BLOCK + 7,)


def test_the_largest_change_is_the_first_in_c_order() -> None:
    old, new = np.zeros((2, 3)), np.array([[0, 1.0, 0], [-1, 1, 0]])
    assert measure(old, new, "f64").max_at == (0, 1)


def test_a_changed_nan_payload_is_a_change() -> None:
    old = as_array(struct.pack("<II", 0x7FC00000, 0x3F800000), "f32", (2,))
    new = as_array(struct.pack("<II", 0x7FC00001, 0x3F800000), "f32", (2,))
    numbers = measure(old, new, "f32")
    assert numbers.changed == 1
    assert numbers.nan == (1, 1)
    assert numbers.relative == 0.0
    assert numbers.max_abs == 0.0


def test_negative_zero_is_a_change_without_distance() -> None:
    numbers = measure(np.array([0.0, 1.0]), np.array([-0.0, 1.0]), "f64")
    assert (numbers.changed, numbers.relative, numbers.max_abs) == (1, 0.0, 0.0)
    assert numbers.max_at is None


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_one_ulp_is_measured_exactly(kind: type) -> None:
    old = np.ones(1000, dtype=kind)
    new = np.nextafter(old, kind(2)).astype(kind)
    ulp = Fraction(float(new[0])) - 1
    numbers = measure(old, new, "f64")
    assert numbers.changed == 1000
    assert Fraction(numbers.max_abs or 0) == ulp
    assert close(numbers.mean_abs, float(ulp))
    assert close(numbers.relative, float(ulp))


def test_counters_of_2_to_the_50_and_beyond_are_exact() -> None:
    before = [2**40, 2**50, 2**62, -(2**63), 0]
    after = [2**40 + 1, 2**50 * 3 + 12345, 2**62 + 1, 2**63 - 1, 0]
    numbers = measure(np.array(before), np.array(after), "i64")
    assert numbers.changed == 4
    assert numbers.max_abs == 2**64 - 1
    assert numbers.max_at == (3,)
    one = measure(np.array([2**62]), np.array([2**62 + 1]), "i64")
    assert one.max_abs == 1
    assert one.mean_abs == 1.0
    assert close(one.relative, float(Fraction(1, 2**62)))


def test_unsigned_64_bit_differences_are_exact() -> None:
    old = np.array([2**64 - 1, 5, 0], dtype=np.uint64)
    new = np.array([2**64 - 2, 3, 2**63 + 1], dtype=np.uint64)
    assert measure(old, new, "u64").max_abs == 2**63 + 1
    assert measure(old[:2], new[:2], "u64").max_abs == 2


def test_big_endian_counters_are_exact() -> None:
    old, new = np.array([2**60], dtype=">i8"), np.array([2**60 - 7], dtype=">i8")
    assert measure(old, new, "i64be").max_abs == 7


def test_infinite_masks_are_counted_and_left_out() -> None:
    old = np.array([-np.inf, 1, 2, np.nan, 5], dtype=np.float32)
    new = np.array([-np.inf, 1, -np.inf, 3, 6], dtype=np.float32)
    numbers = measure(old, new, "f32")
    assert numbers.changed == 3
    assert (numbers.nan, numbers.inf) == ((1, 0), (1, 2))
    want = expected([1, 5], [1, 6])
    assert close(numbers.relative, want.relative)
    assert close(numbers.cosine, want.cosine)
    assert (numbers.max_abs, numbers.max_at) == (1.0, (4,))
    assert close(numbers.mean_abs, want.mean)


def test_a_tensor_without_a_finite_pair_has_no_sums() -> None:
    numbers = measure(np.array([np.nan, 1.0]), np.array([1.0, np.inf]), "f64")
    assert numbers.changed == 2
    assert (numbers.relative, numbers.cosine, numbers.max_abs, numbers.mean_abs) == (None,) * 4


def test_an_all_zero_old_tensor_has_an_infinite_relative_change() -> None:
    zeros, ones = np.zeros(3), np.ones(3)
    assert measure(zeros, ones, "f64").relative == math.inf
    assert measure(zeros, ones, "f64").cosine is None
    assert measure(ones, zeros, "f64").relative == 1.0
    assert measure(zeros, -zeros, "f64").relative == 0.0


def test_empty_and_scalar_tensors() -> None:
    empty = measure(np.empty((0, 4)), np.empty((0, 4)), "f64")
    assert (empty.elements, empty.changed, empty.relative) == (0, 0, None)
    scalar = measure(np.array(2.0), np.array(3.0), "f64")
    assert (scalar.relative, scalar.max_at, scalar.cosine) == (0.5, (), 1.0)


def test_doubles_near_the_ends_of_the_range() -> None:
    for size in (1e300, 1e-300, 5e-324 * 2**20, 1.7e308):
        old = np.array([1.0, 0.5, -0.25]) * size
        new = np.array([1.0, 0.25, -0.25]) * size
        numbers = measure(old, new, "f64")
        assert close(numbers.relative, 0.25 / math.sqrt(1 + 0.25 + 0.0625))
        assert numbers.max_abs == abs(float(new[1]) - float(old[1]))
    assert measure(np.array([1.7e308]), np.array([-1.7e308]), "f64").relative == 2.0


def test_one_ulp_of_very_small_doubles_has_a_relative_change() -> None:
    for size in (1.0, 2.0**-400, 2.0**-480, 2.0**-600, 2.0**600):
        old = np.array([1.0, 1.0]) * size
        new = np.array([1.0, np.nextafter(1.0, 2.0)]) * size
        assert close(measure(old, new, "f64").relative, 2.0**-52 / math.sqrt(2))


def test_complex_numbers_by_magnitude() -> None:
    old = np.array([3 + 4j, 1j], dtype=np.complex64)
    new = np.array([3 - 4j, 1 + 1j], dtype=np.complex64)
    numbers = measure(old, new, "c64")
    assert numbers.changed == 2
    assert (numbers.max_abs, numbers.max_at) == (8.0, (0,))
    assert close(numbers.mean_abs, 4.5)
    assert close(numbers.relative, math.sqrt(65 / 26))
    assert close(numbers.cosine, (9 - 16 + 1) / math.sqrt(26 * 27))
    wide = measure(old.astype(np.complex128), np.array([3 + 4j, complex(math.nan, 0)]), "c128")
    assert (wide.changed, wide.nan, wide.relative) == (1, (0, 1), 0.0)


def test_booleans_and_small_integers() -> None:
    flags = measure(np.array([True, False, True]), np.array([True, True, False]), "bool")
    assert (flags.changed, flags.max_abs, flags.max_at) == (2, 1, (1,))
    old, new = np.array([-128, 127], dtype=np.int8), np.array([127, 127], dtype=np.int8)
    assert measure(old, new, "i8").max_abs == 255
    raw = [as_array(data, "bool", (2,)) for data in (b"\x01\x00", b"\x02\x00")]
    assert (measure(*raw, "bool").changed, measure(*raw, "bool").max_abs) == (1, 0)


def test_sub_byte_types() -> None:
    old, new = as_array(b"\x21\x43", "i4", (4,)), as_array(b"\x21\xf3", "i4", (4,))
    numbers = measure(old, new, "i4")
    assert (numbers.changed, numbers.max_abs, numbers.max_at) == (1, 5.0, (3,))


def test_a_cast_that_rounds_is_exact() -> None:
    old = normal(5, 400).astype(np.float32)
    numbers = measure(old, arrays.cast(old, "bf16"), "bf16")
    assert numbers.changed == 0
    want = expected([float(x) for x in old], [float(x) for x in arrays.cast(old, "bf16")])
    assert close(numbers.relative, want.relative)
    assert 0 < (numbers.relative or 0) < 2**-8


def test_a_cast_with_other_values_counts_them() -> None:
    old = np.array([1.0, 2.0, np.nan, 4.0], dtype=np.float32)
    new = arrays.cast(np.array([1.0, 2.5, np.nan, 4.0]), "bf16")
    numbers = measure(old, new, "bf16")
    assert (numbers.changed, numbers.nan) == (1, (1, 1))
    widened = measure(arrays.cast(old, "f16"), old.astype(np.float64), "f64")
    assert widened.changed == 0


def test_a_cast_between_integers_and_floats() -> None:
    assert measure(np.array([1, 2, 3]), np.array([1.0, 2.0, 3.5]), "f64").changed == 1
    assert measure(np.array([1.0, 2.4]), np.array([1, 2], dtype=np.int32), "i32").changed == 0
    assert measure(np.array([1.0], "<f4"), np.array([1.0], ">f4"), "f32be").changed == 0


def test_reshaped_tensors_are_compared_in_c_order() -> None:
    old, new = np.arange(6.0), np.arange(6.0).reshape(2, 3)
    assert measure_flat(old, new, "f64").changed == 0
    assert measure_flat(old, new + np.eye(2, 3), "f64").max_at == (0, 0)
    assert measure_flat(old, new.T.copy(), "f64").changed == 4


def test_resized_tensors_are_compared_where_both_have_values() -> None:
    old, new = normal(1, 4, 3), np.zeros((6, 2))
    new[:4] = old[:, :2]
    assert measure_common(old, new, "f64").changed == 0
    new[3, 1] += 1
    numbers = measure_common(old, new, "f64")
    assert (numbers.elements, numbers.changed, numbers.max_at) == (8, 1, (3, 1))


def test_no_warning_escapes_whatever_the_bits() -> None:
    rng = np.random.default_rng(11)
    for dtype in ("f64", "f32", "f16", "bf16", "f8_e5m2", "f8_e8m0", "c64", "c128", "i64", "bool"):
        old = as_array(rng.bytes(1600), dtype, (1600 * 8 // arrays.dtype_bits(dtype),))
        new = as_array(rng.bytes(1600), dtype, old.shape)
        assert measure(old, new, dtype).elements == old.size
        for other in ("f32", "bf16", "i8", "u64", "f8_e4m3fn"):
            assert measure(old, arrays.cast(new, other), other).elements == old.size


def steps_between(old: np.ndarray, new: np.ndarray) -> int:
    """Representable values between two floats, counted one by one by numpy's own nextafter."""
    count = 0
    while old != new:
        old = np.nextafter(old, new)
        count += 1
    return count


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_ulps_count_representable_values(kind: type) -> None:
    tiny = np.finfo(kind).smallest_subnormal
    pairs = [(1, 1), (1, np.nextafter(kind(1), kind(2))), (tiny, -tiny), (0.0, -0.0), (-1, -1)]
    far = kind(1)
    for _ in range(37):
        far = np.nextafter(far, kind(9))
    pairs.append((1, far))
    for a, b in pairs:
        old, new = np.array([a], kind), np.array([b], kind)
        assert measure(old, new, "any").ulps == steps_between(old[0], new[0]), (a, b)
    old, new = (np.array([sign * np.finfo(kind).max], kind) for sign in (-1, 1))
    bits = 8 * np.dtype(kind).itemsize
    top = int(new.view(f"u{bits // 8}")[0])  # the largest float is so many steps above zero
    assert measure(old, new, "any").ulps == 2 * top


@pytest.mark.parametrize("dtype", ["bf16", "f8_e4m3fn", "f8_e5m2", "f8_e8m0", "f4_e2m1"])
def test_ulps_of_small_types_are_ranks_of_values(dtype: str) -> None:
    kind = arrays.numpy_dtype(dtype)
    width = 2 if dtype == "bf16" else 1
    count = 16 if dtype == "f4_e2m1" else 2 ** (8 * width)
    every = np.arange(count).astype(f"u{width}").view(kind)
    with np.errstate(all="ignore"):
        finite = every[np.isfinite(every.astype(np.float64))]
    ladder = sorted({float(x) for x in finite.astype(np.float64)})
    rng = np.random.default_rng(5)
    for a, b in rng.choice(finite, (40, 2)):
        want = abs(ladder.index(float(a)) - ladder.index(float(b)))
        assert measure(np.array([a], kind), np.array([b], kind), dtype).ulps == want


def test_ulps_mean_nothing_for_integers_and_casts() -> None:
    assert measure(np.array([1]), np.array([2]), "i64").ulps is None
    assert measure(np.array([True]), np.array([False]), "bool").ulps is None
    int4 = arrays.as_array(b"\x21", "i4", (2,))
    assert measure(int4, int4[::-1], "i4").ulps is None
    assert measure(np.array([1.0]), np.array([2.0], np.float32), "f32").ulps is None
    assert measure(np.array([1j]), np.array([2j]), "c128").ulps is None


def test_not_finite_elements_are_no_ulps_and_no_flips() -> None:
    old = np.array([math.nan, math.inf, 1.0, -1.0])
    new = np.array([1.0, -math.inf, math.nan, 1.0])
    numbers = measure(old, new, "f64")
    assert numbers.flips == 1
    assert numbers.ulps == 2 * int(np.array([1.0]).view("u8")[0])


@pytest.mark.parametrize("shape", [(4, 3), (300, 7), (3, 5, 2), (2, arrays.BLOCK + 5), (1, 1)])
def test_rows_flips_and_counts_as_numpy_has_them(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(11)
    old = rng.standard_normal(shape).astype(np.float32)
    new = old.copy()
    new[rng.random(shape) < 0.02] *= -1
    new[0] *= np.float32(1.5)
    new[rng.random(shape) < 0.01] = 0
    numbers = measure(old, new, "f32")
    assert numbers.changed == (old != new).sum()
    assert numbers.flips == ((old * new) < 0).sum()
    assert numbers.rows == ((old != new).reshape(shape[0], -1).any(axis=1).sum(), shape[0])
    assert numbers.after.zero == (new == 0).sum()
    for got, array in ((numbers.before, old), (numbers.after, new)):
        wide = array.astype(np.float64)
        assert close(got.mean, wide.mean())
        assert close(got.std, wide.std())
        assert (got.low, got.high) == (wide.min(), wide.max())


def test_a_vector_has_no_rows() -> None:
    assert measure(np.zeros(3), np.ones(3), "f64").rows is None
    assert measure(np.zeros((0, 3)), np.zeros((0, 3)), "f64").rows == (0, 0)
    assert measure(np.zeros((3, 0)), np.zeros((3, 0)), "f64").rows is None


def test_a_spread_that_is_small_against_the_mean_is_exact() -> None:
    values = 1e9 + np.arange(100_000, dtype=np.float64) / 1e6
    got = measure(values, values, "f64").before
    exact = [Fraction(x) for x in values.tolist()]
    mean = sum(exact) / len(exact)
    variance = sum((x - mean) ** 2 for x in exact) / len(exact)
    assert got.std is not None
    assert math.isclose(got.std, math.sqrt(variance), rel_tol=1e-9)


def test_summaries_leave_out_what_is_not_finite() -> None:
    old = np.array([math.nan, -math.inf, 2.0, 4.0, 0.0], np.float32)
    before = measure(old, np.zeros(5, np.float32), "f32").before
    assert (before.elements, before.nan, before.inf, before.zero) == (5, 1, 1, 1)
    assert (before.mean, before.low, before.high) == (2.0, 0.0, 4.0)
    empty = measure(np.array([math.nan]), np.array([math.inf]), "f64")
    assert (empty.before.mean, empty.before.std, empty.after.low) == (None, None, None)


def test_summaries_of_complex_values_are_of_magnitudes() -> None:
    values = np.array([3 + 4j, 0, -6 - 8j], np.complex64)
    got = measure(values, values, "c64").before
    assert (got.mean, got.low, got.high, got.zero) == (5.0, 0.0, 10.0, 1)


def test_means_and_spreads_at_the_ends_of_the_range() -> None:
    old = np.array([1e308, 1.2e308, -1e308])
    got = measure(old, old / 2, "f64").before
    exact = [Fraction(x) for x in old.tolist()]
    mean = sum(exact) / 3
    assert close(got.mean, float(mean))
    spread = math.sqrt(sum((x / 10**308 - mean / 10**308) ** 2 for x in exact) / 3) * 1e308
    assert got.std is not None
    assert math.isclose(got.std, spread, rel_tol=1e-12)
