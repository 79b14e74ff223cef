"""Reading pointers out of Git needs git (tests/functional); what they mention does not."""

from __future__ import annotations

import pytest

from git_nn.objects import pointer as pointers
from git_nn.objects import skeleton as skeletons
from git_nn.objects.oid import oid_of
from git_nn.objects.pointer import Entry, Pointer, Stored, Window, sorted_entries
from git_nn.objects.skeleton import Blob, Literal, Part, Skeleton
from git_nn.reach import MIN_SIZE, Needs, Pointed, _add_text, _again, _oids_in, _parsed
from git_nn.store.memory import MemoryStore

AT = Pointed("0" * 40, b"model.h5")
BLOB = oid_of(b"long literal")
TENSOR = oid_of(b"abcd")
SKELETON = Skeleton((Literal(b"head"), Blob(BLOB, 12), Part("w", 0, 4)))


def made(store: MemoryStore | None = None) -> Pointer:
    data = skeletons.encode(SKELETON)
    if store is not None:
        with store.batch() as batch:
            batch.put([data])
    return Pointer("safetensors", 1, oid_of(data), len(data), (Stored("w", "u8", (4,), TENSOR, 4),))


both = pytest.mark.parametrize("strict", [False, True], ids=["quick", "strict"])


def needs_of(text: bytes, store: MemoryStore, strict: bool) -> Needs:
    needs = Needs()
    _add_text(AT, text, store, needs, strict=strict)
    return needs


@both
def test_a_pointer_needs_tensors_skeleton_and_the_blobs_in_it(strict: bool) -> None:
    store = MemoryStore()
    pointer = made(store)
    needs = needs_of(pointers.render(pointer), store, strict)
    assert needs.objects == {TENSOR: 0, pointer.skeleton: 0, BLOB: 0}
    assert needs.complete
    assert needs.pointer_count == 1


@both
def test_without_its_skeleton_what_a_pointer_needs_is_not_known(strict: bool) -> None:
    pointer = made()
    needs = needs_of(pointers.render(pointer), MemoryStore(), strict)
    assert needs.objects.keys() == {TENSOR, pointer.skeleton}
    assert not needs.complete


@both
def test_an_object_that_is_no_skeleton_hides_nothing(strict: bool) -> None:
    store = MemoryStore()
    with store.batch() as batch:
        oid, size = batch.put([b"no skeleton"])
    needs = needs_of(pointers.render(Pointer("opaque", 1, oid, size)), store, strict)
    assert needs.complete
    assert [item.kind for item in needs.unreadable] == ["text"]


@both
def test_a_broken_pointer_protects_what_it_mentions_and_blocks_nothing(strict: bool) -> None:
    store = MemoryStore()
    pointer = made(store)
    text = pointers.render(pointer)
    broken = text.replace(b"tensor w\n", b"<<<<<<< ours\ntensor w\n=======\n>>>>>>> theirs\n")
    needs = needs_of(broken, store, strict)
    assert needs.objects == {}
    assert needs.mentioned == {TENSOR, pointer.skeleton, BLOB}
    assert needs.complete
    assert needs_of(text[:-1], store, strict).mentioned == {TENSOR, pointer.skeleton, BLOB}


@both
def test_a_pointer_of_a_newer_version_blocks(strict: bool) -> None:
    store = MemoryStore()
    text = pointers.render(made(store)).replace(b"pointer 1\n", b"pointer 2\n")
    needs = needs_of(text, store, strict)
    assert not needs.complete
    assert TENSOR in needs.mentioned


@both
def test_what_could_not_be_read_is_tried_again_and_counted_once(strict: bool) -> None:
    store = MemoryStore()
    text = pointers.render(made())
    first = needs_of(text, store, strict)
    made(store)
    again = _again(first)
    _add_text(AT, text, store, again, strict=strict)
    assert again.complete
    assert again.pointers == [AT]
    assert BLOB in again.objects


def test_no_pointer_is_shorter_than_what_is_looked_at() -> None:
    shortest = Pointer("x", 1, BLOB, 0)
    assert len(pointers.render(shortest)) >= MIN_SIZE


def test_the_quick_look_finds_what_a_parse_finds() -> None:
    entries: list[Entry] = [
        Stored("a b%", "bf16", (3, 4), oid_of(b"1"), 24),
        Stored("h5", "f32", (10,), oid_of(b"2"), 17, "h5[10;deflate]"),
        Stored(f"tensor {oid_of(b'no')}", "f32", (), oid_of(b"3"), 4),
        Window("tied", "f32", (2,), "h5", 0, (1,)),
    ]
    pointer = Pointer("hdf5", 1, oid_of(b"s"), 9, sorted_entries(entries))
    text = pointers.render(pointer)
    found = _oids_in(text)
    assert found == (pointer.skeleton, [entry.oid for entry in pointer.stored.values()])
    assert found == _parsed(text)
    assert _oids_in(pointers.render(Pointer("opaque", 1, BLOB, 0))) == (BLOB, [])


@pytest.mark.parametrize("change", [(b"pointer 1", b"pointer 2"), (b"\ntensor", b"\n\ntensor"),
                                    (b"  u8", b" u8"), (b"skeleton ", b"skeleton  "),
                                    (b"\ntensor w", b"\n=======\ntensor w")])  # fmt: skip
def test_the_quick_look_leaves_odd_texts_to_the_parser(change: tuple[bytes, bytes]) -> None:
    text = pointers.render(made())
    assert text.replace(*change) != text
    assert _oids_in(text.replace(*change)) is None
