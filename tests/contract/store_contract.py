"""What every store must do, whatever it is made of. Subclass it and give a ``store``.

BatchContract holds for HashOnly, too, which keeps nothing.
"""

from __future__ import annotations

import random

import pytest
from blake3 import blake3

from git_nn.errors import MissingObjectError
from git_nn.objects.oid import Oid
from git_nn.objects.tensor import DTYPE_BITS
from git_nn.store.base import SEGMENT, Store, read_bytes

LENGTHS = [0, 1, 2, 3, 1023, 1024, 1025, 65515, 65516, 65517]
LONG = [SEGMENT - 1, SEGMENT, SEGMENT + 1, 2 * SEGMENT, 2 * SEGMENT + 12345]


def noise(length: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(length)


def id_of(data: bytes) -> Oid:
    return Oid(blake3(data).digest())


class InterruptedBatchError(Exception):
    pass


class BatchContract:
    @pytest.fixture
    def store(self) -> Store:
        raise NotImplementedError

    @pytest.mark.parametrize("length", LENGTHS + LONG)
    def test_an_oid_is_the_blake3_of_the_raw_bytes(self, store: Store, length: int) -> None:
        data = noise(length)
        with store.batch() as batch:
            assert batch.put([data]) == (id_of(data), length)

    def test_how_an_object_is_cut_into_pieces_does_not_matter(self, store: Store) -> None:
        data = noise(SEGMENT + 5000)
        with store.batch() as batch:
            for step in (4093, 65536, SEGMENT - 1, SEGMENT, len(data)):
                pieces = [data[i : i + step] for i in range(0, len(data), step)]
                assert batch.put(pieces) == (id_of(data), len(data))

    def test_pieces_of_every_kind_and_empty_ones_are_taken(self, store: Store) -> None:
        data = noise(5000)
        pieces = [b"", data[:100], bytearray(data[100:200]), b"", memoryview(data)[200:], b""]
        with store.batch() as batch:
            assert batch.put(pieces) == (id_of(data), 5000)
            assert batch.put(iter([])) == (id_of(b""), 0)

    def test_a_piece_may_be_a_buffer_that_is_used_again(self, store: Store) -> None:
        data = noise(SEGMENT + 300_000)
        buffer = bytearray(100_000)

        def pieces() -> object:
            for start in range(0, len(data), len(buffer)):
                part = data[start : start + len(buffer)]
                buffer[: len(part)] = part
                yield memoryview(buffer)[: len(part)]

        with store.batch() as batch:
            assert batch.put(pieces()) == (id_of(data), len(data))  # type: ignore[arg-type]

    def test_a_dtype_never_changes_an_oid(self, store: Store) -> None:
        data = noise(80_000)
        with store.batch() as batch:
            for dtype in (*DTYPE_BITS, "f32be", "no such type"):
                assert batch.put([data], dtype=dtype)[0] == id_of(data)

    def test_an_object_that_was_never_added_is_missing(self, store: Store) -> None:
        assert store.size(id_of(b"never")) is None
        with pytest.raises(MissingObjectError):
            read_bytes(store, id_of(b"never"))


class StoreContract(BatchContract):
    @pytest.mark.parametrize("length", [0, 1, 5000, SEGMENT, 2 * SEGMENT + 12345])
    def test_a_range_is_that_of_the_object(self, store: Store, length: int) -> None:
        data = noise(length)
        with store.batch() as batch:
            oid, _ = batch.put([data])
        ends = {0, 1, length // 2, SEGMENT - 1, SEGMENT, SEGMENT + 1, length - 1, length}
        for start in ends:
            for stop in ends:
                if 0 <= start <= stop:
                    assert store.read_range(oid, start, stop) == data[start:stop]
        with pytest.raises(MissingObjectError):
            store.read_range(id_of(b"never"), 0, 1)

    @pytest.mark.parametrize("length", LENGTHS + LONG)
    def test_objects_of_every_length_come_back(self, store: Store, length: int) -> None:
        data = noise(length, seed=1)
        with store.batch() as batch:
            oid, _ = batch.put([data])
        assert store.size(oid) == length
        assert read_bytes(store, oid) == data

    def test_pieces_are_no_longer_than_a_segment(self, store: Store) -> None:
        with store.batch() as batch:
            oid, _ = batch.put([noise(2 * SEGMENT + 7)])
        assert all(len(piece) <= SEGMENT for piece in store.read(oid))

    def test_every_dtype_comes_back(self, store: Store) -> None:
        contents = {dtype: noise(40_008, seed=i) for i, dtype in enumerate(DTYPE_BITS)}
        with store.batch() as batch:
            oids = {dtype: batch.put([data], dtype=dtype)[0] for dtype, data in contents.items()}
        for dtype, data in contents.items():
            assert read_bytes(store, oids[dtype]) == data

    def test_many_objects_of_one_batch_come_back(self, store: Store) -> None:
        contents = [noise(i * 37, seed=i) for i in range(300)]
        with store.batch() as batch:
            oids = [batch.put([data])[0] for data in contents]
        assert [read_bytes(store, oid) for oid in oids] == contents

    def test_the_same_object_twice_is_no_error(self, store: Store) -> None:
        data = noise(SEGMENT + 1)
        for _ in range(2):
            with store.batch() as batch:
                first = batch.put([data])
                assert batch.put([data]) == first
        assert read_bytes(store, first[0]) == data

    def test_a_batch_that_fails_leaves_nothing(self, store: Store) -> None:
        kept = noise(1000, seed=2)
        with store.batch() as batch:
            oid, _ = batch.put([kept])
        with pytest.raises(InterruptedBatchError), store.batch() as batch:  # noqa: PT012
            batch.put([noise(1000, seed=3)])
            batch.put([noise(SEGMENT + 9, seed=4)])
            raise InterruptedBatchError
        assert store.size(id_of(noise(1000, seed=3))) is None
        assert store.size(id_of(noise(SEGMENT + 9, seed=4))) is None
        assert read_bytes(store, oid) == kept

    def test_an_object_whose_pieces_fail_does_not_spoil_the_next(self, store: Store) -> None:
        def broken() -> object:
            yield noise(SEGMENT + 5, seed=5)
            raise OSError("the source went away")

        with store.batch() as batch:
            with pytest.raises(OSError, match="went away"):
                batch.put(broken())  # type: ignore[arg-type]
            oid, _ = batch.put([noise(5000, seed=6)])
        assert read_bytes(store, oid) == noise(5000, seed=6)

    def test_reads_may_stop_in_the_middle_and_run_side_by_side(self, store: Store) -> None:
        data = noise(3 * SEGMENT)
        with store.batch() as batch:
            oid, _ = batch.put([data])
        half = store.read(oid)
        assert bytes(next(half)) == data[:SEGMENT]
        assert read_bytes(store, oid) == data
        half.close()  # type: ignore[attr-defined]
