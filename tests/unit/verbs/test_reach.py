"""Reading pointers out of Git needs git (tests/functional); what they mention does not."""

from __future__ import annotations

from git_nn.objects import pointer as pointers
from git_nn.objects import skeleton as skeletons
from git_nn.objects.oid import oid_of
from git_nn.objects.pointer import Pointer, Stored
from git_nn.objects.skeleton import Blob, Literal, Part, Skeleton
from git_nn.reach import MIN_SIZE, Needs, Pointed, _add_text, _again
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


def needs_of(text: bytes, store: MemoryStore) -> Needs:
    needs = Needs()
    _add_text(AT, text, store, needs)
    return needs


def test_a_pointer_needs_tensors_skeleton_and_the_blobs_in_it() -> None:
    store = MemoryStore()
    pointer = made(store)
    needs = needs_of(pointers.render(pointer), store)
    assert needs.objects == {TENSOR: 0, pointer.skeleton: 0, BLOB: 0}
    assert needs.complete
    assert needs.pointer_count == 1


def test_without_its_skeleton_what_a_pointer_needs_is_not_known() -> None:
    pointer = made()
    needs = needs_of(pointers.render(pointer), MemoryStore())
    assert needs.objects.keys() == {TENSOR, pointer.skeleton}
    assert not needs.complete


def test_an_object_that_is_no_skeleton_hides_nothing() -> None:
    store = MemoryStore()
    with store.batch() as batch:
        oid, size = batch.put([b"no skeleton"])
    needs = needs_of(pointers.render(Pointer("opaque", 1, oid, size)), store)
    assert needs.complete
    assert [item.kind for item in needs.unreadable] == ["text"]


def test_a_broken_pointer_protects_what_it_mentions_and_blocks_nothing() -> None:
    store = MemoryStore()
    pointer = made(store)
    text = pointers.render(pointer)
    broken = text.replace(b"tensor w\n", b"<<<<<<< ours\ntensor w\n=======\n>>>>>>> theirs\n")
    needs = needs_of(broken, store)
    assert needs.objects == {}
    assert needs.mentioned == {TENSOR, pointer.skeleton, BLOB}
    assert needs.complete
    assert needs_of(text[:-1], store).mentioned == {TENSOR, pointer.skeleton, BLOB}


def test_a_pointer_of_a_newer_version_blocks() -> None:
    store = MemoryStore()
    text = pointers.render(made(store)).replace(b"pointer 1\n", b"pointer 2\n")
    needs = needs_of(text, store)
    assert not needs.complete
    assert TENSOR in needs.mentioned


def test_what_could_not_be_read_is_tried_again_and_counted_once() -> None:
    store = MemoryStore()
    text = pointers.render(made())
    first = needs_of(text, store)
    made(store)
    again = _again(first)
    _add_text(AT, text, store, again)
    assert again.complete
    assert again.pointers == [AT]
    assert BLOB in again.objects


def test_no_pointer_is_shorter_than_what_is_looked_at() -> None:
    shortest = Pointer("x", 1, BLOB, 0)
    assert len(pointers.render(shortest)) >= MIN_SIZE
