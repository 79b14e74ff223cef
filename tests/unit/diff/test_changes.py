"""changes: what happened to each tensor, from the pointers alone."""

from __future__ import annotations

import numpy as np

from git_nn.differences.changes import Change, Kind, classify
from git_nn.objects.pointer import Window
from tests.unit.diff.versions import Version, f32, version


def kinds(old: Version | None, new: Version | None) -> list[tuple[str, str]]:
    found = classify(old and old.pointer, new and new.pointer)
    return [(change.name, str(change.kind)) for change in found.changes]


def only(old: Version, new: Version) -> Change:
    (change,) = classify(old.pointer, new.pointer).changes
    return change


A, B, C = f32(1, 2, 3, 4, 5, 6), f32(1, 2, 3, 4, 5, 7), f32(9, 9)


def test_equal_pointers_have_no_changes() -> None:
    found = classify(version({"a": A, "b": B}).pointer, version({"a": A, "b": B}).pointer)
    assert (found.changes, found.same) == ((), 2)


def test_changed_added_removed_in_natural_order() -> None:
    old = version({"l.2": A, "l.10": A, "gone": C})
    new = version({"l.2": B, "l.10": B, "come": f32(7)})
    assert kinds(old, new) == [
        ("come", "added"),
        ("gone", "removed"),
        ("l.2", "changed"),
        ("l.10", "changed"),
    ]


def test_a_new_and_a_deleted_file() -> None:
    assert kinds(None, version({"a": A})) == [("a", "added")]
    assert kinds(version({"a": A}), None) == [("a", "removed")]


def test_equal_content_under_another_name_is_renamed() -> None:
    change = only(version({"old.w": A}), version({"new.w": A}))
    assert change.kind is Kind.RENAMED
    assert change.old is not None
    assert change.new is not None
    assert (change.old.name, change.new.name) == ("old.w", "new.w")
    assert not change.measurable


def test_several_of_one_content_are_paired_in_natural_order() -> None:
    zeros = f32(0, 0)
    old = version({f"layer.{i}.bias": zeros for i in (2, 10, 9)})
    new = version({f"block.{i}.bias": zeros for i in (9, 2, 10, 11)})
    found = classify(old.pointer, new.pointer).changes
    pairs = [(c.old.name if c.old else None, c.name, str(c.kind)) for c in found]
    assert pairs == [
        ("layer.2.bias", "block.2.bias", "renamed"),
        ("layer.9.bias", "block.9.bias", "renamed"),
        ("layer.10.bias", "block.10.bias", "renamed"),
        (None, "block.11.bias", "added"),
    ]


def test_empty_tensors_are_not_renamed() -> None:
    empty = ("f32", np.empty((0, 4), dtype=np.float32))
    assert kinds(version({"a": empty}), version({"b": empty})) == [("a", "removed"), ("b", "added")]


def test_equal_bytes_in_another_shape_are_reshaped_without_reading() -> None:
    change = only(version({"w": A}), version({"w": ("f32", A[1].reshape(2, 3))}))
    assert change.kind is Kind.RESHAPED
    assert not change.measurable


def test_other_bytes_in_another_shape_of_the_same_count_are_measured() -> None:
    change = only(version({"w": A}), version({"w": ("f32", B[1].reshape(2, 3))}))
    assert change.kind is Kind.RESHAPED
    assert change.measurable


def test_another_dtype_is_a_cast() -> None:
    change = only(version({"w": A}), version({"w": ("bf16", A[1])}))
    assert change.kind is Kind.CAST
    assert change.measurable


def test_more_rows_are_resized() -> None:
    old, new = np.zeros((2, 3), np.float32), np.zeros((4, 3), np.float32)
    change = only(version({"w": ("f32", old)}), version({"w": ("f32", new)}))
    assert change.kind is Kind.RESIZED
    assert change.measurable
    flat = only(version({"w": ("f32", old)}), version({"w": ("f32", new.reshape(-1))}))
    assert flat.kind is Kind.RESIZED
    assert not flat.measurable


def test_another_dtype_and_shape_is_replaced() -> None:
    change = only(version({"w": A}), version({"w": ("f16", C[1])}))
    assert change.kind is Kind.REPLACED
    assert not change.measurable


def test_a_tensor_that_was_untied_is_the_same() -> None:
    tied = version({"w": A}, views=(Window("head", "f32", (6,), "w", 0, (1,)),))
    untied = version({"w": A, "head": A})
    assert kinds(tied, untied) == []
    assert classify(tied.pointer, untied.pointer).same == 2


def test_a_view_changes_with_what_it_views() -> None:
    window = (Window("head", "f32", (3, 2), "w", 0, (1, 3)),)
    old = version({"w": ("f32", A[1].reshape(2, 3))}, views=window)
    new = version({"w": ("f32", B[1].reshape(2, 3))}, views=window)
    assert kinds(old, new) == [("head", "changed"), ("w", "changed")]


def test_another_window_on_the_same_payload_is_a_change() -> None:
    old = version({"w": A}, views=(Window("head", "f32", (2,), "w", 0, (1,)),))
    new = version({"w": A}, views=(Window("head", "f32", (2,), "w", 2, (1,)),))
    assert kinds(old, new) == [("head", "changed")]


def test_a_view_that_cannot_be_is_compared_like_any_other() -> None:
    """Pointers may be written by hand; a diff of one must not fail."""
    half = Window("v", "u4", (3,), "a", 0, (1,))
    old, new = version({"a": A}, views=(half,)), version({"a": B}, views=(half,))
    assert kinds(old, new) == [("a", "changed"), ("v", "changed")]
