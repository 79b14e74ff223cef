"""Trailers are read as they were written, and name thousands of tensors in few words."""

from __future__ import annotations

import random
from fnmatch import fnmatchcase

import pytest

from git_nn.errors import UsageError
from git_nn.merge.rules import parse
from git_nn.merge.trailers import (
    Line,
    Plan,
    grouped,
    is_of_soup,
    patterns,
    read,
    without,
    write,
)

NASTY = ["a b", "", "100%", "[0]*?", "tab\there", "zero\u200bwidth", "\udcff", "ünï", "a=b", "-"]


def test_a_plan_is_read_as_it_was_written() -> None:
    lines = (
        Line("NN-Merge", "*", "mean:weight=0.5"),
        Line("NN-Merge", "sub dir/[[]x].pt", "ties:density=0.1234567,lambda=1", tuple(NASTY)),
        Line("NN-Merge", "m", "conflict", ("*.norm",)),
        Line("NN-Resolve", "m", "theirs", ("a",)),
        Line("NN-Resolve", "m", "file=base"),
        Line("NN-Resolve", "n", "hand"),
    )
    plan = Plan(lines, {"nn.merge.a=b c.ladder": "rows", "nn.merge.skeleton": ""}, "1.2.3")
    message = "Merge\n\nbody\n\n" + "\n".join(write(plan)) + "\nSigned-off-by: Me <m@e>\n"
    assert read(message) == plan
    assert without(message) == "Merge\n\nbody\n\nSigned-off-by: Me <m@e>\n"


def test_long_trailers_are_folded_and_read_back() -> None:
    names = tuple(f"layers.{i}.weight" for i in range(100))
    plan = Plan((Line("NN-Resolve", "m", "ours", names),), {}, "1")
    text = "\n".join(write(plan))
    assert max(map(len, text.splitlines())) <= 101
    assert all(line.startswith((" ", "NN-")) for line in text.splitlines())
    assert read(text) == plan


def test_a_message_without_trailers_has_no_plan() -> None:
    assert read("Merge branch 'NN-Merge: x'\n\n NN-Merge-Version: 1\n") is None


@pytest.mark.parametrize(
    "line",
    [
        "NN-Merge: onlypath",
        "NN-Merge: path avg",
        "NN-Merge: path mean:weight=7",
        "NN-Merge: path hand",
        "NN-Resolve: path someone",
        "NN-Merge-Setting: nothing",
        "NN-Merge-Version: 1 2",
    ],
)
def test_a_trailer_that_is_not_understood_is_an_error(line: str) -> None:
    with pytest.raises(UsageError, match=r"trailer|NN-"):
        read(f"x\n\n{line}\nNN-Merge-Version: 1\n")


def test_rules_of_a_path_keep_their_order() -> None:
    text = "NN-Merge: *.pt mean:weight=0.5\nNN-Merge: *.pt ours b* c\nNN-Merge: *.pt conflict c\n"
    plan = read(text + "NN-Merge-Version: 1\n")
    assert plan is not None
    rules = plan.rules("deep/m.pt")
    assert [rules.choose(name) for name in "abc"] == [parse("mean", ""), parse("ours", ""), None]
    assert rules.default == parse("mean", "")
    assert plan.rules("m.h5").choose("a") is None


def matched(globs: tuple[str, ...], names: list[str]) -> list[str]:
    return [name for name in names if any(fnmatchcase(name, glob) for glob in globs)]


LAYERS = [
    f"model.layers.{i}.{part}"
    for i in range(400)
    for part in ("self_attn.q_proj.weight", "self_attn.k_proj.weight", "mlp.up.weight", "norm.bias")
]
REST = ["model.embed.weight", "lm_head.weight", "model.norm.bias"]


@pytest.mark.parametrize(
    ("chosen", "count"),
    [
        (lambda name: True, 1),
        (lambda name: name.endswith("norm.bias"), 1),
        (lambda name: ".mlp." in name, 1),
        (lambda name: name.startswith("model.layers.17."), 1),
        (lambda name: "attn" in name or name == "lm_head.weight", 3),
        (lambda name: name in REST, 3),
    ],
)
def test_what_a_person_would_name_in_few_words_takes_few_words(chosen, count) -> None:  # type: ignore[no-untyped-def]
    every = [*LAYERS, *REST]
    names = [name for name in every if chosen(name)]
    others = [name for name in every if not chosen(name)]
    found = patterns(names, others)
    assert matched(found, every) == names
    assert len(found) <= count, found


@pytest.mark.parametrize("seed", range(8))
def test_any_choice_of_names_is_told_exactly(seed: int) -> None:
    draw = random.Random(seed)
    pool = [*NASTY, *(f"{a}.{b}[{c}]" for a in "xy" for b in range(5) for c in range(4))]
    names = [name for name in pool if draw.random() < 0.5]
    others = [name for name in pool if name not in names]
    assert matched(patterns(names, others), pool) == names


def test_paths_that_were_treated_the_same_share_lines() -> None:
    mean = (Line("NN-Merge", "", "mean:weight=0.5"),)
    shards = {f"big/model-{i:05}-of-00030.safetensors": mean for i in range(30)}
    lines = grouped({**shards, "head.pt": (Line("NN-Resolve", "", "ours"),)})
    assert len(lines) == 2
    assert all(fnmatchcase(path, lines[0].path) for path in shards)
    assert not fnmatchcase("head.pt", lines[0].path)


def test_the_sides_of_a_soup_are_read_back_and_refused_where_they_are_no_numbers() -> None:
    plan = Plan((Line("NN-Merge", "m.h5", "mean:weight=0.5"),), {}, "0.1.0", (1, 3, 2))
    message = "\n".join(["subject", "", *write(plan), ""])
    assert "NN-Merge-Sides: 1 3 2\n" in message
    assert read(message) == plan
    assert is_of_soup(message)
    assert not is_of_soup(message.replace("-Sides", "-Other"))
    with pytest.raises(UsageError, match="NN-Merge-Sides: 1 HEAD"):
        read(message.replace("1 3 2", "1 HEAD"))
