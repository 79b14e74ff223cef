"""f32 words that hold 16-bit floats are coded as those, and come back bit by bit."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest

from git_nn.codec import narrow, table


def widened(half: int) -> int:
    """The specification's f32 word of an f16 word."""
    sign, exponent, mantissa = half >> 15 << 31, half >> 10 & 31, half & 1023
    if exponent == 31:
        return sign | 255 << 23 | mantissa << 13
    if exponent:
        return sign | (exponent + 112) << 23 | mantissa << 13
    return sign | struct.unpack("<I", struct.pack("<f", math.ldexp(mantissa, -24)))[0]


ALL_HALVES = np.array([widened(half) for half in range(1 << 16)], "<u4").tobytes()
ALL_BF16 = (np.arange(1 << 16, dtype="<u4") << 16).tobytes()


def test_every_f16_and_bf16_value_comes_back() -> None:
    for words, kind in ((ALL_HALVES, 2), (ALL_BF16, 1)):
        codec, body = table.encode(words, "f32")
        assert (codec, body[0]) == (table.NARROWED, kind)
        assert bytes(table.decode(codec, body, len(words))) == words
        assert len(body) < len(words) / 2 + 100


def test_one_word_that_does_not_fit_keeps_all_of_them_wide() -> None:
    for words in (ALL_HALVES, ALL_BF16):
        for at, value in ((0, 1), (77_777 // 4 * 4, 0x7F800001), (len(words) - 4, 0x00000001)):
            wide = bytearray(words)
            wide[at : at + 4] = struct.pack("<I", value)
            codec, body = table.encode(bytes(wide), "f32")
            assert codec != table.NARROWED
            assert bytes(table.decode(codec, body, len(wide))) == wide


@pytest.mark.parametrize("kind", ["bf16", "f16"])
def test_a_fine_tune_of_narrow_words_costs_what_the_narrow_ones_do(kind: str) -> None:
    rng = np.random.default_rng(1)
    base = (rng.standard_normal(100_000) * 0.02).astype("<f4")
    new = base + np.float32(1e-4) * rng.standard_normal(100_000, dtype="<f4")
    halves = [
        (x.view("<u4") >> 16).astype("<u2") if kind == "bf16" else x.astype("<f2").view("<u2")
        for x in (base, new)
    ]
    wide = [
        (h.astype("<u4") << 16 if kind == "bf16" else h.view("<f2").astype("<f4")).tobytes()
        for h in halves
    ]
    codec, body = table.encode(wide[1], "f32", wide[0])
    assert codec == table.NARROWED_DELTA
    assert table.needs_base(codec)
    assert bytes(table.decode(codec, body, len(wide[1]), wide[0])) == wide[1]
    narrow_body = table.encode(halves[1].tobytes(), kind, halves[0].tobytes())[1]
    assert len(body) == len(narrow_body) + 2


def test_a_wide_base_of_narrow_words_does_no_harm() -> None:
    wide = np.random.default_rng(2).standard_normal(1 << 15).astype("<f4").tobytes()
    words = ALL_BF16[: len(wide)]
    codec, body = table.encode(words, "f32", wide)
    assert codec == table.NARROWED
    assert bytes(table.decode(codec, body, len(words))) == words
    delta = narrow.wrapped("bf16", table.DELTA, b"\x02")
    with pytest.raises(ValueError, match="narrowed"):
        table.decode(table.NARROWED_DELTA, delta, len(words), wide)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x01",
        b"\x00\x00abcd",
        b"\x03\x00abcd",
        b"\x01\x07abcd",
        b"\x01\x08abcd",
        b"\x01\xffabcd",
    ],
)
def test_a_body_of_no_known_kind_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="narrowed"):
        table.decode(table.NARROWED, body, 8)
    with pytest.raises(ValueError, match="narrowed"):
        table.decode(table.NARROWED_DELTA, body, 8, bytes(8))


def test_a_delta_inside_needs_a_base_outside() -> None:
    inner = narrow.wrapped("bf16", table.DELTA, b"\x12")
    with pytest.raises(ValueError, match="base"):
        table.decode(table.NARROWED, inner, 8)
    plain = narrow.wrapped("bf16", table.RAW, b"abcd")
    with pytest.raises(ValueError, match="base"):
        table.decode(table.NARROWED_DELTA, plain, 8, bytes(8))


def test_lengths_that_are_no_words_are_not_narrowed() -> None:
    data = ALL_BF16 + b"\0"
    codec, body = table.encode(data, "f32")
    assert codec != table.NARROWED
    assert bytes(table.decode(codec, body, len(data))) == data
    with pytest.raises(ValueError, match="narrowed"):
        table.decode(table.NARROWED, narrow.wrapped("bf16", table.RAW, b"ab"), 5)
