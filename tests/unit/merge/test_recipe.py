"""What a recipe file says, and what is said about one that makes no sense."""

from __future__ import annotations

import pytest

from git_nn.errors import UsageError
from git_nn.merge.recipe import read
from git_nn.merge.rules import Choice, Rules, parse, rules

TWO = """
version = 1

[[rule]]
strategy = "mean"

[[rule]]  # norms are kept
path = "models/*.safetensors"
tensor = "*.norm.*"
strategy = "task-arithmetic"
parameters = { lambda = 0.3 }
"""


def chosen(text: str, path: str) -> Rules:
    return rules(None, {}, None, path, read(text).for_path(path))


def test_the_last_rule_that_matches_path_and_tensor_counts() -> None:
    inside = chosen(TWO, "models/deep/a.safetensors")
    assert inside.choose("0.norm.weight") == Choice("task-arithmetic", (("lambda", 0.3),))
    assert inside.choose("0.mlp.weight") == Choice("mean", (("weight", 0.5),))
    assert chosen(TWO, "a.safetensors").choose("0.norm.weight") == parse("mean", "")


@pytest.mark.parametrize(
    ("pattern", "path", "covered"),
    [
        ("*.pt", "deep/er/m.pt", True),
        ("m.pt", "deep/m.pt", True),
        ("deep/*.pt", "deep/er/m.pt", True),
        ("deep/*.pt", "m.pt", False),
        ("M.pt", "m.pt", False),
    ],
)
def test_a_path_pattern_without_a_slash_is_about_the_name(
    pattern: str, path: str, covered: bool
) -> None:
    text = f'version = 1\n[[rule]]\npath = "{pattern}"\nstrategy = "ours"\n'
    assert (chosen(text, path).choose("w") == Choice("ours")) == covered


def test_it_stands_between_the_configuration_and_the_attribute() -> None:
    recipe = read('version = 1\n[[rule]]\ntensor = "[ab]"\nstrategy = "conflict"\n').for_path("m")
    settings = {"nn.merge.strategy": "mean", "nn.merge.a.strategy": "theirs"}
    found = rules("ours", settings, None, "m", recipe)
    assert [found.choose(name) for name in "abc"] == [Choice("theirs"), None, Choice("ours")]
    assert rules("ours", settings, "base", "m", recipe).choose("b") == Choice("base")


def test_parameters_may_stand_in_the_strategy_too() -> None:
    text = 'version = 1\n[[rule]]\nstrategy = "ties:lambda=2"\nparameters = { density = 1 }\n'
    choice = chosen(text, "m").choose("w")
    assert choice is not None
    assert dict(choice.parameters) == {"density": 1.0, "lambda": 2.0}


RULE = 'version = 1\n\n[[rule]]\nstrategy = "mean"\n\n[[rule]]\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("version = 1\nrule = x\n", ["no valid TOML", "line 2"]),
        ("a = " + "[" * 100_000, ["no valid TOML"]),
        ("", ["does not say its version"]),
        ("version = 2", ["version 2", "version = 1"]),
        ("version = true", ["version True"]),
        ("version = 1\nrules = []", ["unknown key 'rules'", "rule"]),
        ("version = 1\nrule = 3", ["[[rule]]"]),
        (RULE, ["line 6, rule 2", "no strategy"]),
        (RULE + 'strategy = "avg"', ["line 6, rule 2", "'avg'", "task-arithmetic"]),
        (RULE + "strategy = 3", ["line 6, rule 2", "strategy is not a text"]),
        (RULE + 'strategy = "ours"\ntensors = "a"', ["line 6, rule 2", "'tensors'", "tensor"]),
        (RULE + 'strategy = "ours"\npath = 1', ["line 6, rule 2", "path"]),
        (RULE + 'strategy = "mean"\nparameters = { wieght = 1 }', ["line 6, rule 2", "'wieght'"]),
        (RULE + 'strategy = "mean"\nparameters = { weight = 7 }', ["line 6, rule 2", "0 to 1"]),
        (RULE + 'strategy = "mean"\nparameters = { weight = "1" }', ["line 6", "not a number"]),
        (RULE + 'strategy = "mean"\nparameters = { weight = true }', ["line 6", "not a number"]),
        (RULE + 'strategy = "mean"\nparameters = 1', ["line 6, rule 2", "not a table"]),
        (RULE + 'strategy = "mean"\nparameters = { weight = nan }', ["line 6, rule 2", "weight"]),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_an_error_that_says_where(text: str, words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        read(text)
    told = str(caught.value)
    assert told.startswith(".gitnn-merge.toml")
    assert all(word in told for word in words), told
    assert len(told) < 600


def test_rules_that_are_no_headings_are_named_by_number() -> None:
    with pytest.raises(UsageError, match=r"toml, rule 1 has no strategy"):
        read("version = 1\nrule = [{}]")
