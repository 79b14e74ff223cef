"""clean and smudge are inverse, whatever a format claims about the file."""

from __future__ import annotations

import zlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from git_nn import clean as cleaning
from git_nn import smudge
from git_nn.clean import clean
from git_nn.errors import GitNNError, MissingObjectError, PointerError
from git_nn.formats import table
from git_nn.formats.base import BytesSource
from git_nn.objects import pointer as pointers
from git_nn.objects import skeleton as skeletons
from git_nn.objects.layout import Checksum, Extent, Layout, Payload
from git_nn.objects.oid import oid_of
from git_nn.objects.pointer import Pointer
from git_nn.objects.skeleton import Blob, Crc32, Literal
from git_nn.store.base import Store, read_bytes
from git_nn.store.memory import MemoryStore
from tests.support.models import normal, safetensors_file


def restored(pointer: Pointer, store: Store) -> bytes:
    skeleton = smudge.load_skeleton(pointer, store)
    sink = smudge.MemorySink(bytearray(skeleton.size))
    smudge.write_file(pointer, skeleton, store, sink)
    return bytes(sink.data)


def put(layout: Layout, data: bytes, store: Store) -> Pointer:
    with store.batch() as batch:
        return cleaning._put(layout, BytesSource(data), batch, {})


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_come_back(data: bytes) -> None:
    store = MemoryStore()
    assert restored(clean(BytesSource(data), store).pointer, store) == data


@pytest.mark.parametrize("size", [65_535, 65_536, 1_000_000, 9_000_000])
def test_long_literals_come_back(size: int) -> None:
    data = normal(1, size // 4 + 1).tobytes()[:size]
    store = MemoryStore()
    pointer = clean(BytesSource(data), store).pointer
    assert restored(pointer, store) == data
    runs = skeletons.decode(read_bytes(store, pointer.skeleton)).runs
    assert all(isinstance(run, Blob if size >= 65_536 else Literal) for run in runs)


def test_the_pointer_names_each_tensor_by_the_hash_of_its_bytes() -> None:
    arrays = {"b": normal(1, 3, 4), "a": normal(2, 5)}
    store = MemoryStore()
    pointer = clean(BytesSource(safetensors_file(arrays)), store).pointer
    assert pointer.layout == ("safetensors", 1)
    assert {name: entry.oid for name, entry in pointer.stored.items()} == {
        name: oid_of(array.tobytes()) for name, array in arrays.items()
    }
    assert [entry.name for entry in pointer.entries] == ["a", "b"]


spans = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=6)


@settings(deadline=None)
@given(st.binary(min_size=200, max_size=200), spans, st.randoms(use_true_random=False))
def test_every_layout_that_passes_the_gate_gives_the_file_back(
    data: bytes, gaps: list[tuple[int, int]], random: object
) -> None:
    """Payloads in any order, of several extents, with literals between them."""
    extents, at = [], 0
    for gap, length in gaps:
        if at + gap + length > len(data):
            break
        extents.append(Extent(at + gap, length))
        at += gap + length
    random.shuffle(extents)  # type: ignore[attr-defined]
    payloads = [
        Payload(f"p{i}", "u8", (sum(e.length for e in group),), tuple(group))
        for i in range(0, len(extents), 2)
        if (group := extents[i : i + 2])
    ]
    layout = Layout("opaque", 1, len(data), tuple(payloads))
    table.check(layout)
    store = MemoryStore()
    assert restored(put(layout, data, store), store) == data


@settings(max_examples=30, deadline=None)
@given(st.booleans(), st.booleans())
def test_checksums_are_computed_only_where_they_hold(true_before: bool, true_after: bool) -> None:
    body = b"payload of sixteen bytes"[:16]
    crc, wrong = zlib.crc32(body).to_bytes(4, "little"), b"nope"
    data = (crc if true_before else wrong) + body + (crc if true_after else wrong)
    layout = Layout(
        "opaque", 1, 24, (Payload("p", "u8", (16,), (Extent(4, 16),)),), (),
        (Checksum(0, 4, 20), Checksum(20, 4, 20)),
    )  # fmt: skip
    store = MemoryStore()
    pointer = put(layout, data, store)
    assert restored(pointer, store) == data
    runs = skeletons.decode(read_bytes(store, pointer.skeleton)).runs
    assert sum(isinstance(run, Crc32) for run in runs) == true_before + true_after


def test_a_new_payload_in_an_old_skeleton_gets_its_own_checksum() -> None:
    """What a text merge of two pointers does with a zip container."""
    old, new = b"a" * 16, b"b" * 16
    layout = Layout(
        "opaque", 1, 20, (Payload("p", "u8", (16,), (Extent(0, 16),)),), (), (Checksum(16, 0, 16),)
    )
    store = MemoryStore()
    first, second = (
        put(layout, p + zlib.crc32(p).to_bytes(4, "little"), store) for p in (old, new)
    )
    assert first.skeleton == second.skeleton
    mixed = replace(first, entries=second.entries)
    assert restored(mixed, store) == new + zlib.crc32(new).to_bytes(4, "little")


def _two() -> tuple[MemoryStore, Pointer]:
    store = MemoryStore()
    data = safetensors_file({"a": normal(1, 30), "b": normal(2, 7)})
    return store, clean(BytesSource(data), store).pointer


@pytest.mark.parametrize("change", ["length", "dtype", "missing", "extra", "swapped"])
def test_a_pointer_that_does_not_fit_its_skeleton_names_the_tensor(change: str) -> None:
    store, pointer = _two()
    text = pointers.render(pointer)
    stanza = text[text.index(b"\ntensor b") :]
    wrong = {
        "length": text.replace(b"f32 7 ", b"f32 8 "),
        "dtype": text.replace(b"f32 7 ", b"f64 7 "),
        "missing": text.replace(stanza, b""),
        "extra": text + stanza.replace(b"tensor b", b"tensor c"),
        "swapped": text.replace(b"f32 7 ", b"f32 30 ").replace(b"f32 30 ", b"f32 7 ", 1),
    }[change]
    with pytest.raises(PointerError, match=r"tensor [abc] "):
        smudge.load_skeleton(pointers.parse(wrong), store)


def test_content_of_another_length_than_its_pointer_says_is_never_written() -> None:
    store, pointer = _two()
    a, b = pointer.entries
    mixed = replace(pointer, entries=(replace(a, oid=b.oid), b))  # type: ignore[type-var, union-attr]
    skeleton = smudge.load_skeleton(mixed, store)
    with pytest.raises(GitNNError, match="tensor a"):
        smudge.write_file(mixed, skeleton, store, smudge.MemorySink(bytearray(skeleton.size)))


def test_a_missing_tensor_is_named() -> None:
    _, pointer = _two()
    other = MemoryStore()
    with pytest.raises(MissingObjectError, match="skeleton"):
        smudge.load_skeleton(pointer, other)
    full, _ = _two()
    with other.batch() as batch:
        batch.put([read_bytes(full, pointer.skeleton)])
    skeleton = smudge.load_skeleton(pointer, other)
    with pytest.raises(MissingObjectError, match="tensor a"):
        smudge.write_file(pointer, skeleton, other, smudge.MemorySink(bytearray(skeleton.size)))


def test_a_text_merged_pointer_is_its_own_clean() -> None:
    """clean(smudge(p)) == p, for pointers that no clean ever wrote."""
    store = MemoryStore()
    ours, theirs = (
        clean(BytesSource(safetensors_file(arrays, {"format": "pt"})), store).pointer
        for arrays in (
            {"a": normal(1, 30), "b": normal(2, 7)},
            {"a": normal(3, 30), "b": normal(4, 7)},
        )
    )
    mixed = replace(ours, entries=(ours.entries[0], theirs.entries[1]))
    assert mixed not in (ours, theirs)
    assert clean(BytesSource(restored(mixed, store)), store).pointer == mixed


def test_content_that_an_older_layout_describes_stays_under_it() -> None:
    """A file that was opaque before its format was known is not shown as modified."""
    store = MemoryStore()
    data = safetensors_file({"a": normal(1, 30)})
    opaque = cleaning.point(table.opaque(BytesSource(data)), BytesSource(data))
    assert opaque.format == "opaque"
    assert clean(BytesSource(data), store, previous=opaque).pointer == opaque
    assert restored(opaque, store) == data
    changed = safetensors_file({"a": normal(2, 30)})
    assert clean(BytesSource(changed), store, previous=opaque).pointer.format == "safetensors"
