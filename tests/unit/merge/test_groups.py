"""Tensors that belong together, and those that hold how far training is. Pointers only."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from git_nn.merge.decide import Combine, Conflict, Decision, Take, decide
from git_nn.merge.groups import groups, together
from git_nn.merge.report import told
from git_nn.merge.rules import Choice, Rules
from git_nn.merge.state import settled
from git_nn.objects.oid import oid_of
from git_nn.objects.pointer import Pointer, Stored, sorted_entries

MEAN = Choice("mean", (("weight", 0.5),))


def pointer(
    tensors: Mapping[str, str], dtype: str = "f32", shape: tuple[int, ...] = (4,)
) -> Pointer:
    """A model whose tensors are told apart by a word; ``i8:word`` has another dtype."""
    entries = []
    for name, word in tensors.items():
        kind = word.partition(":")[0] if ":" in word else dtype
        size = {"f32": 4, "i8": 1, "i64": 8, "u8": 1}[kind]
        dims = () if word.startswith("i64:") else shape
        entries.append(Stored(name, kind, dims, oid_of(word.encode()), size * (4 if dims else 1)))
    return Pointer("safetensors", 1, oid_of(b"skeleton"), 9, sorted_entries(list(entries)))


def decided(
    base: Mapping[str, str],
    ours: Mapping[str, str],
    theirs: Mapping[str, str],
    rules: Rules | None = None,
) -> dict[str, Decision]:
    """What the two passes make of three versions, the last two as changes of the first."""
    rules = rules or Rules()
    sides = (pointer(base), pointer({**base, **ours}), pointer({**base, **theirs}))
    done = together(settled(decide(*sides, rules.choose), rules), sides, rules.choose)
    return {decision.name: decision for decision in done}


@pytest.mark.parametrize(
    "names",
    [
        ("l.weight", "l.weight_scale"),
        ("l.weight", "l.weight_scale_inv"),
        ("l.qweight", "l.qzeros", "l.scales", "l.g_idx"),
        ("l.weight", "l.SCB"),
        (
            "l.weight",
            "l.weight.absmax",
            "l.weight.quant_map",
            "l.weight.quant_state.bitsandbytes__nf4",
        ),
        ("l.weight", "l.scale", "l.zero_point"),
        ("l.weight", "l.scales", "l.biases"),
        ("w_quantized", "w_scale", "w_zero_point"),
        ("bn.running_mean", "bn.running_var"),
        ("a/b/moving_mean:0", "a/b/moving_variance:0"),
        ("batch_stats/BatchNorm_0/mean", "batch_stats/BatchNorm_0/var"),
        ("q_proj.lora_A.weight", "q_proj.lora_B.weight"),
        ("lora_unet_x.lora_down.weight", "lora_unet_x.lora_up.weight"),
    ],
)
def test_names_that_belong_together_are_one_group(names: tuple[str, ...]) -> None:
    stems = [name.replace("l.", "layers.7.", 1) for name in names]
    (group,) = groups([*names, "other.weight", "other.bias"])
    assert set(group.members) == set(names)
    assert {frozenset(g.members) for g in groups([*names, *stems])} >= {frozenset(names)}


@pytest.mark.parametrize(
    "names",
    [
        ("norm.scale", "norm.bias"),
        ("l.weight", "l.bias"),
        ("l.weight", "l.scale"),
        ("fc1.weight", "fc2.weight_scale"),
        ("encoder/mean", "encoder/var"),
        ("lora_A.weight",),
    ],
)
def test_other_names_are_none(names: tuple[str, ...]) -> None:
    assert groups(names) == []


BASE = {"l.weight": "i8:w", "l.weight_scale": "s", "n.weight": "n"}


def test_parts_of_a_group_that_each_side_changed_are_a_conflict_whole() -> None:
    found = decided(BASE, {"l.weight": "i8:x"}, {"l.weight_scale": "t", "n.weight": "m"})
    assert isinstance(found["l.weight"], Conflict)
    assert isinstance(found["l.weight_scale"], Conflict)
    assert "a quantised weight and its scales" in found["l.weight"].why
    assert (found["n.weight"].source, found["l.weight"].ours.dtype) == ("theirs", "i8")


def test_a_group_that_one_side_changed_is_that_sides() -> None:
    found = decided(BASE, {"l.weight": "i8:x", "l.weight_scale": "t"}, {"n.weight": "m"})
    assert [d.source for d in found.values()] == ["ours", "ours", "theirs"]


def test_one_part_in_conflict_makes_the_group_one() -> None:
    ours, theirs = {"l.weight": "i8:x"}, {"l.weight": "i8:y", "l.weight_scale": "t"}
    found = decided(BASE, ours, theirs)
    assert [type(d) for d in found.values()] == [Conflict, Conflict, Take]
    assert found["l.weight"].why == "changed on both sides"


def test_a_side_that_was_chosen_gives_the_whole_group() -> None:
    ours, theirs = {"l.weight": "i8:x"}, {"l.weight": "i8:y", "l.weight_scale": "t"}
    found = decided(BASE, ours, theirs, Rules(Choice("ours")))
    assert [(d.source, d.entry.oid) for d in found.values()][:2] == [
        ("ours", oid_of(b"i8:x")),
        ("ours", oid_of(b"s")),
    ]


def test_a_strategy_that_cannot_have_one_part_has_none() -> None:
    """The mean of scales beside codes that are one side's would be another weight."""
    ours = {"l.weight": "i8:x", "l.weight_scale": "r"}
    theirs = {"l.weight": "i8:y", "l.weight_scale": "t"}
    found = decided(BASE, ours, theirs, Rules(MEAN))
    assert [type(d) for d in found.values()] == [Conflict, Conflict, Take]
    assert "i8 values are never computed with" in found["l.weight"].why


def test_a_strategy_combines_both_moments_where_the_sides_changed_one_each() -> None:
    base = {"bn.running_mean": "m", "bn.running_var": "v"}
    found = decided(base, {"bn.running_mean": "x"}, {"bn.running_var": "y"}, Rules(MEAN))
    assert [type(d) for d in found.values()] == [Combine, Combine]


STATE = {
    "fc.weight": "w",
    "bn.num_batches_tracked": "i64:1",
    "optimizer/vars/0": "i64:1",
    "optimizer.state.0.exp_avg": "m",
    "rng_state": "u8:1",
}


def both(word: str) -> dict[str, str]:
    return {name: f"{value}{word}" for name, value in STATE.items()}


def test_counters_and_random_state_never_stand_in_the_way() -> None:
    found = decided(STATE, both("a"), both("b"))
    kept = {name for name, d in found.items() if isinstance(d, Take) and d.source == "ours"}
    assert kept == {"bn.num_batches_tracked", "optimizer/vars/0", "rng_state"}
    assert isinstance(found["fc.weight"], Conflict)
    assert isinstance(found["optimizer.state.0.exp_avg"], Conflict)
    assert list(told(found.values())) == [
        "counters that both sides changed: ours is taken (bn.num_batches_tracked and 1 more)",
        "states of random numbers that both sides changed: ours is taken (rng_state)",
    ]


def test_optimizer_state_is_ours_where_the_weights_are_computed() -> None:
    found = decided(STATE, both("a"), both("b"), Rules(MEAN))
    assert isinstance(found["fc.weight"], Combine)
    moment = found["optimizer.state.0.exp_avg"]
    assert isinstance(moment, Take)
    assert (moment.source, moment.why) == ("ours", "optimizer state that both sides changed")
    assert not any(isinstance(decision, Conflict) for decision in found.values())


def test_a_pattern_for_the_optimizer_comes_first() -> None:
    found = decided(STATE, both("a"), both("b"), Rules(MEAN, (("optimizer.*", MEAN),)))
    assert isinstance(found["optimizer.state.0.exp_avg"], Combine)


def test_a_counter_that_one_side_changed_is_that_sides() -> None:
    found = decided(STATE, {}, both("b"))
    assert {d.source for d in found.values()} == {"theirs"}
