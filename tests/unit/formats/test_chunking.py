"""Content-defined chunks: as docs/spec-chunking.md says, however the content comes in."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from git_nn.formats.chunking import MAX, MIN, cuts

SPEC = Path(__file__).parents[3] / "docs" / "spec-chunking.md"


def specified(data: bytes) -> Iterator[bytes]:
    """The specification, word for word, one position at a time."""
    start = 0
    while start < len(data):
        stop = end = min(start + 262_144, len(data))
        for p in range(start + 16_384, end):
            w0, w1, w2, w3 = (
                int.from_bytes(data[i : i + 4], "little") for i in range(p - 16, p, 4)
            )
            if (
                ((w0 * 0x9E3779B1 + w1) * 0x85EBCA77) + (w2 * 0x9E3779B1 + w3)
            ) % 2**32 >= 0xFFFF0000:
                stop = p
                break
        yield data[start:stop]
        start = stop


def example(count: int) -> bytes:
    x, out = 1, bytearray()
    for _ in range(count):
        x = (x * 1103515245 + 12345) % 2**31
        out.append(x >> 16 & 0xFF)
    return bytes(out)


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.mark.parametrize("seed", range(3))
def test_the_cuts_are_those_of_the_specification(seed: int) -> None:
    data = noise(400_000 + seed, seed)
    assert list(cuts([data])) == list(specified(data))


def test_the_cuts_of_low_entropy_data_are_those_of_the_specification() -> None:
    data = b"".join(i.to_bytes(4, "little") for i in range(70_000))
    assert list(cuts([data])) == list(specified(data))


def test_the_example_of_the_specification_never_changes() -> None:
    lengths = [len(chunk) for chunk in cuts([example(1_000_000)])]
    block = SPEC.read_text(encoding="utf-8").split("lengths:\n")[1]
    assert lengths == [int(word) for word in block.replace(",", " ").split()]


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, MIN - 1, MIN, MIN + 1, MAX - 1, MAX, MAX + 1])
def test_chunks_put_together_are_the_content(size: int) -> None:
    data = noise(size)
    chunks = list(cuts([data]))
    assert b"".join(chunks) == data
    assert all(MIN <= len(chunk) <= MAX for chunk in chunks[:-1])
    assert all(0 < len(chunk) <= MAX for chunk in chunks[-1:])


@pytest.mark.parametrize("piece", [1, 7, 4096, MIN, MAX - 1, MAX, MAX + 1, 10_000_000])
def test_the_pieces_in_which_content_comes_do_not_matter(piece: int) -> None:
    data = noise(600_001, 5) if piece > 1 else noise(300_001, 5)
    pieces = [data[i : i + piece] for i in range(0, len(data), piece)]
    assert list(cuts(pieces)) == list(cuts([data]))
    assert list(cuts([b"", *map(memoryview, pieces), bytearray()])) == list(cuts([data]))


def test_zeros_give_the_longest_chunks() -> None:
    assert {len(chunk) for chunk in cuts([bytes(8 * MAX)])} == {MAX}


@pytest.mark.parametrize("edit", [b"", b"x", b"some more bytes"])
def test_an_edit_changes_few_chunks(edit: bytes) -> None:
    data = noise(4_000_000, 7)
    edited = data[:1_000_000] + edit + data[1_000_003:]
    before, after = set(cuts([data])), set(cuts([edited]))
    assert len(after - before) <= 3
    assert len(before & after) >= len(before) - 3


def test_content_shorter_than_a_chunk_needs_no_numpy() -> None:
    program = (
        "import sys; from git_nn.formats.chunking import cuts, MIN\n"
        "assert list(cuts([bytes(MIN)])) == [bytes(MIN)] and 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
