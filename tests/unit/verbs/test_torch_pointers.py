"""Pointers of torch files: other weights of one model have one skeleton, so lines merge."""

from __future__ import annotations

import zlib
from dataclasses import replace

import pytest

from git_nn import smudge
from git_nn.clean import clean
from git_nn.formats import table
from git_nn.formats.base import BytesSource
from git_nn.objects import skeleton as skeletons
from git_nn.objects.layout import Chain, Checksum, Layout
from git_nn.objects.pointer import Pointer, parse, render
from git_nn.objects.skeleton import Crc32, Crc32Chain, chain_digits
from git_nn.smudge import MemorySink
from git_nn.store.base import read_bytes
from git_nn.store.memory import MemoryStore
from tests.support.torch_file import S, ordered, save, tensor


def model(first: int, second: int) -> bytes:
    """A torch file whose two tensors are filled with these bytes."""
    storages = (S(str(i), "u8", bytes([fill]) * 24) for i, fill in enumerate((first, second)))
    return save(ordered({f"layer.{i}": tensor(s, (4, 6)) for i, s in enumerate(storages)}))


def written(pointer: Pointer, store: MemoryStore) -> bytes:
    skeleton = smudge.load_skeleton(pointer, store)
    sink = MemorySink(bytearray(skeleton.size))
    smudge.write_file(pointer, skeleton, store, sink)
    return bytes(sink.data)


def test_other_weights_have_the_same_skeleton() -> None:
    store = MemoryStore()
    assert clean(BytesSource(model(1, 2)), store).pointer.skeleton == (
        clean(BytesSource(model(3, 4)), store).pointer.skeleton
    )


def test_a_merged_pointer_gives_the_file_that_torch_would_have_saved() -> None:
    store = MemoryStore()
    ours = clean(BytesSource(model(9, 2)), store).pointer
    theirs = clean(BytesSource(model(1, 8)), store).pointer
    merged = replace(ours, entries=(ours.entries[0], theirs.entries[1]))
    assert written(parse(render(merged)), store) == model(9, 8)


@pytest.mark.parametrize("kind", [Crc32, Crc32Chain])
def test_checksums_and_the_chain_are_computed_when_they_hold(kind: type) -> None:
    store = MemoryStore()
    pointer = clean(BytesSource(model(1, 2)), store).pointer
    runs = skeletons.decode(read_bytes(store, pointer.skeleton)).runs
    assert sum(isinstance(run, kind) for run in runs) == {Crc32: 6, Crc32Chain: 1}[kind]


def test_a_serialization_id_that_does_not_hold_stays_as_it_is() -> None:
    data = bytearray(model(1, 2))
    at = data.find(b"12345678901234567890") + 39
    data[at] ^= 1
    store = MemoryStore()
    pointer = clean(BytesSource(data), store).pointer
    runs = skeletons.decode(read_bytes(store, pointer.skeleton)).runs
    assert not any(isinstance(run, Crc32Chain) for run in runs)
    assert written(pointer, store) == data


def test_a_chain_may_be_covered_by_a_checksum_and_cover_ranges_of_any_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    digits = chain_digits([zlib.crc32(b"cd"), zlib.crc32(b"abcd")])
    data = b"abcd" + digits + zlib.crc32(digits).to_bytes(4, "little")
    layout = Layout(
        "opaque", 1, 28, checksums=(Checksum(24, 4, 24),), chains=(Chain(4, ((2, 4), (0, 4))),)
    )
    monkeypatch.setattr(table, "detect", lambda source, beside: layout)
    store = MemoryStore()
    pointer = clean(BytesSource(data), store).pointer
    kinds = [type(run) for run in skeletons.decode(read_bytes(store, pointer.skeleton)).runs]
    assert kinds == [skeletons.Literal, Crc32Chain, Crc32]
    assert written(pointer, store) == data
