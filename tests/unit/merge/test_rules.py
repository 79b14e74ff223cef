"""Which strategy counts for a tensor, and what is said about words that mean nothing."""

from __future__ import annotations

import pytest

from git_nn.errors import UsageError
from git_nn.merge.rules import Choice, Rules, averaged, parse, rules
from git_nn.merge.strategies import table

MEAN = Choice("mean", (("weight", 0.5),))


def test_nothing_chosen_is_a_conflict() -> None:
    assert rules(None, {}, None, "m.h5").choose("w") is None


def test_the_attribute_is_stronger_than_the_setting_and_weaker_than_a_pattern() -> None:
    settings = {"nn.merge.strategy": "theirs", "nn.merge.*.bias.strategy": "ours"}
    assert rules(None, settings, None, "m.h5").choose("a.weight") == Choice("theirs")
    found = rules("mean", settings, None, "m.h5")
    assert found.choose("a.weight") == MEAN
    assert found.choose("a.bias") == Choice("ours")


def test_the_variable_is_stronger_than_all() -> None:
    settings = {"nn.merge.strategy": "theirs", "nn.merge.*.strategy": "ours"}
    found = rules("conflict", settings, "mean:weight=0.25", "m.h5")
    assert found == Rules(Choice("mean", (("weight", 0.25),)))
    assert rules("mean", settings, "conflict", "m.h5").choose("w") is None
    assert rules("mean", {}, "", "m.h5").choose("w") == MEAN


def test_the_last_pattern_that_matches_counts() -> None:
    settings = {
        "nn.merge.layers.*.strategy": "mean",
        "nn.merge.layers.0.*.strategy": "ours",
        "nn.merge.*.norm.strategy": "conflict",
    }
    found = rules("theirs", settings, None, "m.h5")
    assert found.choose("layers.1.w") == MEAN
    assert found.choose("layers.0.w") == Choice("ours")
    assert found.choose("layers.0.norm") is None
    assert found.choose("Layers.1.w") == Choice("theirs")


def test_an_unset_attribute_asks_for_conflicts() -> None:
    assert rules("unset", {"nn.merge.strategy": "mean"}, None, "m.h5").choose("w") is None


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("ours", Choice("ours")),
        ("theirs", Choice("theirs")),
        ("mean", MEAN),
        ("mean:", MEAN),
        ("mean:weight=0.3", Choice("mean", (("weight", 0.3),))),
        ("mean:weight=1e-1", Choice("mean", (("weight", 0.1),))),
        ("task-arithmetic", Choice("task-arithmetic", (("lambda", 1.0),))),
        ("task-arithmetic:lambda=-0.7", Choice("task-arithmetic", (("lambda", -0.7),))),
        ("conflict", None),
    ],
)
def test_a_choice_is_a_name_and_parameters(text: str, choice: Choice | None) -> None:
    assert parse(text, "x") == choice


@pytest.mark.parametrize(
    "text",
    [
        "average", "Mean", "set", "", "mean;weight=1", "conflict:weight=1", "mean:alpha=1",
        "ours:weight=1",
        "mean:weight", "mean:weight=", "mean:weight=heavy", "mean:weight=nan", "mean:weight=inf",
        "mean:weight=1.5", "mean:weight=-0.1", "task-arithmetic:lambda=inf",
    ],
)  # fmt: skip
def test_a_word_that_is_not_understood_is_an_error_that_names_the_setting(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text, "the attribute nn-merge of m.h5")
    assert "the attribute nn-merge of m.h5" in str(caught.value)


def test_an_unknown_strategy_is_told_the_known_ones() -> None:
    with pytest.raises(UsageError) as caught:
        rules(None, {"nn.merge.*.w.strategy": "karcha"}, None, "m.h5")
    assert "nn.merge.*.w.strategy" in str(caught.value)
    for name in (*table.NAMES, "conflict"):
        assert name in str(caught.value)


def test_a_choice_is_written_as_it_is_read() -> None:
    for text in ("ours", "mean:weight=0.3", "task-arithmetic:lambda=1"):
        assert str(parse(text, "x")) == text


@pytest.mark.parametrize("name", table.NAMES)
def test_every_strategy_says_what_it_is(name: str) -> None:
    strategy = table.by_name(name)
    assert strategy.name == name
    assert strategy.formula
    assert (strategy.side is None) == (strategy.merge is not None)
    assert strategy.limits.keys() == strategy.parameters.keys()
    for key, (low, high) in strategy.limits.items():
        assert low <= strategy.parameters[key] <= high


def test_statistics_get_the_mean_of_whatever_computes_and_sides_stay_sides() -> None:
    settings = {"nn.merge.a.strategy": "ours", "nn.merge.b.strategy": "conflict"}
    found = averaged(rules("fisher:floor=0", settings, None, "m.fisher.safetensors"))
    assert found.choose("w") == MEAN
    assert found.choose("a") == Choice("ours")
    assert found.choose("b") is None
    assert averaged(Rules()) == Rules()
