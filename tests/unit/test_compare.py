"""compare: only tensors that differ are read, and nothing that is missing makes it fail."""

from __future__ import annotations

import numpy as np

from git_nn.compare import NOT_HERE, compare
from git_nn.diff.changes import Kind
from git_nn.diff.render import text
from tests.unit.diff.versions import Version, f32, version


def three_hundred(*changed: int) -> Version:
    return version({f"layer.{i}.w": f32(i, 1 + (i in changed)) for i in range(300)})


def test_two_versions_that_differ_in_3_of_300_tensors_read_3_tensors() -> None:
    old, new = three_hundred(), three_hundred(7, 80, 299)
    diff = compare(old, new)
    assert sorted(old.read) == sorted(new.read) == ["layer.299.w", "layer.7.w", "layer.80.w"]
    assert diff.same == 297


def test_without_numbers_nothing_is_read() -> None:
    old, new = three_hundred(), three_hundred(7)
    diff = compare(old, new, numbers=False)
    assert (old.read, new.read) == ([], [])
    assert [(d.name, d.kind, d.numbers) for d in diff.tensors] == [
        ("layer.7.w", Kind.CHANGED, None)
    ]


def test_renames_additions_and_removals_read_nothing() -> None:
    old = version({"a": f32(1, 2), "gone": f32(3), "r": ("f32", np.ones((2, 2), np.float32))})
    new = version({"b": f32(1, 2), "come": f32(4), "r": ("f32", np.ones(4, np.float32))})
    diff = compare(old, new)
    assert (old.read, new.read) == ([], [])
    assert {str(delta.kind) for delta in diff.tensors} == {
        "renamed", "added", "removed", "reshaped",
    }  # fmt: skip


def test_missing_values_leave_the_classification_and_say_so() -> None:
    old, new = three_hundred(), three_hundred(1, 2)
    new.missing.add("layer.1.w")
    diff = compare(old, new)
    unread = {delta.name: delta.unread for delta in diff.tensors}
    assert unread == {"layer.2.w": "", "layer.1.w": NOT_HERE}
    assert "git nn pull" in text(diff, "m")


def test_a_form_that_cannot_be_decoded_says_so() -> None:
    old = version({"a": f32(1)}, form="h5[1;lzf]")
    new = version({"a": f32(2)}, form="h5[1;lzf]")
    (delta,) = compare(old, new).tensors
    assert delta.numbers is None
    assert delta.unread == "stored as h5[1;lzf], which git-nn does not decode"


def test_equal_structures_are_not_compared() -> None:
    class Untouchable(Version):
        def structure(self) -> dict[str, object]:
            raise AssertionError

    old = version({"a": f32(1)})
    assert compare(Untouchable(old.pointer, old.payloads), old).structure == ()
