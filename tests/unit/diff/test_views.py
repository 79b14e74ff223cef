"""What a person sees: groups, trees and bars, as wide as the terminal, in signs that it has."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pytest

from git_nn.compare import compare
from git_nn.differences import tree
from git_nn.differences.arrange import Detail, View
from git_nn.differences.changes import Kind
from git_nn.differences.render import stat, text
from git_nn.differences.result import ModelDiff, Relation, Word
from git_nn.differences.spark import bar, sparkline
from git_nn.differences.style import Style, columns, shorten
from tests.unit.diff.pairs import transformer
from tests.unit.diff.versions import f32, version

VIEWS = [View(), View(Detail.GROUPED), View(Detail.ALL), View(tree=True)]


def pair() -> ModelDiff:
    return compare(*transformer())


def test_a_group_tells_depth_and_where_it_moved_most() -> None:
    shown = text(pair(), "m").splitlines()
    (row,) = (line for line in shown if "self_attn.q_proj" in line)
    assert row.startswith("~ model.layers.[0-11].self_attn.q_proj.weight")
    assert " 12  8x8    f32 " in row
    (depth,) = (word for word in row.split() if word[0] in "▁█")
    assert (len(depth), depth[0], depth[-1], list(depth)) == (12, "▁", "█", sorted(depth))
    (some,) = (line for line in shown if "self_attn.o_proj" in line)
    assert "4 of 12" in some
    assert "········▇▇██" in some  # 9, 10, 11 and 12 twelfths of the step


def test_warnings_of_groups_are_lines_of_their_own() -> None:
    lines = text(pair(), "m").splitlines()
    at = next(i for i, line in enumerate(lines) if "[0-11].mlp.up.weight" in line)
    assert lines[at + 1] == "! model.layers.7.mlp.up.weight: Inf 0 → 1 of 128 values"
    old = {f"h.{i}.w": f32(1, 2) for i in range(60)}
    new = {f"h.{i}.w": f32(np.nan, i + 3) for i in range(60)}
    many = text(compare(version(old), version(new)), "m").splitlines()
    assert [line for line in many if line[0] == "!"] == [
        "! h.[0-59].w: NaN 0 → 60 of 120 values, in 60 of 60 tensors"
    ]


@pytest.mark.parametrize("width", [60, 80, 100, 132, 200])
@pytest.mark.parametrize("view", [*VIEWS, View(Detail.ALL, tree=True)], ids=str)
@pytest.mark.parametrize("signs", [True, False])
def test_no_line_is_wider_than_the_terminal(width: int, view: View, signs: bool) -> None:
    long = replace(
        pair(), notes=("a note " * 40,), headlines=("h" * 90 + " low-rank",), structure=("x " * 99,)
    )
    for shown in (
        text(long, "models/模型.safetensors", Style(width=width, signs=signs), view),
        stat(long, "m", Style(width=width, signs=signs)),
    ):
        assert max(map(columns, shown.splitlines())) <= width
        assert signs or shown.isascii()


@pytest.mark.parametrize("width", [60, 80])
def test_names_stay_apart_on_a_narrow_terminal(width: int) -> None:
    shown = text(pair(), "m", Style(width=width)).splitlines()
    names = [line.split()[1] for line in shown if line[0] in "~+-"]
    assert len(set(names)) == len(names)
    assert all("rel Δ" in line for line in shown if line.startswith("  tensor"))


def test_what_is_piped_is_whole() -> None:
    name = "deep." * 60 + "w"
    shown = text(compare(version({name: f32(1)}), version({name: f32(2)})), "m")
    assert name in shown


def test_every_sign_has_a_stand_in() -> None:
    old, new = {"é": f32(1), "was": f32(3, 4)}, {"é": f32(2), "is": f32(3, 4)}
    diff = compare(version(old), version(new))
    shown = text(diff, "m", Style(signs=False))
    assert shown.isascii()
    assert "rel d" in shown
    assert "%C3%A9" in shown
    assert "\n> is" in shown
    grouped = text(pair(), "m", Style(signs=False))
    heights = str.maketrans("·▁▂▃▄▅▆▇█", ".:-=+*#%@")
    depths = [word for word in text(pair(), "m").split() if word[-1] in "▁▂▃▄▅▆▇█"]
    assert len(depths) == 5
    assert all(depth.translate(heights) in grouped for depth in depths)
    assert "Inf 0 -> 1" in grouped


def test_a_tree_adds_up_what_is_below() -> None:
    lines = text(pair(), "m", view=View(tree=True)).splitlines()
    rows = {line[2:].split()[0]: line for line in lines if line[:2] in ("  ", "~ ", "+ ", "- ")}
    assert "self_attn" in rows
    assert rows["q_proj.weight"].startswith("~ ")
    indents = {name: len(line[2:]) - len(line[2:].lstrip()) for name, line in rows.items()}
    assert indents["self_attn"] < indents["q_proj.weight"]


def test_the_change_of_a_module_is_that_of_its_tensors_as_one() -> None:
    rng = np.random.default_rng(5)
    olds = {f"m.{x}": rng.normal(2, 3, 50) for x in "abc"} | {"m.zero": np.zeros(9)}
    news = {name: array + rng.normal(0, 0.1, len(array)) for name, array in olds.items()}
    diff = compare(
        version({name: ("f64", array) for name, array in olds.items()}),
        version({name: ("f64", array) for name, array in news.items()}),
    )
    one = np.concatenate([*olds.values()])
    expected = np.linalg.norm(np.concatenate([*news.values()]) - one) / np.linalg.norm(one)
    assert tree.total(diff.tensors) == pytest.approx(expected, rel=1e-9)
    only = [delta for delta in diff.tensors if delta.name == "m.zero"]
    assert tree.total(only) == math.inf
    assert tree.total([]) is None


def test_a_row_says_how_it_is_related() -> None:
    diff = compare(version({"a": f32(1, 2)}), version({"a": f32(3, 9)}))
    said = {
        Relation(Word.DUPLICATE, of="b"): "duplicate of b",
        Relation(Word.TRANSPOSED): "transposed",
        Relation(Word.PERMUTED): "rows permuted",
        Relation(Word.ROWS, value=64): "rows +64, the others as they were",
        Relation(Word.SCALED, value=0.5): "×0.5",
        Relation(Word.LOW_RANK, value=8): "low-rank r=8",
        Relation(Word.REROUNDED): "every change ≤ 1 ulp",
    }
    for relation, words in said.items():
        (delta,) = diff.tensors
        shown = text(replace(diff, tensors=(replace(delta, relations=(relation,)),)), "m")
        assert shown.splitlines()[-1].endswith(f"  {words}")


def test_patterns_and_top_say_what_they_leave_out() -> None:
    shown = text(pair(), "m", view=View(Detail.ALL, top=2, patterns=("*q_proj*",))).splitlines()
    assert sum(line[0] == "~" for line in shown) == 2
    assert any("12 of 56 tensors match the pattern" in line for line in shown)
    assert any("... and 10 tensors more" in line for line in shown)


def test_a_sparkline_never_hides_a_change() -> None:
    assert sparkline([0.0, 1e-9, 0.5, 1.0]) == "·▁▄█"
    assert sparkline([None, math.inf, 1.0]) == "·██"
    assert sparkline([0.0] * 3) == "···"
    assert sparkline([]) == ""
    found = sparkline([float(i == 70) for i in range(100)], 10)
    assert found == "·······█··"
    assert sparkline([1.0, 2.0], signs=False) == "+@"


def test_a_bar_never_hides_a_kind() -> None:
    assert bar([("+", 1000), ("-", 1)], 1001, 20) == "+" * 20 + "-"
    assert bar([("~", 3)], 3, 20) == "~~~"
    assert bar([("~", 0)], 0, 20) == ""


def test_shortened_text_is_as_wide_as_asked() -> None:
    for width in range(1, 12):
        assert columns(shorten("abcdefghijklmn", width, Style())) == width
        assert columns(shorten("模型模型模型模型", width, Style())) <= width
    assert shorten("abc", 3, Style()) == "abc"


def test_a_hundred_thousand_tensors_are_grouped_in_no_time() -> None:
    diff = pair()
    base = next(delta for delta in diff.tensors if delta.kind is Kind.CHANGED)
    entry = base.change.new
    assert entry is not None
    deltas = tuple(
        replace(base, change=replace(base.change, old=named, new=named))
        for layer in range(100)
        for i in range(1000)
        if (named := replace(entry, name=f"model.layers.{layer}.moe.experts.{i}.w1.weight"))
    )
    start = time.process_time()
    shown = text(replace(diff, tensors=deltas), "m")
    assert time.process_time() - start < 6  # 2 s on a machine of its own; see docs/diff.md
    assert len(shown.splitlines()) < 20
