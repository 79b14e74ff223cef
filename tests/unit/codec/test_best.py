"""What repack makes is never larger than what add makes, and comes back."""

from __future__ import annotations

import contextlib
import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_nn.codec import best, delta, kinds, packing, partition, table, zstd
from git_nn.objects.tensor import DTYPE_BITS, is_dtype

DTYPES = [*DTYPE_BITS, *(f"{name}be" for name in DTYPE_BITS if is_dtype(f"{name}be"))]


def bf16(values: np.ndarray) -> bytes:
    bits = values.astype("<f4").view("<u4")
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2").tobytes()


def gaussian(count: int, seed: int = 7, scale: float = 0.02) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(count) * scale).astype("<f4")


def round_trip(data: bytes, dtype: str, base: bytes | None = None) -> tuple[int, int]:
    codec, body = best.encode(data, dtype, base)
    given = base if table.needs_base(codec) else None
    assert bytes(table.decode(codec, body, len(data), given)) == data
    assert len(body) <= len(table.encode(data, dtype, base)[1])
    return codec, len(body)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("length", [0, 3, 16384, 65539])
def test_every_dtype_comes_back(dtype: str, length: int) -> None:
    base = gaussian(length // 4 + 1).tobytes()[:length]
    new = bytearray(base)
    new[::56] = bytes(b ^ 1 for b in base[::56])
    round_trip(bytes(new), dtype)
    round_trip(bytes(new), dtype, base)


@given(
    st.binary(max_size=200), st.binary(max_size=200), st.integers(1, 200), st.sampled_from(DTYPES)
)
@settings(max_examples=60, deadline=None)
def test_any_bytes_against_any_base_come_back(
    new: bytes, base: bytes, times: int, dtype: str
) -> None:
    size = max(len(new), len(base), 1) * times
    round_trip((new * size)[:size], dtype, (base * size)[:size])


@pytest.mark.parametrize(
    "kind", [kinds.kind_of(name) for name in ("bf16", "f16", "f32", "f64", "f8_e4m3", "i8", "i16")]
)
@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 5000, 140_000])
def test_partitioned_words_of_any_kind_and_length_come_back(
    kind: kinds.Kind, mapped: bool, count: int
) -> None:
    rng = np.random.default_rng(count)
    for tail in range(kind.width):
        base = rng.bytes(count * kind.width + tail)
        changed = bytearray(base)
        changed[::3] = rng.bytes(len(changed[::3]))
        for new in (bytes(changed), base, bytes(len(base))):
            body = partition.encode(new, base, kind, mapped=mapped)
            assert bytes(partition.decode(body, len(new), base)) == new


def test_residuals_stand_in_the_order_of_the_specification() -> None:
    """Three words of 2.0 and 1.0; counted by hand."""
    base = np.array([0x4000, 0x3F80, 0x4000], "<u2")
    new = base + np.array([1, 2, 3], "<u2")
    body = partition.encode(new.tobytes(), base.tobytes(), kinds.kind_of("bf16"), mapped=False)
    assert body == bytes.fromhex("12 08 00 010002 01000000 0000 03000000 04 02 06")


def test_full_fine_tunes_gain_from_the_exponents_of_the_base() -> None:
    """codecs.md B: given the base's exponent bf16 costs 14 to 41 % less."""
    base, step = gaussian(1 << 19), gaussian(1 << 19, seed=8, scale=1)
    for scale, least in ((2e-4, 1.14), (2e-5, 1.2), (1e-6, 1.2)):
        new = bf16(base + np.float32(scale) * step)
        codec, size = round_trip(new, "bf16", bf16(base))
        assert codec == table.PARTITIONED
        assert len(table.encode(new, "bf16", bf16(base))[1]) / size > least


def test_clustered_changes_are_mapped() -> None:
    base = gaussian(1 << 19)
    new = base.copy().reshape(-1, 64)
    rows = np.random.default_rng(9).random(len(new)) < 0.25
    new[rows] += np.float32(1e-3) * gaussian(new[rows].size, seed=8, scale=1).reshape(-1, 64)
    codec, body = best.encode(bf16(new.ravel()), "bf16", bf16(base))
    assert codec == table.PARTITIONED
    assert body[2] == 1  # with a map
    assert len(body) < len(delta.encode(bf16(new.ravel()), bf16(base), 2, floats=True)) * 0.9


@functools.cache
def samples() -> list[tuple[bytes, bytes]]:
    base = gaussian(20_000)
    new = bf16(base + np.float32(2e-5) * gaussian(20_000, seed=8, scale=1))
    kind = kinds.kind_of("bf16")
    return [
        (partition.encode(new, bf16(base), kind, mapped=mapped), bf16(base))
        for mapped in (False, True)
    ]


@pytest.mark.parametrize("which", [0, 1])
def test_a_cut_or_longer_body_is_refused(which: int) -> None:
    body, base = samples()[which]
    for wrong in (
        *(body[:n] for n in (0, 1, 4, 5, 6, 20, len(body) // 2, len(body) - 1)),
        body + b"x",
    ):
        with pytest.raises(ValueError, match=r"."):
            table.decode(table.PARTITIONED, wrong, len(base), base)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_flipped_body_raises_or_has_the_right_length(data: st.DataObject) -> None:
    body, base = data.draw(st.sampled_from(samples()))
    at = data.draw(st.integers(0, len(body) - 1) | st.integers(0, min(80, len(body) - 1)))
    flipped = bytearray(body)
    flipped[at] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(ValueError):
        assert len(table.decode(table.PARTITIONED, flipped, len(base), base)) == len(base)


@pytest.mark.parametrize("dtype", ["u8", "i8", "bf16", "f32"])
@pytest.mark.parametrize("size", [3000, 40_000])
@pytest.mark.parametrize("with_base", [False, True])
def test_a_coder_that_errs_leaves_raw_bytes(
    dtype: str, size: int, with_base: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """zstd of something else, as a broken build or memory would give it."""
    honest = zstd.compress

    def erring(data: bytes, preset: str) -> bytes:
        wrong = bytearray(data)
        wrong[len(wrong) // 2] ^= 1
        return honest(bytes(wrong), preset)

    monkeypatch.setattr(zstd, "compress", erring)
    data = bf16(gaussian(size))
    base = bf16(gaussian(size) * np.float32(1.001)) if with_base else None
    assert table.encode(data, dtype, base) == (table.RAW, data)
    assert best.encode(data, dtype, base) == (table.RAW, data)


def test_a_plane_that_is_packed_wrongly_leaves_raw_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    def erring(symbols: np.ndarray, bits: int, out: np.ndarray) -> None:
        out.fill(0)

    monkeypatch.setattr(packing, "_squeeze", erring)
    data = bf16(gaussian(40_000))
    assert table.encode(data, "bf16") == (table.RAW, data)
    assert best.encode(data, "bf16") == (table.RAW, data)
