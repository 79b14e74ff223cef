"""Which side each tensor comes from, from three pointers alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from git_nn.merge.decide import Combine, Conflict, Decision, Take, covers, decide, outcome
from git_nn.merge.rules import Choice
from git_nn.objects.oid import oid_of
from git_nn.objects.pointer import Entry, Pointer, Stored, Window, parse, render, sorted_entries
from git_nn.objects.tensor import Shape, contiguous_strides, nbytes

MEAN = Choice("mean", (("weight", 0.5),))
TASK = Choice("task-arithmetic", (("lambda", 1.0),))


def tensor(name: str, value: str, dtype: str = "f32", shape: Shape = (2, 3)) -> Stored:
    return Stored(name, dtype, shape, oid_of(value.encode()), nbytes(dtype, shape))


def view(name: str, of: str, shape: Shape = (2, 3), offset: int = 0) -> Window:
    return Window(name, "f32", shape, of, offset, contiguous_strides(shape))


def pointer(*entries: Entry) -> Pointer:
    made = Pointer("safetensors", 1, oid_of(b"skeleton"), 8, sorted_entries(list(entries)))
    return parse(render(made))


def merge(
    base: Pointer | None, ours: Pointer, theirs: Pointer, choice: Choice | None = None
) -> dict[str, Decision]:
    return {d.name: d for d in decide(base, ours, theirs, lambda _: choice)}


BASE, OURS, THEIRS = (tensor("w", value) for value in "oab")


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "source", "entry"),
    [
        (BASE, BASE, BASE, "unchanged", BASE),
        (BASE, OURS, OURS, "both", OURS),
        (BASE, OURS, BASE, "ours", OURS),
        (BASE, BASE, THEIRS, "theirs", THEIRS),
        (None, OURS, None, "ours", OURS),
        (None, None, THEIRS, "theirs", THEIRS),
        (None, OURS, OURS, "both", OURS),
        (BASE, None, BASE, "ours", None),
        (BASE, BASE, None, "theirs", None),
        (BASE, None, None, "both", None),
    ],
)
def test_a_tensor_that_one_side_changed_is_taken_from_it(
    base: Stored | None, ours: Stored | None, theirs: Stored | None, source: str, entry: object
) -> None:
    sides = [pointer(*([e] if e else [])) for e in (base, ours, theirs)]
    for choice in (None, MEAN, TASK, Choice("theirs")):
        assert merge(*sides, choice) == {"w": Take("w", source, entry)}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "why"),
    [
        (BASE, OURS, THEIRS, "changed on both sides"),
        (None, OURS, THEIRS, "added on both sides"),
        (BASE, None, THEIRS, "removed by ours, changed by theirs"),
        (BASE, OURS, None, "changed by ours, removed by theirs"),
        (BASE, tensor("w", "o", "bf16"), THEIRS, "another dtype or shape on each side"),
        (BASE, tensor("w", "o", shape=(3, 2)), THEIRS, "another dtype or shape on each side"),
        (BASE, OURS, tensor("w", "b", shape=(4, 3)), "another dtype or shape on each side"),
    ],
)
def test_a_tensor_that_both_sides_changed_is_a_conflict(
    base: Stored | None, ours: Stored | None, theirs: Stored | None, why: str
) -> None:
    sides = [pointer(*([e] if e else [])) for e in (base, ours, theirs)]
    assert merge(*sides) == {"w": Conflict("w", base, ours, theirs, why)}


def test_without_a_base_equal_tensors_are_taken_and_others_conflict() -> None:
    found = merge(None, pointer(tensor("a", "1"), OURS), pointer(tensor("a", "1"), THEIRS))
    assert found["a"] == Take("a", "both", tensor("a", "1"))
    assert isinstance(found["w"], Conflict)


def test_a_chosen_side_settles_every_kind_of_conflict() -> None:
    cases = [
        (BASE, OURS, THEIRS),
        (BASE, None, THEIRS),
        (BASE, OURS, None),
        (BASE, tensor("w", "x", "bf16"), THEIRS),
        (None, OURS, THEIRS),
    ]
    for base, ours, theirs in cases:
        sides = [pointer(*([e] if e else [])) for e in (base, ours, theirs)]
        for name, entry in (("ours", ours), ("theirs", theirs)):
            choice = Choice(name)
            assert merge(*sides, choice) == {"w": Take("w", name, entry, by=choice)}  # type: ignore[arg-type]


def test_a_computing_strategy_gets_the_base_only_where_it_uses_it() -> None:
    sides = [pointer(e) for e in (BASE, OURS, THEIRS)]
    assert merge(*sides, MEAN) == {"w": Combine("w", None, OURS, THEIRS, MEAN)}
    assert merge(*sides, TASK) == {"w": Combine("w", BASE, OURS, THEIRS, TASK)}


@pytest.mark.parametrize(
    "dtype", ["i64", "i8", "u8", "bool", "i4", "f8_e4m3fn", "f8_e8m0", "f4_e2m1"]
)
def test_codes_are_never_computed_with(dtype: str) -> None:
    sides = [pointer(tensor("w", value, dtype, (2, 4))) for value in "oab"]
    for choice in (MEAN, TASK):
        found = merge(*sides, choice)["w"]
        assert isinstance(found, Conflict)
        assert dtype in found.why


@pytest.mark.parametrize("dtype", ["f64", "f32", "f16", "bf16", "c64", "f32be", "c128be"])
def test_floating_and_complex_tensors_are_computed(dtype: str) -> None:
    sides = [pointer(tensor("w", value, dtype)) for value in "oab"]
    assert isinstance(merge(*sides, MEAN)["w"], Combine)


def test_task_arithmetic_without_a_fitting_base_is_a_conflict() -> None:
    for base in (
        None,
        pointer(),
        pointer(tensor("w", "o", "bf16")),
        pointer(tensor("w", "o", shape=(6,))),
    ):
        found = merge(base, pointer(OURS), pointer(THEIRS), TASK)["w"]
        assert isinstance(found, Conflict)
        assert "needs a base" in found.why
        assert isinstance(merge(base, pointer(OURS), pointer(THEIRS), MEAN)["w"], Combine)


def test_another_stored_form_is_another_value() -> None:
    packed = replace(BASE, form="h5[2x3;deflate]", length=20)
    found = merge(pointer(BASE), pointer(packed), pointer(THEIRS))["w"]
    assert found == Conflict("w", BASE, packed, THEIRS, "changed on both sides")
    assert merge(pointer(BASE), pointer(packed), pointer(BASE))["w"] == Take("w", "ours", packed)


def test_the_same_values_in_another_stored_form_are_no_change() -> None:
    """One side compressed the file again while the other trained."""
    packed = replace(BASE, oid=oid_of(b"deflated"), form="h5[2x3;deflate]", length=20)
    mine = replace(OURS, oid=oid_of(b"mine"), form="h5[2x3;deflate]", length=21)
    yours = replace(OURS, oid=oid_of(b"yours"), form="h5[2x3;shuffle;deflate]", length=19)
    values = {packed.oid: BASE.oid, mine.oid: OURS.oid, yours.oid: OURS.oid}

    def found(base: Stored, ours: Stored, theirs: Stored, known: bool = True) -> Decision:
        sides = (pointer(base), pointer(ours), pointer(theirs))
        decode = (lambda _, entry: values[entry.oid]) if known else (lambda _, __: None)
        return decide(*sides, lambda _: None, decode)[0]

    assert found(BASE, packed, THEIRS) == Take("w", "theirs", THEIRS)
    assert found(BASE, THEIRS, packed) == Take("w", "ours", THEIRS)
    assert found(BASE, mine, yours) == Take("w", "both", mine)
    assert isinstance(found(BASE, packed, THEIRS, known=False), Conflict)
    assert isinstance(found(BASE, mine, yours, known=False), Conflict)


# --- views (tied weights) ---------------------------------------------------------------


def tied(value: str) -> Pointer:
    return pointer(tensor("embed", value), view("head", "embed"))


def test_tied_weights_follow_their_payload() -> None:
    found = merge(tied("o"), tied("o"), tied("b"))
    assert found["embed"] == Take("embed", "theirs", tensor("embed", "b"))
    assert found["head"] == Take("head", "unchanged", view("head", "embed"))


def test_tied_weights_that_both_sides_changed_are_one_conflict() -> None:
    found = merge(tied("o"), tied("a"), tied("b"))
    assert [d.name for d in found.values() if isinstance(d, Conflict)] == ["embed"]
    assert isinstance(merge(tied("o"), tied("a"), tied("b"), MEAN)["embed"], Combine)


def test_untying_on_one_side_is_taken_where_the_other_changed_nothing() -> None:
    untied = pointer(tensor("embed", "o"), tensor("head", "h"))
    found = merge(tied("o"), tied("o"), untied)
    assert found["head"] == Take("head", "theirs", tensor("head", "h"))


def test_untying_on_one_side_is_a_conflict_where_the_other_changed_the_payload() -> None:
    untied = pointer(tensor("embed", "o"), tensor("head", "h"))
    found = merge(tied("o"), tied("a"), untied)
    assert found["embed"] == Take("embed", "ours", tensor("embed", "a"))
    assert isinstance(found["head"], Conflict)
    assert "view" in found["head"].why
    assert isinstance(merge(tied("o"), tied("a"), untied, MEAN)["head"], Conflict)


def test_a_view_whose_payload_would_be_gone_is_a_conflict_and_the_result_is_whole() -> None:
    base = pointer(tensor("a", "1"), tensor("b", "2"))
    ours = pointer(tensor("a", "1"))  # b is removed
    theirs = pointer(tensor("b", "2"), view("a", "b"))  # a is tied to b
    found = merge(base, ours, theirs)
    assert isinstance(found["a"], Conflict)
    _assert_whole(found)


def test_our_conflicting_view_keeps_its_payload() -> None:
    base = pointer(tensor("a", "1"), tensor("b", "2"))
    ours = pointer(tensor("b", "2"), view("a", "b"))
    theirs = pointer(tensor("a", "3"))  # b is removed, a is changed
    found = merge(base, ours, theirs)
    assert isinstance(found["a"], Conflict)
    assert isinstance(found["b"], Conflict)
    _assert_whole(found)


def test_a_view_does_not_fit_a_payload_that_became_smaller() -> None:
    base = pointer(tensor("p", "1", shape=(4, 3)))
    ours = pointer(tensor("p", "2", shape=(1, 3)))
    theirs = pointer(tensor("p", "1", shape=(4, 3)), view("v", "p", (4, 3)))
    found = merge(base, ours, theirs)
    assert isinstance(found["v"], Conflict)
    _assert_whole(found)


def test_every_merge_of_small_models_gives_a_whole_result() -> None:
    """All 729 triples of nine versions, with and without a strategy."""
    versions = [
        pointer(),
        pointer(tensor("a", "1")),
        pointer(tensor("b", "1")),
        pointer(tensor("a", "1"), tensor("b", "2")),
        pointer(tensor("a", "2"), view("b", "a")),
        pointer(tensor("b", "2"), view("a", "b")),
        pointer(tensor("a", "2", shape=(1, 3)), view("b", "a", (1, 3))),
        pointer(tensor("a", "3", "bf16"), tensor("b", "1")),
        pointer(tensor("a", "1"), view("b", "a", (1, 3), 3), tensor("c", "1")),
    ]
    for base in (None, *versions):
        for ours in versions:
            for theirs in versions:
                for choice in (None, MEAN, Choice("ours"), Choice("theirs")):
                    _assert_whole(merge(base, ours, theirs, choice))


def test_merging_is_the_same_from_either_side() -> None:
    mirrored = {"ours": "theirs", "theirs": "ours"}
    base = pointer(tensor("a", "1"), tensor("b", "2"), tensor("c", "3"), tensor("d", "4"))
    ours = pointer(tensor("a", "x"), tensor("c", "3"), tensor("d", "y"), tensor("e", "5"))
    theirs = pointer(tensor("a", "1"), tensor("b", "z"), tensor("c", "9"), tensor("d", "w"))
    there, back = merge(base, ours, theirs), merge(base, theirs, ours)
    assert there.keys() == back.keys()
    for name, found in there.items():
        if isinstance(found, Take):
            assert back[name] == replace(found, source=mirrored.get(found.source, found.source))
        else:
            assert isinstance(back[name], Conflict)


def test_decisions_stand_in_natural_order() -> None:
    ours = pointer(*(tensor(f"layers.{i}.w", "1") for i in (0, 2, 10)))
    assert list(merge(None, ours, ours)) == ["layers.0.w", "layers.2.w", "layers.10.w"]


def _assert_whole(found: dict[str, Decision]) -> None:
    entries = {name: outcome(decision) for name, decision in found.items()}
    for entry in entries.values():
        if isinstance(entry, Window):
            payload = entries.get(entry.of)
            assert isinstance(payload, Stored)
            assert covers(payload, entry)
