"""Renamed tensors and renumbered layers. Pointers only: nothing is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from git_nn.merge.decide import Conflict, Decision, Take, decide, outcome
from git_nn.merge.follow import Followed, follow, refuse, with_names
from git_nn.merge.many import Clash, Taken, follow_all
from git_nn.merge.many import decide as decide_all
from git_nn.merge.renames import renamed, shown
from git_nn.merge.rules import Choice
from git_nn.merge.shifts import shifts
from git_nn.objects.oid import oid_of
from git_nn.objects.pointer import Pointer, Stored, Window, sorted_entries

Model = dict[str, str]  # tensor -> a word for its content


def pointer(model: Mapping[str, str], form: str = "") -> Pointer:
    entries = [
        Stored(name, "f32", (4,), oid_of(bytes(16) if word == "0" else word.encode()), 16, form)
        for name, word in model.items()
    ]
    return Pointer("safetensors", 1, oid_of(b"skeleton"), 9, sorted_entries(list(entries)))


def net(layers: int = 4) -> Model:
    """A stack of layers with tensors of their own contents, and one before and after it."""
    model = {"model.embed.weight": "embed", "model.head.weight": "head"}
    for i in range(layers):
        model |= {f"model.layers.{i}.{part}": f"{i}{part}" for part in ("up.w", "down.w", "norm")}
    return model


def inserted(model: Model, at: int) -> Model:
    """A new layer at a number; those behind it have one more."""
    made = {}
    for name, word in model.items():
        words = name.split(".")
        if words[1] == "layers" and int(words[2]) >= at:
            words[2] = str(int(words[2]) + 1)
        made[".".join(words)] = word
    return made | {f"model.layers.{at}.{part}": f"new{part}" for part in ("up.w", "down.w", "norm")}


def removed(model: Model, at: int) -> Model:
    made = {}
    for name, word in model.items():
        words = name.split(".")
        if words[1] == "layers":
            if int(words[2]) == at:
                continue
            words[2] = str(int(words[2]) - (int(words[2]) > at))
        made[".".join(words)] = word
    return made


def prefixed(model: Model, old: str = "model.", new: str = "module.") -> Model:
    return {new + name.removeprefix(old): word for name, word in model.items()}


def merged(
    base: Model, ours: Model, theirs: Model, choice: Choice | None = None
) -> tuple[Followed, dict[str, Decision]]:
    def choose(_: str) -> Choice | None:
        return choice

    found = follow(pointer(base), pointer(ours), pointer(theirs))
    decisions = decide(found.base, found.ours, found.theirs, choose)
    done = refuse(decisions, found, choose)
    return found, {decision.name: decision for decision in done}


def result(decisions: Mapping[str, Decision]) -> dict[str, bytes]:
    """What every tensor of the result holds; nothing may be in conflict."""
    assert not [d for d in decisions.values() if isinstance(d, Conflict)]
    entries = (outcome(decision) for decision in decisions.values())
    return {e.name: bytes(e.oid) for e in entries if isinstance(e, Stored)}


def held(model: Model) -> dict[str, bytes]:
    return {name: bytes(e.oid) for name, e in pointer(model).stored.items()}


TUNED = {"model.layers.2.up.w": "tuned", "model.head.weight": "better"}


@pytest.mark.parametrize("swap", [False, True])
def test_changes_follow_a_prefix_that_the_other_side_renamed(swap: bool) -> None:
    base = net()
    mine, other = prefixed(base), {**base, **TUNED}
    found, done = merged(base, *((other, mine) if swap else (mine, other)))
    assert result(done) == held(prefixed({**base, **TUNED}))
    who, follower = ("theirs", "ours") if swap else ("ours", "theirs")
    assert found.notes == (
        f"{who} renamed 14 tensors: model.* -> module.*; {follower}' changes follow",
    )


def test_a_tensor_that_was_renamed_and_changed_at_once_is_known_by_the_others() -> None:
    base = net()
    ours = prefixed({**base, "model.layers.1.norm": "also tuned"})
    _, done = merged(base, ours, {**base, **TUNED})
    expected = prefixed({**base, **TUNED, "model.layers.1.norm": "also tuned"})
    assert result(done) == held(expected)


def test_what_both_changed_conflicts_under_the_new_name() -> None:
    base = net()
    ours = prefixed({**base, "model.layers.1.norm": "mine"})
    _, done = merged(base, ours, {**base, "model.layers.1.norm": "theirs"})
    conflicts = [d for d in done.values() if isinstance(d, Conflict)]
    assert [(c.name, c.why) for c in conflicts] == [
        ("module.layers.1.norm", "changed on both sides")
    ]


def test_what_the_other_side_added_under_the_old_prefix_gets_the_new_one() -> None:
    base = net()
    _, done = merged(base, prefixed(base), {**base, "model.adapter.w": "extra"})
    assert result(done) == held(prefixed({**base, "model.adapter.w": "extra"}))


def test_a_word_inside_of_names_may_be_renamed() -> None:
    base = {f"l.{i}.{p}": f"{i}{p}" for i in range(3) for p in ("attn.q.w", "attn.k.w", "mlp.w")}
    ours = {name.replace(".attn.", ".self_attn."): word for name, word in base.items()}
    ours["l.0.self_attn.k.w"] = "tuned"
    ours["l.2.self_attn.q.w"] = ours["l.2.self_attn.k.w"] = "all tuned"
    pairs = renamed(pointer(base), pointer(ours), ())
    assert pairs == {name: name.replace(".attn.", ".self_attn.") for name in base if "attn" in name}
    assert shown(pairs).startswith("l.0.attn.* -> l.0.self_attn.*")


def test_a_wrapper_around_a_model_that_was_trained_whole_is_seen() -> None:
    base = {"fc.weight": "a", "fc.bias": "b"}
    trained = {"module.fc.weight": "x", "module.fc.bias": "y"}
    assert renamed(pointer(base), pointer(trained), ()) == {
        "fc.weight": "module.fc.weight",
        "fc.bias": "module.fc.bias",
    }
    assert renamed(pointer(base), pointer({**trained, "module.more": "z"}), ()) == {}


def test_zeros_are_no_evidence() -> None:
    """A bias that went and a new one are both zeros, as every bias that nobody trained."""
    base = {"old.bias": "0", "w": "w"}
    assert renamed(pointer(base), pointer({"w": "w", "new.bias": "0"}), ()) == {}
    with_weight = {"old.weight": "v", **base}
    ours = {"w": "w", "new.bias": "0", "new.weight": "v"}
    assert renamed(pointer(with_weight), pointer(ours), ()) == {
        "old.weight": "new.weight",
        "old.bias": "new.bias",
    }


def test_content_that_several_tensors_have_is_followed_by_no_guess() -> None:
    base = {"a.w": "same", "b.w": "same"}
    assert renamed(pointer(base), pointer({"x.w": "same", "y.w": "same"}), ()) == {}


def test_two_new_names_for_one_tensor_are_a_conflict() -> None:
    base = {"a.w": "w", "b": "b"}
    found, done = merged(base, {"x.w": "w", "b": "b"}, {"y.w": "v", "b": "b"})
    assert isinstance(done["x.w"], Take)  # y.w was changed too: nothing says that it was a.w
    found, done = merged(base, {"x.w": "w", "b": "b2"}, {"y.w": "w", "b": "b"})
    assert "y.w" not in done
    assert found.refused == {"x.w": "renamed from a.w by ours, to y.w by theirs"}


def test_a_new_name_that_the_other_side_gave_to_something_else_is_a_conflict() -> None:
    base = {"a.w": "w", "b": "b"}
    _, done = merged(base, {"x.w": "w", "b": "b"}, {"a.w": "tuned", "x.w": "other", "b": "b"})
    assert isinstance(done["a.w"], Conflict)
    assert isinstance(done["x.w"], Conflict)
    assert "a.w was renamed to x.w, which the other side added" in done["x.w"].why


def test_views_go_with_their_payload() -> None:
    def tied(names: tuple[str, str], word: str) -> Pointer:
        stored = Stored(names[0], "f32", (4,), oid_of(word.encode()), 16)
        view = Window(names[1], "f32", (4,), names[0], 0, (1,))
        return Pointer("torch", 1, oid_of(b"s"), 9, sorted_entries([stored, view]))

    old, new = ("embed", "head"), ("m.embed", "m.head")
    found = follow(tied(old, "a"), tied(new, "a"), tied(old, "b"))
    assert found.theirs.by_name == tied(new, "b").by_name
    assert found.base is not None
    assert found.base.by_name == tied(new, "a").by_name


# --- layers -------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 2, 3])
@pytest.mark.parametrize("swap", [False, True])
def test_changes_follow_layers_that_were_moved_by_a_new_one(at: int, swap: bool) -> None:
    base = net()
    mine, other = inserted(base, at), {**base, **TUNED}
    found, done = merged(base, *((other, mine) if swap else (mine, other)))
    assert result(done) == held(inserted({**base, **TUNED}, at))
    assert any(f"inserted model.layers.{at}" in note for note in found.notes)


@pytest.mark.parametrize("swap", [False, True])
def test_changes_follow_layers_behind_one_that_was_taken_out(swap: bool) -> None:
    base = net(5)
    mine, other = removed(base, 1), {**base, **TUNED}
    found, done = merged(base, *((other, mine) if swap else (mine, other)))
    assert result(done) == held(removed({**base, **TUNED}, 1))
    who, follower = ("theirs", "ours") if swap else ("ours", "theirs")
    (note,) = found.notes
    assert note == (
        f"{who} removed model.layers.1: model.layers.2-4 are model.layers.1-3; "
        f"{follower}' changes follow"
    )


def test_a_layer_that_moved_and_changed_meets_the_other_sides_change() -> None:
    base = net()
    ours = {**inserted(base, 1), "model.layers.3.up.w": "mine"}
    _, done = merged(base, ours, {**base, **TUNED})
    assert [d.name for d in done.values() if isinstance(d, Conflict)] == ["model.layers.3.up.w"]


Make = Callable[[Model], Model]


@pytest.mark.parametrize(
    ("ours", "theirs", "why"),
    [
        (lambda m: inserted(m, 1), lambda m: inserted(m, 3), "both sides renumbered"),
        (lambda m: removed(m, 2), lambda m: {**m, **TUNED}, "removed 2, which the other side"),
        (
            lambda m: inserted(m, 1),
            lambda m: {**m, "model.layers.4.up.w": "grown"},
            "the other side added some",
        ),
        (lambda m: inserted(m, 1), prefixed, "the other side renamed them"),
    ],
)
def test_what_cannot_be_followed_is_a_conflict_of_the_stack(
    ours: Make, theirs: Make, why: str
) -> None:
    base = net()
    found, done = merged(base, ours(base), theirs(base))
    stack = {n: d for n, d in done.items() if n.startswith("model.layers.")}
    assert why in next(iter(found.refused.values()))
    mixed = [d for d in stack.values() if isinstance(d, Take) and d.source == "theirs"]
    assert not mixed
    assert any(isinstance(decision, Conflict) for decision in stack.values())
    _, taken = merged(base, ours(base), theirs(base), Choice("theirs"))
    assert not [d for d in taken.values() if isinstance(d, Conflict)]


def test_both_sides_may_have_put_in_the_same_layer() -> None:
    base = net()
    _, done = merged(base, inserted({**base, **TUNED}, 1), inserted(base, 1))
    assert result(done) == held(inserted({**base, **TUNED}, 1))


def test_training_every_layer_is_no_shift() -> None:
    base = net()
    trained = {name: f"{word}+" for name, word in base.items()}
    assert shifts(pointer(base), pointer(trained)) == {}
    one = {**trained, "model.layers.3.norm": base["model.layers.1.norm"]}
    assert shifts(pointer(base), pointer(one)) == {}


def test_layers_at_the_end_move_nothing() -> None:
    base = net()
    found = follow(pointer(base), pointer(inserted(base, 4)), pointer({**base, **TUNED}))
    assert found.notes == ()
    assert found.theirs == pointer({**base, **TUNED})


def test_tensors_in_a_form_of_the_container_are_not_followed() -> None:
    base, ours = pointer(net(), "h5[2]"), pointer(prefixed(net()), "h5[2]")
    assert follow(base, ours, base).notes == ()


def test_random_structure_on_one_side_and_training_on_both_is_followed() -> None:
    """Renames, inserted and removed layers, one after the other, and training of other tensors."""
    random = np.random.default_rng(11)
    for turn in range(150):
        base = net(int(random.integers(3, 7)))
        names = list(base)
        random.shuffle(names)
        mine, theirs = names[: len(names) // 5], names[len(names) // 5 : len(names) // 2]
        first, last = _restructured(base, random)
        ours = {**base, **{name: f"{base[name]}/{turn}" for name in mine}}
        other = {**base, **{name: f"{base[name]}+{turn}" for name in theirs}}
        both = {name: other[name] if name in theirs else ours[name] for name in base}
        dropped = set(first(base)) ^ set(first(both)) | _gone(base, first)
        found, done = merged(base, last(first(ours)), other)
        if dropped & set(theirs):
            assert any(isinstance(decision, Conflict) for decision in done.values()), turn
            continue
        assert result(done) == held(last(first(both))), (turn, found.notes)


def _gone(base: Model, change: Make) -> set[str]:
    """The tensors whose content a change takes away."""
    kept = set(change(base).values())
    return {name for name, word in base.items() if word not in kept}


def _restructured(base: Model, random: np.random.Generator) -> tuple[Make, Make]:
    """A change of the layers or none, and a rename or none; not both, since that is refused."""
    at = int(random.integers(0, sum(name.endswith("norm") for name in base)))
    match int(random.integers(3)):
        case 0:
            return (lambda model: inserted(model, at)), dict
        case 1:
            return (lambda model: removed(model, at)), dict
    return dict, prefixed


def test_of_many_sides_all_follow_the_one_that_put_a_layer_in() -> None:
    base = net()
    tuned = {name: base | {f"model.layers.{i}.up.w": "t"} for i, name in ((0, "b"), (3, "c"))}
    sides = [pointer(tuned["b"]), pointer(inserted(base, 2)), pointer(tuned["c"])]
    found = follow_all(pointer(base), sides, ("b", "a", "c"))
    assert found.notes == ("a inserted model.layers.2: model.layers.2-3 are model.layers.3-4",)
    outcomes = {outcome.name: outcome for outcome in decide_all(found, lambda _: None)}
    assert all(isinstance(each, Taken) for each in outcomes.values())
    contents = {name: getattr(each.entry, "oid", None) for name, each in outcomes.items()}
    assert contents["model.layers.4.up.w"] == contents["model.layers.0.up.w"] == oid_of(b"t")
    assert contents["model.layers.2.up.w"] == oid_of(b"newup.w")
    # What stands beside a side's own names gets the new ones, too.
    assert "model.layers.4.up.w" in with_names(sides[2], found.renamed[2]).by_name
    other = follow_all(pointer(base), [*sides, pointer(inserted(base, 0))], ("b", "a", "c", "d"))
    clashes = [each for each in decide_all(other, lambda _: None) if isinstance(each, Clash)]
    assert {each.why for each in clashes} == {"both sides renumbered these layers"}
