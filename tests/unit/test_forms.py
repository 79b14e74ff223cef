"""forms: what containers make of an array is undone exactly, or not at all."""

from __future__ import annotations

import io
import zlib
from typing import Any

import h5py
import numpy as np
import pytest

from git_nn import arrays
from git_nn.forms import decode_form
from git_nn.objects.tensor import dtype_bits


def noise(length: int, seed: int = 1) -> bytes:
    return np.random.default_rng(seed).bytes(length)


def h5_parts(array: np.ndarray, **options: Any) -> tuple[list[int], bytes]:
    """Lengths of the chunks that h5py stores for ``array``, and their bytes, in grid order."""
    with h5py.File(io.BytesIO(), "w") as file:
        dataset = file.create_dataset("x", data=array, **options)
        file.flush()
        found = []
        dataset.id.chunk_iter(lambda info: found.append(info.chunk_offset))
        chunks = [dataset.id.read_direct_chunk(at)[1] for at in sorted(found)]
    return [len(chunk) for chunk in chunks], b"".join(chunks)


@pytest.mark.parametrize(
    ("filters", "options"),
    [
        ("", {}),
        (";deflate", {"compression": 4}),
        (";shuffle;deflate", {"compression": 1, "shuffle": True}),
        (";fletcher32", {"fletcher32": True}),
        (";shuffle;deflate;fletcher32", {"compression": 9, "shuffle": True, "fletcher32": True}),
    ],
)
@pytest.mark.parametrize(
    ("shape", "chunk"), [((5, 7), (2, 3)), ((9,), (4,)), ((3, 4, 5), (2, 4, 3)), ((6, 4), (3, 4))]
)
@pytest.mark.parametrize("dtype", ["f32", "f64be", "i16", "c128", "u8"])
def test_chunks_as_hdf5_stores_them_are_decoded(
    filters: str,
    options: dict[str, Any],
    shape: tuple[int, ...],
    chunk: tuple[int, ...],
    dtype: str,
) -> None:
    data = noise(dtype_bits(dtype) // 8 * int(np.prod(shape)))
    array = arrays.as_array(data, dtype, shape)
    lengths, stored = h5_parts(array, chunks=chunk, **options)
    form = f"h5[{'x'.join(map(str, chunk))}{filters}]"
    assert decode_form(form, dtype, shape, lengths, stored) == data


def test_a_flipped_bit_under_fletcher32_is_not_decoded() -> None:
    lengths, stored = h5_parts(np.arange(300.0), chunks=(300,), fletcher32=True)
    assert decode_form("h5[300;fletcher32]", "f64", (300,), lengths, stored) is not None
    for place in (0, 1111, len(stored) - 1):
        broken = bytearray(stored)
        broken[place] ^= 4
        got = decode_form("h5[300;fletcher32]", "f64", (300,), lengths, bytes(broken))
        assert got is None


def test_fletcher32_of_an_odd_length_and_of_more_than_a_block() -> None:
    for count in (1, 3, 131075, 500_001):
        lengths, stored = h5_parts(
            np.frombuffer(noise(count), np.uint8), chunks=(count,), fletcher32=True
        )
        got = decode_form(f"h5[{count};fletcher32]", "u8", (count,), lengths, stored)
        assert got == noise(count)


GOOD = zlib.compress(bytes(range(16)))


@pytest.mark.parametrize(
    ("form", "shape", "data"),
    [
        ("h5[4;lzf]", (4,), GOOD),
        ("h5[4;f32015]", (4,), GOOD),
        ("h5sparse[4;deflate]", (4,), GOOD),
        ("h5[4;deflate", (4,), GOOD),
        ("h5[04;deflate]", (4,), GOOD),
        ("zip[deflate]", (4,), GOOD),
        ("h5[4;deflate]", (5,), GOOD),
        ("h5[4;deflate]", (4, 1), GOOD),
        ("h5[3;deflate]", (3,), GOOD),
        ("h5[5;deflate]", (5,), GOOD),
        ("h5[4;deflate]", (4,), GOOD[:-1]),
        ("h5[4;deflate]", (4,), GOOD + b"x"),
        ("h5[4;deflate]", (4,), b"not zlib"),
        ("h5[4;fletcher32]", (4,), b"abc"),
        ("h5[4;deflate]", (4,), zlib.compress(bytes(1 << 24))),
        ("h5[9999999999999;deflate]", (4,), GOOD),
        ("", (4,), GOOD),
    ],
)
def test_what_cannot_be_decoded_is_never_guessed(
    form: str, shape: tuple[int, ...], data: bytes
) -> None:
    assert decode_form(form, "f32", shape, [len(data)], data) is None


def test_the_good_form_of_the_refused_ones_is_decoded() -> None:
    assert decode_form("h5[4;deflate]", "f32", (4,), [len(GOOD)], GOOD) == bytes(range(16))
    assert decode_form("h5[4;deflate]", "f32", (4,), [len(GOOD) + 1], GOOD) is None
    assert decode_form("", "f32", (4,), [16], bytes(range(16))) == bytes(range(16))


ARRAY = np.frombuffer(noise(5 * 7 * 8), "<f8").reshape(5, 7)


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def deflated(data: bytes) -> bytes:
    """The stream that a zip file keeps, by the standard library."""
    coder = zlib.compressobj(6, zlib.DEFLATED, -15)
    return coder.compress(data) + coder.flush()


@pytest.mark.parametrize(
    ("form", "stored"),
    [
        ("fortran", ARRAY.T.tobytes()),
        ("npy", npy(ARRAY)),
        ("npy;deflate", deflated(npy(ARRAY))),
        ("fortran;npy;deflate", deflated(npy(np.asfortranarray(ARRAY)))),
        ("latin1", ARRAY.tobytes().decode("latin-1").encode("utf-8")),
        ("fortran;latin1", ARRAY.T.tobytes().decode("latin-1").encode("utf-8")),
    ],
)
def test_steps_are_undone_from_the_last_to_the_first(form: str, stored: bytes) -> None:
    def decoded(data: bytes, shape: tuple[int, ...] = (5, 7)) -> bytes | None:
        return decode_form(form, "f64", shape, [len(data)], data)

    assert decoded(stored) == ARRAY.tobytes()
    assert decoded(stored, (5, 6)) is None
    assert decoded(stored, (5, 8)) is None
    assert decoded(stored[:-1]) is None
    assert decoded(stored + b"x") is None
    assert decoded(b"") is None


@pytest.mark.parametrize("form", ["deflate;npy;x", "npy;", ";npy", "npy;fortran", "x", "NPY"])
def test_an_unknown_step_is_never_guessed(form: str) -> None:
    assert decode_form(form, "f64", (5, 7), [280], ARRAY.tobytes()) is None


def test_a_bomb_in_a_deflated_member_is_not_inflated() -> None:
    bomb = deflated(npy(np.zeros(1 << 24)))
    assert decode_form("npy;deflate", "f64", (35,), [len(bomb)], bomb) is None
