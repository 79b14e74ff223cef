"""checks: what passes, what fails, and which tensor is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from git_nn.compare import compare
from git_nn.differences.check_language import parse
from git_nn.differences.checks import (
    Outcome,
    Verdict,
    change_points,
    evaluate,
    is_change_point,
    marked,
    verdict,
)
from git_nn.differences.distance import Span
from git_nn.differences.result import Word
from tests.unit.diff.versions import Version, expected, f32, version

A = np.arange(1, 13, dtype=np.float32).reshape(3, 4)
NAN = float("nan")


def plain(array: Any) -> tuple[str, np.ndarray]:
    return "f32", np.asarray(array, np.float32)


def judge(text: str, old: Version | None, new: Version | None, span: float = 0.5) -> Verdict:
    check = parse(text)
    outcome = evaluate(check, compare(old, new), new, lambda: Span(span, span))
    return verdict(check, [("m.h5", outcome)])


OLD = version(
    {"embed.w": plain(A), "layers.0.w": plain(A), "layers.1.w": plain(A), "head.w": f32(1, 2)}
)
NEW = version({
    "embed.w": plain(A), "layers.0.w": plain(A * 1.01), "layers.1.w": plain(A + 3),
    "head.w": f32(1, 4),
})  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "embed* unchanged", "layers.* head* changed", "only layers.* head* changed", "relL2 < 2",
        "layers.0.* relL2 < 1.1%", "embed* relL2 < 1e-9", "embed* cosine > 0.999", "cosine > 0.5",
        "max <= 3", "layers.1* mean >= 3", "head* changed < 51%", "no nan", "no inf", "no added",
        "no removed", "dtype unchanged", "shape unchanged", "distance < 51%", "[el]* max < 4",
        "layers.?.w changed",
    ],
)  # fmt: skip
def test_what_holds_passes(text: str) -> None:
    assert judge(text, OLD, NEW).passed


def test_a_failed_check_names_the_tensor_that_is_furthest_off() -> None:
    found = judge("relL2 < 0.001", OLD, NEW)
    worst = expected([1, 2], [1, 4]).relative
    assert (found.tensor, found.failing, found.about) == ("head.w", 3, 4)
    assert found.message == f"head.w: relL2 {worst:.3g} (and 2 more of 4)"
    moved = expected(A.ravel().tolist(), (A + 3).ravel().tolist())
    low = judge("layers* cosine > 0.9999", OLD, NEW)
    assert low.message == f"layers.1.w: cosine {moved.cosine:.3g}"
    assert judge("max < 3", OLD, NEW).message == "layers.1.w: max 3"
    assert judge("mean < 1", OLD, NEW).message == "layers.1.w: mean 3 (and 1 more of 4)"
    assert judge("head* changed < 50%", OLD, NEW).message == "head.w: changed 50 %"
    assert judge("distance < 0.4", OLD, NEW).message == "distance 0.5"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("layers* unchanged", "layers.1.w: changed, rel Δ 4.1e-01 (and 1 more of 2)"),
        ("embed* changed", "embed.w: did not change"),
        ("only head* changed", "layers.1.w: changed, rel Δ 4.1e-01 (and 1 more)"),
        ("embed* relL2 > 0.1", "embed.w: relL2 0"),
    ],
)
def test_words_that_fail(text: str, message: str) -> None:
    assert judge(text, OLD, NEW).message == message


def test_the_number_shown_is_seen_to_be_beyond_the_limit() -> None:
    old, new = version({"w": f32(1)}), version({"w": f32(1.0500001)})
    found = judge("relL2 < 0.05", old, new)
    assert not found.passed
    assert float(found.message.split()[-1]) >= 0.05
    assert judge("relL2 < 0.051", old, new).passed


def test_a_check_that_is_about_no_tensor_fails() -> None:
    found = judge("emmbed* unchanged", OLD, NEW)
    assert found.message == "no tensor of the model is called 'emmbed*'"
    assert not judge("emmbed* relL2 < 1", OLD, NEW).passed
    assert not judge("only emmbed* changed", OLD, NEW).passed
    check = parse("embed* heads* unchanged")
    assert verdict(check, [("a", Outcome(0)), ("b", Outcome(0))]).message == (
        "no tensor of the 2 models is called 'embed*' or 'heads*'"
    )
    assert verdict(check, []).message == "there is no model that could be checked"
    assert verdict(check, [("a", Outcome(0)), ("b", Outcome(2))]).passed
    assert (
        judge("relL2 < 1", None, NEW).message == "the model has no tensor that both versions have"
    )


def test_tensors_that_come_and_go() -> None:
    more = version({"a": f32(1), "lora.A": f32(2)})
    less = version({"a": f32(1)})
    assert judge("no added", less, more).message == "lora.A: added"
    assert judge("no removed", more, less).message == "lora.A: removed"
    assert judge("only lora* changed", less, more).passed
    assert judge("lora* unchanged", less, more).message == "lora.A: added"
    assert judge("relL2 < 1e-9", less, more).passed
    assert not judge("lora* relL2 < 1e-9", less, more).passed
    assert judge("no added", None, more).failing == 2


def test_a_renamed_tensor_has_the_same_values_but_is_not_unchanged() -> None:
    old, new = version({"old": f32(1, 2)}), version({"is": f32(1, 2)})
    assert judge("old unchanged", old, new).message == "is: was old"
    for text in ("is relL2 < 1e-9", "no added", "no removed", "dtype unchanged", "no nan"):
        assert judge(text, old, new).passed


def test_dtypes_and_shapes() -> None:
    old = version({"a": plain(A), "b": plain(A), "c": plain(A)})
    new = version({"a": ("f16", A.astype("f2")), "b": plain(A.reshape(4, 3)), "c": plain(A)})
    assert judge("dtype unchanged", old, new).message == "a: f32 → f16"
    assert judge("shape unchanged", old, new).message == "b: 3x4 → 4x3"
    assert judge("c dtype unchanged", old, new).passed
    assert judge("b relL2 < 1e-9", old, new).passed


def test_nan_that_comes_fails_every_limit() -> None:
    old, new = version({"w": f32(1, 2)}), version({"w": f32(1, NAN)})
    for text in ("relL2 < 1", "cosine > 0", "max < 9", "mean < 9", "changed < 99%", "relL2 > 0"):
        assert judge(text, old, new).message == "w: NaN 0 → 1"
    assert judge("relL2 < 1 abs 5", old, new).message == "w: NaN 0 → 1"
    assert judge("no nan", old, new).message == "w: 1 NaN"
    assert judge("no inf", old, new).passed
    assert judge("no nan", new, old).passed
    wide = version({"w": f32(float("inf"), float("-inf"))})
    assert judge("no inf", old, wide).message == "w: 2 Inf"


def test_nan_is_found_in_tensors_and_rows_that_are_new() -> None:
    old = version({"a": plain(A), "same": f32(NAN)})
    more = version({"a": plain(A), "new": f32(1, NAN), "same": f32(NAN)})
    assert judge("no nan", old, more).message == "new: 1 NaN"
    grown = version({"a": plain(np.vstack([A, np.full((1, 4), np.nan)])), "same": f32(NAN)})
    assert judge("no nan", old, grown).message == "a: 4 NaN"
    other = version({"a": ("f64", np.array([np.nan])), "same": f32(NAN)})
    assert judge("no nan", old, other).message == "a: 1 NaN"
    assert judge("no nan", None, more).failing == 2


def test_a_floor_lets_tiny_changes_pass_whatever_their_ratio() -> None:
    old, new = version({"bias": f32(0, 0)}), version({"bias": f32(1e-7, 0)})
    assert judge("relL2 < 5%", old, new).message == "bias: relL2 inf"
    assert judge("cosine > 0.9", old, new).message == (
        "bias: has no cosine: all is 0 in one version"
    )
    for text in ("relL2 < 5% abs 1e-6", "cosine > 0.9 abs 1e-6", "changed < 10% abs 1e-6"):
        assert judge(text, old, new).passed
    assert not judge("relL2 < 5% abs 1e-8", old, new).passed


def test_values_that_are_not_here_fail_with_the_command_to_run() -> None:
    old = version({"w": f32(1), "x": f32(1)})
    new = version({"w": f32(2), "x": f32(1)})
    new.missing.add("w")
    reason = "w: values are not here; to get them: git nn fetch REV"
    assert judge("relL2 < 9", old, new).message == reason
    assert judge("no nan", old, new).message == reason
    assert judge("x relL2 < 9", old, new).passed
    assert judge("w unchanged", old, new).message == "w: changed"
    assert judge("w changed", old, new).passed
    packed = version({"w": f32(2)}, form="deflate")
    stored = version({"w": f32(1)}, form="deflate")
    assert "does not decode" in judge("w unchanged", stored, packed).message
    assert "does not decode" in judge("w changed", stored, packed).message


def test_a_tensor_without_a_number_fails() -> None:
    old = version({"w": f32(1, 2)})
    new = version({"w": ("f64", np.ones((3, 3)))})
    assert judge("relL2 < 9", old, new).message == "w: replaced, so there is no number"
    both = version({"w": f32(NAN, NAN)}), version({"w": f32(-NAN, NAN)})
    other = version({"w": ("f32", np.array([0x7FC00001, 0x7FC00000], "u4").view("f4"))})
    assert judge("relL2 < 9", both[0], other).message == "w: has no finite value"


def test_names_are_as_they_are_shown() -> None:
    old, new = version({"a\nb": f32(1), "c d": f32(1)}), version({"a\nb": f32(2), "c d": f32(1)})
    assert judge("a%0Ab unchanged", old, new).message == "a%0Ab: changed, rel Δ 1.0e+00"
    assert judge("'c d' unchanged", old, new).passed


def test_a_distance_that_is_not_known_passes_only_where_all_of_it_would() -> None:
    check = parse("distance < 0.5")
    diff = compare(OLD, NEW)

    def said(low: float, high: float) -> str:
        return verdict(check, [("m", evaluate(check, diff, NEW, lambda: Span(low, high)))]).message

    assert said(0.1, 0.4) == ""
    assert said(0.1, 0.6).endswith("some values are not here; to get them: git nn fetch REV")
    assert said(0.6, 0.9) == "distance 0.6 or more"


def test_change_points_are_the_tensors_whose_mean_difference_exceeds_the_threshold() -> None:
    diff = compare(OLD, NEW)
    # means: layers.0 moved by 1 % of the mean of 1..12, layers.1 by 3, head by 2 in one of two
    assert [delta.name for delta in change_points(diff, 1.0)] == ["layers.1.w"]
    assert [delta.name for delta in change_points(diff, 0.99)] == ["head.w", "layers.1.w"]
    assert len(change_points(diff, 0.06)) == 3
    assert len(change_points(diff, 3.0)) == 0
    shown = marked(diff, 1.0)
    assert [
        d.name for d in shown.tensors if any(r.word is Word.CHANGE_POINT for r in d.relations)
    ] == ["layers.1.w"]
    assert shown.headlines[-1] == "change points (mean absolute difference above 1): 1 of 4"


def test_what_is_not_known_is_neither_a_change_point_nor_none() -> None:
    old = version({"w": f32(1), "n": f32(1, 2), "r": f32(5, 6), "gone": f32(3)})
    new = version({"w": f32(9), "n": f32(1, NAN), "s": f32(5, 6), "come": f32(4)})
    new.missing.add("w")
    states = {d.name: is_change_point(d, 0.1) for d in compare(old, new).tensors}
    assert states == {"w": None, "n": True, "s": False, "gone": None, "come": None}
