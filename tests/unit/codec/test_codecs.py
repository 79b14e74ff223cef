"""Every codec gives back every bit, whatever the bits are, and refuses what is no encoding."""

from __future__ import annotations

import contextlib
import struct
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from git_nn.codec import hints, kernels, planes, table
from git_nn.objects.tensor import DTYPE_BITS, is_dtype

DTYPES = [*DTYPE_BITS, *(f"{name}be" for name in DTYPE_BITS if is_dtype(f"{name}be"))]
MIB = 1024 * 1024
FLOATS = {"f16": "<f2", "f32": "<f4", "f64": "<f8"}


def round_trip(data: bytes, dtype: str) -> int:
    codec, body = table.encode(data, dtype)
    assert len(body) <= len(data)
    assert bytes(table.decode(codec, body, len(data))) == data
    return len(body)


def gaussian(count: int, dtype: str = "f4") -> bytes:
    return (np.random.default_rng(7).standard_normal(count) * 0.02).astype(dtype).tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("length", [0, 1, 7, 4095, 16383, 16384, 16385, 65537, 300_001])
def test_every_dtype_and_odd_lengths_come_back(dtype: str, length: int) -> None:
    round_trip(gaussian(length // 4 + 1)[:length], dtype)


@given(st.binary(max_size=200), st.integers(1, 400), st.sampled_from(DTYPES))
@settings(max_examples=150, deadline=None)
def test_any_bytes_come_back(seed: bytes, times: int, dtype: str) -> None:
    round_trip(seed * times, dtype)


@given(st.binary(max_size=4000), st.sampled_from([2, 4, 8]))
@settings(max_examples=200, deadline=None)
def test_planes_of_any_bytes_come_back(data: bytes, width: int) -> None:
    body = planes.encode(data, width)
    assert bytes(planes.decode(body, len(data))) == data


@pytest.mark.parametrize("name", FLOATS)
def test_nan_payloads_and_signed_zeros_keep_their_bits(name: str) -> None:
    width = int(FLOATS[name][-1])
    top = {2: 0x7C00, 4: 0x7F800000, 8: 0x7FF0 << 48}[width]
    sign = 1 << (8 * width - 1)
    words = [top | i for i in range(64)] + [sign | top | i for i in range(64)]
    words += [0, sign, 1, sign | 1, top - 1, sign | (top - 1), (1 << 8 * width) - 1]
    data = b"".join(word.to_bytes(width, "little") for word in words * 200)
    round_trip(data, name)


@pytest.mark.parametrize("width", [2, 4, 8])
def test_the_planes_are_those_of_the_specification(width: int) -> None:
    rng = np.random.default_rng(width)
    words = rng.integers(0, 1 << 63, 150_001, dtype="<u8").astype(f"<u{width}")
    found = [np.empty(len(words), f"<u{size}") for size in kernels.ITEMS[width]]
    kernels.split(words, found)
    for i in (*range(500), *range(130_000, 132_000), 150_000):
        word = int(words[i])
        top = word >> (8 * width - 16)
        expected = [(top >> 7) & 255, ((top >> 8) & 128) | (top & 127)]
        if width == 4:
            expected.append(word & 0xFFFF)
        if width == 8:
            expected += [(word >> 32) & 0xFFFF, word & 0xFFFFFFFF]
        assert [int(plane[i]) for plane in found] == expected


def test_a_body_is_laid_out_as_specified() -> None:
    words = [0x3F80, 0xBF80, 0x3F81]
    body = planes.encode(struct.pack("<3H", *words) + b"!", 2)
    assert body == (
        b"\x02" + struct.pack("<BI", 2, 1) + b"\x7f"  # one exponent: a constant plane
        + struct.pack("<BI", 0, 3) + bytes([0x00, 0x80, 0x01]) + b"!"
    )  # fmt: skip


def test_gaussian_weights_reach_the_expected_ratios() -> None:
    """codecs.md: bf16 1.50, f32 1.20, f16 1.18; bf16 kept in f32 3.0."""
    f32 = gaussian(MIB)
    bf16 = (np.frombuffer(f32, "<u4") >> 16).astype("<u2").tobytes()
    widened = (np.frombuffer(f32, "<u4") & 0xFFFF0000).tobytes()
    assert len(f32) / round_trip(f32, "f32") > 1.19
    assert len(bf16) / round_trip(bf16, "bf16") > 1.49
    assert len(widened) / round_trip(widened, "f32") > 2.9
    f16 = gaussian(MIB, "f2")
    assert len(f16) / round_trip(f16, "f16") > 1.16
    halves = np.frombuffer(f16, "<f2").astype("<f4").tobytes()
    assert len(halves) / round_trip(halves, "f32") > 2.2


def test_constant_and_repeated_weights_become_tiny() -> None:
    assert round_trip(b"\0" * MIB, "f32") < 200
    assert round_trip(np.full(MIB, 0.1, "f4").tobytes(), "f32") < 200
    row = gaussian(1000)
    assert round_trip(row * 300, "f32") < 3 * len(row)


def test_text_is_compressed_and_noise_is_stored_as_it_is() -> None:
    assert round_trip(b"model.layers.0.weight " * 5000, "u8") < 1000
    noise = np.random.default_rng(1).bytes(MIB)
    for dtype in ("u8", "f32", "bf16", "i8", "f64"):
        assert table.encode(noise, dtype) == (table.RAW, noise)


def test_buffers_of_any_kind_are_taken() -> None:
    data = gaussian(20_000)
    for kind in (bytes, bytearray, memoryview):
        codec, body = table.encode(kind(data), "f32")
        assert bytes(table.decode(codec, kind(bytes(body)), len(data))) == data


def test_an_unknown_codec_is_named_as_such() -> None:
    with pytest.raises(table.UnknownCodecError):
        table.decode(200, b"", 0)


def encoded_samples() -> list[tuple[int, bytes, int]]:
    samples = []
    for data, dtype in (
        (gaussian(30_000), "f32"),
        (gaussian(30_000, "f2"), "f16"),
        (gaussian(10_000, "f8"), "f64"),
        (b"text " * 9999, "u8"),
        (np.frombuffer(gaussian(30_000, "f2"), "<f2").astype("<f4").tobytes(), "f32"),
    ):
        codec, body = table.encode(data, dtype)
        samples.append((codec, bytes(body), len(data)))
    assert {codec for codec, _, _ in samples} == {1, 5, 7}
    return samples


@pytest.mark.parametrize(("codec", "body", "rawlen"), encoded_samples())
def test_a_cut_or_longer_body_is_refused(codec: int, body: bytes, rawlen: int) -> None:
    for cut in (0, 1, 4, 5, 6, len(body) // 2, len(body) - 1):
        with pytest.raises(ValueError, match=r"."):
            table.decode(codec, body[:cut], rawlen)
    with pytest.raises(ValueError, match=r"."):
        table.decode(codec, body + b"x", rawlen)


@pytest.mark.parametrize(("codec", "body", "rawlen"), encoded_samples())
def test_another_length_is_refused(codec: int, body: bytes, rawlen: int) -> None:
    for wrong in (0, 1, rawlen - 8, rawlen - 1, rawlen + 1, rawlen + 8):
        with pytest.raises(ValueError, match=r"."):
            table.decode(codec, body, wrong)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_flipped_body_raises_or_has_the_right_length(data: st.DataObject) -> None:
    """The store compares ids; here no other error, and no other length, may come out."""
    codec, body, rawlen = data.draw(st.sampled_from(encoded_samples()))
    at = data.draw(st.integers(0, len(body) - 1) | st.integers(0, min(40, len(body) - 1)))
    flipped = bytearray(body)
    flipped[at] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(ValueError):
        assert len(table.decode(codec, flipped, rawlen)) == rawlen


@given(st.binary(max_size=300), st.integers(0, 10), st.integers(0, 100_000))
@settings(max_examples=300, deadline=None)
def test_hostile_bodies_never_escape_as_another_error(body: bytes, codec: int, size: int) -> None:
    with contextlib.suppress(ValueError):
        assert len(table.decode(codec, body, size, bytes(size))) == size


def bomb(size: int) -> bytes:
    """A zstd frame of a few bytes that says, rightly, that it holds ``size`` zeros."""
    writer = zstandard.ZstdCompressor(level=19).compressobj(size=size)
    step = bytes(MIB)
    return b"".join(writer.compress(step) for _ in range(size // MIB)) + writer.flush()


def packed(bits: int, symbols: bytes) -> bytes:
    """A packed record whose symbols are a zstd frame."""
    content = struct.pack("<BBBI", bits, 0, 1, len(symbols)) + symbols
    return struct.pack("<BI", 4, len(content)) + content


def test_bombs_are_refused_before_they_cost_memory() -> None:
    body = bomb(256 * MIB)
    assert len(body) < 64 * 1024
    lying = b"\x28\xb5\x2f\xfd\xe0" + (10 * 2**40).to_bytes(8, "little") + b"\x01\x00\x00"
    base = bytes(4 * MIB)
    tracemalloc.start()
    for hostile in (body, lying):
        for codec, wrapped in (
            (1, hostile),
            (2, struct.pack("<BI", 1, len(hostile)) + hostile),
            (3, struct.pack("<BI", 3, 4_000_000_000) + hostile),
            (5, b"\x02" + struct.pack("<BI", 1, len(hostile)) + hostile),
            (6, b"\x02" + struct.pack("<BI", 1, len(hostile)) + hostile),
            (6, b"\x01" + packed(4, hostile)),
            (9, b"\x12\x08\x00\x01\x00" + packed(1, hostile)),
            (10, b"\x01\x01\x00" + struct.pack("<II", 2048, 0) + packed(2, hostile)),
            (7, b"\x01\x05\x02" + packed(4, hostile)),
        ):
            with pytest.raises(ValueError, match=r"."):
                table.decode(codec, wrapped, 4 * MIB, base)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 32 * MIB


def test_a_zstd_frame_without_its_size_is_refused() -> None:
    body = zstandard.ZstdCompressor(write_content_size=False).compress(b"x" * 5000)
    with pytest.raises(ValueError, match="size"):
        table.decode(1, body, 5000)


def test_planes_in_planes_in_planes_are_refused() -> None:
    inner = struct.pack("<BI", 3, 0)
    body = struct.pack("<BI", 0, 0) * 2 + struct.pack("<BI", 3, len(inner)) + inner
    with pytest.raises(ValueError, match=r"."):
        table.decode(3, body, 0)


def test_hints_name_every_dtype_and_come_back() -> None:
    numbers = {dtype: hints.hint_of(dtype) for dtype in DTYPES}
    assert len(set(numbers.values())) == len(DTYPES)
    assert all(0 < number < 256 for number in numbers.values())
    assert all(hints.dtype_of(number) == dtype for dtype, number in numbers.items())
    assert numbers["bf16"] == 4
    assert numbers["f32be"] == 66
    assert [hints.dtype_of(n) for n in (0, 27, 63, 64, 128, 255)] == ["u8"] * 6
    assert hints.hint_of("") == hints.hint_of("no such type") == 0


def test_small_data_needs_no_numpy() -> None:
    program = (
        "import sys; from git_nn.codec import table;"
        "c, b = table.encode(bytes(16000), 'f32'); table.decode(c, b, 16000);"
        "sys.exit('numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
