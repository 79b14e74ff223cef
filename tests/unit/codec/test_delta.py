"""A version coded against another one comes back whatever both are."""

from __future__ import annotations

import contextlib
import functools
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_nn.codec import delta, table
from git_nn.objects.tensor import DTYPE_BITS, is_dtype

DTYPES = [*DTYPE_BITS, *(f"{name}be" for name in DTYPE_BITS if is_dtype(f"{name}be"))]
WIDTHS = {"f8_e4m3": 1, "bf16": 2, "f16": 2, "f32": 4, "f64": 8}


def round_trip(data: bytes, dtype: str, base: bytes) -> tuple[int, int]:
    codec, body = table.encode(data, dtype, base)
    assert len(body) <= len(data)
    given = base if table.needs_base(codec) else None
    assert bytes(table.decode(codec, body, len(data), given)) == data
    return codec, len(body)


def bf16(values: np.ndarray) -> bytes:
    bits = values.astype("<f4").view("<u4")
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2").tobytes()


def gaussian(count: int, seed: int = 7, scale: float = 0.02) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(count) * scale).astype("<f4")


def residual(word: int, base: int, bits: int, floats: bool) -> int:
    """The specification's formula, one word at a time."""

    def mapped(x: int) -> int:
        return x ^ ((1 << (bits - 1)) - 1) if floats and x >> (bits - 1) else x

    d = (mapped(word) - mapped(base)) % (1 << bits)
    return 2 * d if d < 1 << (bits - 1) else 2 * ((1 << bits) - d) - 1


@pytest.mark.parametrize("width", [1, 2, 4, 8])
@pytest.mark.parametrize("floats", [False, True])
def test_the_residuals_are_those_of_the_specification(width: int, floats: bool) -> None:
    rng = np.random.default_rng(width)
    top = 1 << (8 * width - 1)
    edges = [0, 1, 2, top - 1, top, top + 1, 2 * top - 1]
    words = [(w, b) for w in edges for b in edges]
    words += [
        tuple(int.from_bytes(rng.bytes(width), "little") for _ in range(2)) for _ in range(400)
    ]
    new, base = (np.array(column, f"<u{width}") for column in zip(*words, strict=True))
    planes = delta.planes_of(new, base, floats=floats)
    for i, (w, b) in enumerate(words):
        z = residual(w, b, 8 * width, floats)
        assert bytes(int(plane[i]) for plane in planes) == z.to_bytes(width, "big")


def test_the_map_keeps_the_order_of_floats() -> None:
    values = [-float("inf"), -1.5, -1.0, -1e-40, -0.0, 0.0, 1e-40, 1.0, 1.5, float("inf")]
    bits = [struct.unpack("<I", struct.pack("<f", value))[0] for value in values]
    mapped = [x ^ 0x7FFFFFFF if x >> 31 else x for x in bits]
    signed = [x - (1 << 32) if x >> 31 else x for x in mapped]
    assert signed == sorted(signed)
    assert residual(bits[5], bits[4], 32, True) == 2  # 0.0 stands next to -0.0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("length", [16384, 16385, 16387, 65537, 300_001])
def test_every_dtype_and_odd_lengths_come_back(dtype: str, length: int) -> None:
    base = gaussian(length // 4 + 1).tobytes()[:length]
    new = bytearray(base)
    new[:: 7 * 8] = bytes(b ^ 1 for b in base[:: 7 * 8])
    codec, size = round_trip(bytes(new), dtype, base)
    assert codec == table.DELTA
    assert size < length / 5


@pytest.mark.parametrize("width", [1, 2, 4, 8])
@pytest.mark.parametrize("floats", [False, True])
@pytest.mark.parametrize("words", [0, 1, 2, 3, 1000])
def test_any_length_and_tail_comes_back(width: int, floats: bool, words: int) -> None:
    for tail in range(width):
        rng = np.random.default_rng(tail)
        data, base = rng.bytes(words * width + tail), rng.bytes(words * width + tail)
        for new in (data, base, bytes(len(data))):
            body = delta.encode(new, base, width, floats=floats)
            assert bytes(delta.decode(body, len(new), base)) == new


@given(
    st.binary(max_size=300), st.binary(max_size=300), st.integers(1, 300), st.sampled_from(DTYPES)
)
@settings(max_examples=200, deadline=None)
def test_any_bytes_against_any_base_come_back(
    new: bytes, base: bytes, times: int, dtype: str
) -> None:
    size = max(len(new), len(base), 1) * times
    round_trip((new * size)[:size], dtype, (base * size)[:size])


@pytest.mark.parametrize("dtype", WIDTHS)
def test_nan_payloads_denormals_and_signed_zeros_keep_their_bits(dtype: str) -> None:
    bits = 8 * WIDTHS[dtype]
    edges = [0, 1, 2, (1 << bits) - 1, 1 << (bits - 1), (1 << (bits - 1)) + 1, (1 << bits) - 2]
    edges += [0x7F << (bits - 8), 0xFF << (bits - 8), 0x7F81 >> max(0, 16 - bits)]
    pairs = [(w, b) for w in edges for b in edges] * 200
    new, base = (
        b"".join(x.to_bytes(bits // 8, "little") for x in column)
        for column in zip(*pairs, strict=True)
    )
    round_trip(new, dtype, base)


def test_an_unchanged_tensor_costs_nothing() -> None:
    for dtype in ("bf16", "f32", "i8", "f64"):
        data = gaussian(100_000).tobytes()
        assert round_trip(data, dtype, data)[1] < 60


def test_a_base_that_does_not_help_is_not_used() -> None:
    rng = np.random.default_rng(3)
    data, noise = bf16(gaussian(100_000)), rng.bytes(200_000)
    alone = len(table.encode(data, "bf16")[1])
    for base in (noise, bf16(gaussian(100_000, seed=8))):
        codec, size = round_trip(data, "bf16", base)
        assert not table.needs_base(codec)
        assert size == alone
    assert table.encode(noise, "bf16", data) == (table.RAW, noise)


def test_a_base_of_another_length_is_not_used() -> None:
    data = bf16(gaussian(50_000))
    assert not table.needs_base(table.encode(data, "bf16", data[:-2])[0])


def test_fine_tunes_reach_the_expected_ratios() -> None:
    """codecs.md B, order-0 bounds of "sub": bf16 3.83 and 10.3; fp32 1.85."""
    base = gaussian(1 << 20)
    step = gaussian(1 << 20, seed=8, scale=1)
    for scale, least in ((2e-4, 3.3), (2e-5, 8.0), (1e-6, 30.0)):
        new = bf16(base + np.float32(scale) * step)
        assert len(new) / round_trip(new, "bf16", bf16(base))[1] > least
    new = (base + np.float32(2e-5) * step).tobytes()
    assert len(new) / round_trip(new, "f32", base.tobytes())[1] > 1.75


def test_int8_against_its_base_costs_what_changed() -> None:
    rng = np.random.default_rng(5)
    base = rng.integers(-100, 100, 400_000).astype("i1")
    new = base + (rng.random(400_000) < 0.03) * rng.choice([-1, 1], 400_000)
    codec, size = round_trip(new.astype("i1").tobytes(), "i8", base.tobytes())
    assert codec == table.DELTA
    assert len(base) / size > 20


@functools.cache
def samples() -> list[tuple[bytes, bytes, int]]:
    base = gaussian(40_000)
    found = []
    for scale in (1e-6, 2e-5, 1e-3):
        new = base + np.float32(scale) * gaussian(40_000, seed=8, scale=1)
        for data, old, dtype in (
            (bf16(new), bf16(base), "bf16"), (new.tobytes(), base.tobytes(), "f32"),
        ):  # fmt: skip
            codec, body = table.encode(data, dtype, old)
            if table.needs_base(codec):
                found.append((bytes(body), old, len(data)))
    return found


@pytest.mark.parametrize(("body", "base", "rawlen"), samples())
def test_a_cut_or_longer_body_is_refused(body: bytes, base: bytes, rawlen: int) -> None:
    for wrong in (b"", body[:1], body[:3], body[: len(body) // 2], body[:-1], body + b"x"):
        with pytest.raises(ValueError, match=r"."):
            table.decode(table.DELTA, wrong, rawlen, base)


def test_a_missing_or_wrong_base_is_refused() -> None:
    body, base, rawlen = samples()[0]
    for wrong in (None, b"", base[:-1], base + b"x"):
        with pytest.raises(ValueError, match="base"):
            table.decode(table.DELTA, body, rawlen, wrong)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_flipped_body_raises_or_has_the_right_length(data: st.DataObject) -> None:
    body, base, rawlen = data.draw(st.sampled_from(samples()))
    at = data.draw(st.integers(0, len(body) - 1) | st.integers(0, min(60, len(body) - 1)))
    flipped = bytearray(body)
    flipped[at] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(ValueError):
        assert len(table.decode(table.DELTA, flipped, rawlen, base)) == rawlen
