"""Files of no format that is known, or compressed as a whole: kept bit for bit, chunk by chunk."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import zipfile
import zlib
from collections.abc import Iterator

import pytest

from git_nn import smudge
from git_nn.clean import clean
from git_nn.formats import table
from git_nn.formats.base import BytesSource
from git_nn.formats.chunking import MAX, MIN
from git_nn.store.memory import MemoryBatch, MemoryStore

AVERAGE = 80 * 1024  # bytes of a chunk of random data (docs/spec-chunking.md)
MB = 1_000_000


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


DATA = noise(5 * MB)


class Counting(MemoryStore):
    """A store that knows how many bytes of it are new."""

    def batch(self) -> MemoryBatch:
        self.before = set(self._objects)
        return super().batch()

    def new(self) -> int:
        return sum(len(data) for oid, data in self._objects.items() if oid not in self.before)


def round_trip(data: bytes, store: MemoryStore) -> str:
    """The format of ``data``, which must come back from ``store``."""
    cleaned = clean(BytesSource(data), store)
    frame = smudge.load_skeleton(cleaned.pointer, store)
    sink = smudge.MemorySink(bytearray(frame.size))
    smudge.write_file(cleaned.pointer, frame, store, sink)
    assert sink.data == data
    return cleaned.pointer.format


def new_bytes(before: bytes, after: bytes) -> int:
    """How much larger a store with ``before`` gets by ``after``, skeleton included."""
    store = Counting()
    assert round_trip(before, store) == "opaque"
    assert len(before) <= store.new() < len(before) * 1.01 + 1000
    assert round_trip(after, store) == "opaque"
    return store.new()


HALF = len(DATA) // 2
# what is done to a file of 5 MB, and how many chunks may be new
EDITS = {
    "nothing": (DATA, 0),
    "one byte changed": (DATA[:HALF] + b"?" + DATA[HALF + 1 :], 2),
    "one byte inserted": (DATA[:HALF] + b"?" + DATA[HALF:], 2),
    "1000 bytes inserted": (DATA[:HALF] + noise(1000, 1) + DATA[HALF:], 2),
    "1000 bytes removed": (DATA[:HALF] + DATA[HALF + 1000 :], 2),
    "a byte at the start": (b"?" + DATA, 2),
    "1000 bytes at the end": (DATA + noise(1000, 1), 1),
    "the halves exchanged": (DATA[HALF:] + DATA[:HALF], 3),
    "the same once more": (DATA + DATA, 2),
    "its last megabyte alone": (DATA[4 * MB :], 2),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_costs_the_chunks_around_it(edit: str) -> None:
    after, chunks = EDITS[edit]
    new = new_bytes(DATA, after)
    print(f"{edit}: {new} new bytes of {len(after)}")
    skeleton = 45 * (len(after) // MIN + 1)  # a line for each chunk, at most
    assert new <= chunks * MAX + (skeleton if chunks else 0)
    assert new < len(after) / 4


def test_edits_cost_two_chunks_of_usual_size_on_average() -> None:
    """Twenty insertions at random places, one after the other, as a file lives."""
    rng, data, store = random.Random(3), DATA, Counting()
    round_trip(data, store)
    total = 0
    for _ in range(20):
        at = rng.randrange(len(data))
        data = data[:at] + rng.randbytes(rng.randrange(1, 500)) + data[at:]
        round_trip(data, store)
        total += store.new()
    print(f"{total / 20:.0f} new bytes per insertion, skeleton included")
    assert total / 20 < 2 * AVERAGE


def test_equal_blocks_of_a_file_are_stored_once() -> None:
    store = Counting()
    round_trip(bytes(20 * MB), store)
    assert store.new() < 2 * MAX + 20_000


def zipped(method: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as file:
        file.writestr("archive/data.pkl", b"\x80\x02}q\x00.")
        file.writestr("archive/data/0", bytes(range(256)) * 40)
    return out.getvalue()


def arrays(method: int) -> bytes:
    header = b"\x93NUMPY\x01\x00\x46\x00{'descr': '<f4', 'fortran_order': False, 'shape': (64,), }"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as file:
        file.writestr("w.npy", header.ljust(79) + b"\n" + noise(256))
    return out.getvalue()


# what joblib.dump writes: a pickle that is interrupted by raw arrays, here a small one
PICKLE = b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00}\x94\x8c\x01w\x94C\x04abcd\x94s." + noise(
    500
)
COMPRESSED = {
    "joblib with zlib": zlib.compress(PICKLE),
    "joblib with gzip": gzip.compress(PICKLE, mtime=0),
    "joblib with bz2": bz2.compress(PICKLE),
    "joblib with xz": lzma.compress(PICKLE),
    "joblib with lzma": lzma.compress(PICKLE, format=lzma.FORMAT_ALONE),
    "joblib with lz4": b"\x04\x22\x4d\x18\x64\x40\xa7" + noise(300),
    "a model in zstandard": b"\x28\xb5\x2f\xfd\x24" + noise(300),
    "a torch zip in bzip2": zipped(zipfile.ZIP_BZIP2),
    "a torch zip in lzma": zipped(zipfile.ZIP_LZMA),
    "a file of 7z": b"7z\xbc\xaf\x27\x1c\x00\x04" + noise(300),
}


@pytest.mark.parametrize("label", COMPRESSED)
def test_what_is_compressed_as_a_whole_is_opaque_and_comes_back(label: str) -> None:
    assert round_trip(COMPRESSED[label], MemoryStore()) == "opaque"
    assert table.detect(BytesSource(COMPRESSED[label])).payloads == ()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_arrays_in_a_zip_of_another_compression_stay_literal_and_come_back(method: int) -> None:
    data = arrays(method)
    assert table.detect(BytesSource(data)).payloads == ()
    round_trip(data, MemoryStore())


def unknown() -> Iterator[bytes]:
    rng = random.Random(11)
    yield from (b"", b"\0", b"\n", b"{}", b"[]", b"PK", b"\x89HDF", b"GGUF", b"\x80\x04", b"TFL3")
    yield from (rng.randbytes(rng.randrange(1, 3000)) for _ in range(300))
    yield from (bytes([first]) + rng.randbytes(200) for first in range(256))


def test_files_of_no_format_come_back() -> None:
    for data in unknown():
        round_trip(data, MemoryStore())


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 200_000, 1_000_000])
def test_low_and_high_entropy_come_back_around_the_border_of_chunks(size: int) -> None:
    for data in (bytes(size), noise(size), b"weights " * (size // 8) + b"x" * (size % 8)):
        assert round_trip(data, MemoryStore()) == "opaque"
