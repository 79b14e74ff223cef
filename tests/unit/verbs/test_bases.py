"""Which tensor of the earlier version a new one is coded against."""

from __future__ import annotations

from git_nn.bases import bases
from git_nn.objects.layout import Extent, Payload
from git_nn.objects.oid import Oid, oid_of
from git_nn.objects.pointer import Pointer, Stored, sorted_entries


def oid(name: str) -> Oid:
    return oid_of(name.encode())


def earlier(**shapes: tuple[int, ...]) -> Pointer:
    entries = [
        Stored(name.replace("__", "."), "f32", shape, oid(name), 4, "")
        for name, shape in shapes.items()
    ]
    return Pointer("safetensors", 1, oid("skeleton"), 9, sorted_entries(entries))


def payload(name: str, *shape: int, dtype: str = "f32") -> Payload:
    return Payload(name, dtype, shape, (Extent(0, 4),))


def test_the_same_name_dtype_and_shape_is_the_base() -> None:
    before = earlier(a=(2, 3), b=(2, 3))
    assert bases([payload("a", 2, 3), payload("b", 2, 3)], before) == {"a": oid("a"), "b": oid("b")}


def test_another_shape_or_dtype_under_the_same_name_is_none() -> None:
    before = earlier(a=(2, 3), b=(4,))
    assert bases([payload("a", 3, 2), payload("b", 4, dtype="f16")], before) == {}


def test_without_an_earlier_version_there_is_none() -> None:
    assert bases([payload("a", 2)], None) == {}


def test_a_tensor_with_a_new_prefix_is_found_by_the_end_of_its_name() -> None:
    before = earlier(l0__q__weight=(8, 8), l1__q__weight=(8, 8), l0__k__weight=(8, 8))
    new = [payload("model.l1.q.weight", 8, 8), payload("model.l0.k.weight", 8, 8)]
    assert bases(new, before) == {
        "model.l1.q.weight": oid("l1__q__weight"), "model.l0.k.weight": oid("l0__k__weight"),
    }  # fmt: skip


def test_the_only_one_of_its_kind_that_has_gone_is_the_base() -> None:
    before = earlier(embed=(100, 8), head=(8, 100))
    assert bases([payload("tokens", 100, 8)], before) == {"tokens": oid("embed")}


def test_nothing_is_guessed_among_equals() -> None:
    before = earlier(a=(8, 8), b=(8, 8))
    assert bases([payload("x", 8, 8)], before) == {}


def test_a_tensor_that_still_has_its_name_is_no_base_for_another() -> None:
    before = earlier(a=(8, 8))
    assert bases([payload("a", 8, 8), payload("x", 8, 8)], before) == {"a": oid("a")}
