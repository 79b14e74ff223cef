"""A change of low rank is predicted to the bit, the same everywhere, and costs little."""

from __future__ import annotations

import contextlib
import functools
import math
import struct
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_nn.codec import best, delta, factors, lowrank, table
from git_nn.codec.lowrank import Factors, Place

WIDTH = {"bf16": 2, "f16": 2, "f32": 4}
FORMAT = {"f16": "<e", "f32": "<f"}


def words_of(values: np.ndarray, dtype: str) -> bytes:
    single = values.astype("<f4")
    if dtype == "bf16":
        bits = single.view("<u4")
        return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2").tobytes()
    return single.astype({"f16": "<f2", "f32": "<f4"}[dtype]).tobytes()


def merged(dtype: str, rows: int, columns: int, rank: int = 8) -> tuple[bytes, bytes]:
    """(base, base with a product of ``rank`` merged), as training tools do it."""
    rng = np.random.default_rng(rank)
    weights = (0.02 * rng.standard_normal((rows, columns))).astype("<f4")
    base = words_of(weights, dtype)
    exact = lowrank.floats_of(np.frombuffer(base, f"<u{WIDTH[dtype]}"), dtype)
    left, right = rng.standard_normal((rows, rank)), rng.standard_normal((rank, columns))
    product = (5e-4 * left @ right).astype("<f4")
    new = exact.reshape(rows, columns).astype("<f4") + product
    return base, words_of(new, dtype)


@pytest.mark.parametrize("dtype", WIDTH)
@pytest.mark.parametrize(("columns", "first"), [(512, 0), (700, 123), (300, 299)])
def test_a_merged_lora_costs_a_tenth_wherever_the_segment_is_cut(
    dtype: str, columns: int, first: int
) -> None:
    base, new = merged(dtype, 600, columns)
    width = WIDTH[dtype]
    base, new = (x[first * width : -7 * width] for x in (base, new))
    codec, body = best.encode(new, dtype, base, columns=columns, first=first + 5 * columns)
    assert codec == table.LOW_RANK
    assert bytes(table.decode(codec, body, len(new), base)) == new
    assert len(new) / len(body) > 10
    assert len(new) / len(table.encode(new, dtype, base)[1]) < 3.5


def test_a_full_fine_tune_is_not_taken_for_one_of_low_rank() -> None:
    rng = np.random.default_rng(1)
    base = 0.02 * rng.standard_normal((512, 512))
    new = base + 1e-4 * rng.standard_normal((512, 512))
    old, data = words_of(base, "bf16"), words_of(new, "bf16")
    assert best.encode(data, "bf16", old, columns=512)[0] == table.PARTITIONED
    words = [np.frombuffer(x, "<u2") for x in (data, old)]
    assert factors.find(*words, "bf16", Place(512, 0, 512 * 512)) is None


@pytest.mark.parametrize("values", [0.0, math.inf, math.nan, 1e-42, 3e38, -0.0])
def test_odd_values_in_a_matrix_do_no_harm(values: float) -> None:
    base, new = (np.frombuffer(x, "<f4").copy() for x in merged("f32", 400, 300))
    base[77::1001] = values
    new[::999] = values
    for old, data in ((base, new), (new, base), (np.ones_like(base), new), (base, base)):
        codec, body = best.encode(data.tobytes(), "f32", old.tobytes(), columns=300)
        given = old.tobytes() if table.needs_base(codec) else None
        assert bytes(table.decode(codec, body, data.nbytes, given)) == data.tobytes()


def small_factors(rng: np.random.Generator, rank: int, place: Place) -> Factors:
    sizes = (rank, place.rows), (rank, place.columns)
    left, right = (rng.integers(-(2**20), 2**20, size) for size in sizes)
    return Factors(left, right, 50)


def predicted(word: int, product: Fraction, dtype: str) -> int:
    """The specification's rule for one word, with exact numbers until float64 rounds."""
    value = (
        struct.unpack("<f", struct.pack("<I", word << 16))[0]
        if dtype == "bf16"
        else struct.unpack(FORMAT[dtype], word.to_bytes(WIDTH[dtype], "little"))[0]
    )
    if not math.isfinite(value):
        return word
    x = float(Fraction(value) + product)  # to nearest, ties to even
    if abs(x) < 2.0**-120:
        x = 0.0
    bits = struct.unpack("<I", struct.pack("<f", x))[0]
    if dtype == "bf16":
        return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    if dtype == "f16":
        single = struct.unpack("<f", struct.pack("<I", bits))[0]
        return int.from_bytes(struct.pack("<e", single), "little")
    return bits


@pytest.mark.parametrize("dtype", WIDTH)
def test_the_prediction_is_that_of_the_specification(dtype: str) -> None:
    rng = np.random.default_rng(5)
    place = Place(columns=7, first=3, count=200)
    found = small_factors(rng, 3, place)
    values = 0.01 * rng.standard_normal(place.count)
    values[::20] = [0.0, -0.0, math.inf, -math.inf, math.nan, 1e-40, 1.0, -1.0, 1e-5, 3e4]
    with np.errstate(all="ignore"):
        base = words_of(values, dtype)
    out = bytes(lowrank.predict(base, dtype, place, found))
    width = WIDTH[dtype]
    for i in range(place.count):
        row, column = divmod(place.first + i, place.columns)
        total = sum(
            int(a) * int(b) for a, b in zip(found.left[:, row], found.right[:, column], strict=True)
        )
        word = int.from_bytes(base[i * width : (i + 1) * width], "little")
        expected = predicted(word, Fraction(total, 1 << found.scale), dtype)
        assert int.from_bytes(out[i * width : (i + 1) * width], "little") == expected


def test_sums_of_products_at_the_limit_are_exact_in_any_order() -> None:
    rng = np.random.default_rng(6)
    limit = 2**24
    left = rng.integers(-limit, limit, (16, 64))
    right = rng.integers(-limit, limit, (16, 4096))
    Factors(left, right, 60)
    exact = left.T.astype(object) @ right[:, :50].astype(object)
    for order in (slice(None), slice(None, None, -1)):
        product = left.T[:, order].astype("<f8") @ right[order].astype("<f8")
        assert (product[:, :50].astype("<i8") == exact.astype("<i8")).all()
    with pytest.raises(ValueError, match="exact"):
        Factors(left * 64, right, 60)


def test_a_tail_and_a_segment_within_one_row_come_back() -> None:
    base = np.random.default_rng(2).bytes(20_001)
    place = Place(100, 99, 10_000)
    found = small_factors(np.random.default_rng(3), 2, place)
    prediction = lowrank.predict(base, "bf16", place, found)
    assert bytes(prediction[-1:]) == base[-1:]
    inner = delta.encode(base[::-1], prediction, 2, floats=True)
    body = lowrank.encode("bf16", place, found, table.DELTA, inner)
    assert bytes(table.decode(table.LOW_RANK, body, len(base), base)) == base[::-1]


@functools.cache
def sample() -> tuple[bytes, bytes]:
    base, new = merged("bf16", 128, 200)
    codec, body = best.encode(new, "bf16", base, columns=200)
    assert codec == table.LOW_RANK
    return bytes(body), base


def test_a_cut_or_longer_body_is_refused() -> None:
    body, base = sample()
    for wrong in (
        *(body[:n] for n in (0, 1, 10, 11, 20, len(body) // 2, len(body) - 1)),
        body + b"x",
    ):
        with pytest.raises(ValueError, match=r"."):
            table.decode(table.LOW_RANK, wrong, len(base), base)


@pytest.mark.parametrize(
    ("offset", "field"),
    [
        (0, b"\0"), (0, b"\4"), (1, b"\0"), (1, b"\xff"), (2, b"\xff"),
        (3, struct.pack("<I", 0)), (3, struct.pack("<I", 2**32 - 1)), (7, struct.pack("<I", 200)),
    ],
)  # fmt: skip
def test_a_head_that_cannot_be_is_refused(offset: int, field: bytes) -> None:
    body, base = sample()
    wrong = body[:offset] + field + body[offset + len(field) :]
    with pytest.raises(ValueError, match=r"."):
        table.decode(table.LOW_RANK, wrong, len(base), base)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_a_flipped_body_raises_or_has_the_right_length(data: st.DataObject) -> None:
    body, base = sample()
    at = data.draw(st.integers(0, len(body) - 1) | st.integers(0, min(80, len(body) - 1)))
    flipped = bytearray(body)
    flipped[at] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(ValueError):
        assert len(table.decode(table.LOW_RANK, flipped, len(base), base)) == len(base)
