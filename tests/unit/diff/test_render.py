"""render and as_json: totals first, one row per tensor, the same order in both forms."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np

from git_nn.compare import compare
from git_nn.differences import as_json
from git_nn.differences.arrange import ROWS, Detail, View
from git_nn.differences.numbers_text import percent
from git_nn.differences.render import stat, text, totals
from git_nn.differences.result import Relation, Word
from git_nn.differences.style import Style
from git_nn.objects.pointer import Window
from tests.unit.diff.versions import f32, version

A = np.arange(12, dtype=np.float32).reshape(3, 4) + 1


def plus(step: float) -> tuple[str, np.ndarray]:
    return "f32", A + np.float32(step)


def test_totals_come_first_and_rows_go_by_relative_change() -> None:
    old = version({"a": plus(0), "b": plus(0), "c": plus(0), "old": f32(1), "was": f32(5, 5)})
    new = version({"a": plus(1), "b": plus(3), "c": plus(0), "new": f32(2), "is": f32(5, 5)})
    lines = text(compare(old, new), "m.safetensors").splitlines()
    assert lines[0] == (
        "m.safetensors   2 changed, 1 renamed, 1 added, 1 removed, 1 same of 6 tensors"
    )
    assert [line[:5].split() for line in lines if line[0] in "~→+-"] == [
        ["~", "b"], ["~", "a"], ["→", "is"], ["+", "new"], ["-", "old"],
    ]  # fmt: skip


def test_a_table_to_the_letter() -> None:
    big = np.zeros((2, 2), dtype=np.float32)
    bad = big.copy()
    bad[0, 1], bad[1, 0] = 0.5, np.nan
    old = version({"head/kernel": plus(0), "ln/gamma": ("f32", big), "emb": plus(0)})
    new = version({"head/kernel": plus(1.5), "ln/gamma": ("f32", bad), "emb": ("bf16", A)})
    assert text(compare(old, new), "model.h5") == (
        "model.h5   2 changed, 1 cast, 0 same of 3 tensors\n"
        "  tensor       shape  dtype       rel Δ   cosine  max |Δ|  at     changed\n"
        "~ ln/gamma     2x2    f32           new        -      0.5  [0,1]   50.0 %\n"
        "! ln/gamma: NaN 0 → 1 of 4 values\n"
        "~ head/kernel  3x4    f32       2.0e-01  0.99673      1.5  [0,0]    100 %\n"
        "~ emb          3x4    f32→bf16        0  1.00000        0             0 %"
        "  cast f32→bf16: the old values, rounded once\n"
    )


def test_nothing_changed_and_container_only() -> None:
    old, same = version({"a": plus(0)}), version({"a": plus(0)})
    other = version({"a": plus(0)}, skeleton="other", described={"metadata": {"format": "np"}})
    assert text(compare(old, same), "m") == "m   no change, 1 tensor\n"
    assert text(compare(old, other), "m") == (
        "m   no tensor changed, container only, 1 same\n"
        "  structure:\n"
        "    metadata.format: np added\n"
    )


def test_new_and_deleted_files() -> None:
    one = version({"a": plus(0)})
    assert totals(compare(None, one)) == "new file, 1 tensor"
    assert totals(compare(one, None)) == "deleted, 1 tensor"
    assert text(compare(None, one), "m").splitlines()[2] == "+ a       3x4    f32"


def test_another_format_is_named() -> None:
    old = version({"a": plus(0)})
    new = version({"a": plus(0)}, container="torch", skeleton="zip")
    assert totals(compare(old, new)).endswith("1 same, format safetensors → torch")


def test_verbs() -> None:
    rows = np.vstack([A, A])
    old = version(
        {"emb": plus(0), "w": plus(0), "v": plus(0), "r": plus(0), "x": plus(0), "h": plus(0)},
        views=(Window("tied", "f32", (4, 3), "h", 0, (1, 4)),),
    )
    new = version(
        {
            "emb": ("f32", rows), "w": ("f32", A.reshape(4, 3)), "v": ("f32", A[:, :3]),
            "r": ("f32", A.reshape(4, 3) + 1), "x": ("f16", A.reshape(12)), "h": plus(0),
            "tied": ("f32", A.T.copy()),
        }
    )  # fmt: skip
    shown = text(compare(old, new), "m")
    remarks = {line.split()[1]: line for line in shown.splitlines()[2:]}
    assert remarks["emb"].endswith("rows +3")
    assert remarks["w"].endswith("reshaped, same values")
    assert remarks["v"].endswith("columns -1")
    assert remarks["r"].endswith("reshaped")
    assert remarks["x"].endswith("other dtype and shape")
    assert remarks["tied"].startswith("= tied")
    assert remarks["tied"].endswith("same values, stored otherwise")


def test_rows_are_capped_but_never_a_warning() -> None:
    count = ROWS + 7
    names = ["t" + "x" * i for i in range(count)]  # no two are of one group
    old = version({name: f32(1, i) for i, name in enumerate(names)})
    new = version({name: f32(1, i + (1 if i else np.nan)) for i, name in enumerate(names)})
    shown = text(compare(old, new), "m")
    assert sum(line.startswith("~") for line in shown.splitlines()) == ROWS
    assert "... and 7 tensors more (git nn diff --all)" in shown
    assert "! t: NaN 0 → 1 of 2 values" in shown
    everything = text(compare(old, new), "m", view=View(Detail.ALL))
    assert sum(line.startswith("~") for line in everything.splitlines()) == count


def test_colour_only_when_asked() -> None:
    diff = compare(version({"a": plus(0), "n": f32(1)}), version({"a": plus(1)}))
    assert "\x1b" not in text(diff, "m")
    coloured = text(diff, "m", Style(colour=True))
    assert "\x1b[33m~ a" in coloured
    assert "\x1b[31m- n" in coloured
    plain = coloured
    for code in ("1", "31", "33", ""):
        plain = plain.replace(f"\x1b[{code}m", "")
    assert plain == text(diff, "m")


def test_a_name_cannot_break_a_line_or_paint_the_screen() -> None:
    diff = compare(version({"a\n\x1b[31m~ b": f32(1)}), version({"a\n\x1b[31m~ b": f32(2)}))
    shown = text(diff, "m")
    assert "\x1b" not in shown
    assert len(shown.splitlines()) == 3
    assert "a%0A%1B[31m~ b" in shown


def test_a_long_name_is_shown_whole() -> None:
    name = "x" * 300
    assert name in text(compare(version({name: f32(1)}), version({name: f32(2)})), "m")


def test_zero_and_infinite_relative_changes() -> None:
    old = version({"a": f32(0, 0), "b": f32(1, 2)})
    new = version({"a": f32(0, 1), "b": f32(1, 3)})
    lines = text(compare(old, new), "m").splitlines()
    assert lines[2].split()[:5] == ["~", "a", "2", "f32", "new"]
    assert lines[3].split()[:5] == ["~", "b", "2", "f32", "4.5e-01"]


def test_percent_is_neither_none_nor_all_by_rounding() -> None:
    assert percent(0, 10) == "0 %"
    assert percent(1, 10**6) == "<0.1 %"
    assert percent(224, 1000) == "22.4 %"
    assert percent(10**6 - 1, 10**6) == ">99.9 %"
    assert percent(7, 7) == "100 %"


def test_stat_is_the_totals_and_a_bar_for_each_layer() -> None:
    old = {f"layers.{i}.{x}.w": f32(1, i) for i in range(11) for x in "abc"}
    new = dict(old) | {"layers.2.a.w": f32(7, 7), "layers.10.d.w": f32(2), "top.w": f32(3)}
    del new["layers.2.b.w"]
    lines = stat(compare(version(old), version(new)), "m.h5").splitlines()
    assert lines == [
        (
            " m.h5 | 1 changed, 2 added, 1 removed, 31 same of 35 tensors;"
            " most: layers.2.a.w, rel Δ 3.5e+00"
        ),
        "   layers.2  | 2 -~",
        "   layers.10 | 1 +",
        "   top       | 1 +",
    ]


def test_json_has_the_documented_schema() -> None:
    old = version({"a": f32(1, 2), "gone": f32(9)})
    new = version({"a": f32(1, 3), "nan": f32(8)}, skeleton="s2", described={"k": "v"})
    found = as_json.document([as_json.file(compare(old, new), "m.h5")])
    (only,) = found["files"]
    assert found["schema"] == "git-nn diff 1"
    assert list(only) == [
        "path", "old", "new", "counts", "container_changed", "headlines", "structure", "notes",
        "threshold", "tensors",
    ]  # fmt: skip
    assert only["counts"] == {"same": 0, "changed": 1, "added": 1, "removed": 1}
    assert only["structure"] == ["k: v added"]
    assert [tensor["name"] for tensor in only["tensors"]] == ["a", "nan", "gone"]
    oids = {name: str(v.pointer.stored["a"].oid) for name, v in (("old", old), ("new", new))}
    assert only["tensors"][0] == {
        "kind": "changed",
        "name": "a",
        "old": {"name": "a", "dtype": "f32", "shape": [2], "oid": oids["old"], "view_of": None},
        "new": {"name": "a", "dtype": "f32", "shape": [2], "oid": oids["new"], "view_of": None},
        "numbers": {
            "elements": 2, "changed": 1, "relative": 0.447213595, "cosine": 0.989949494,
            "max_abs": 1.0, "max_at": [1], "mean_abs": 0.5,
            "flips": 0, "rows": None, "ulps": 2**22,  # from 2 to 3: half of the 2**23 up to 4
            "nan": [0, 0], "inf": [0, 0],
            "before": {"zero": 0, "mean": 1.5, "std": 0.5, "low": 1.0, "high": 2.0},
            "after": {"zero": 0, "mean": 2.0, "std": 1.0, "low": 1.0, "high": 3.0},
        },
        "unread": "",
        "relations": [],
        "change_point": None,
        "summary": None,
    }  # fmt: skip


def test_json_has_relations_and_headlines() -> None:
    found = replace(
        compare(version({"a": plus(0)}), version({"a": plus(1)})), headlines=("a head line",)
    )
    relations = (Relation(Word.DUPLICATE, of="b\tc"), Relation(Word.SCALED, value=0.5))
    (delta,) = found.tensors
    shown = as_json.file(replace(found, tensors=(replace(delta, relations=relations),)), "m")
    assert shown["headlines"] == ["a head line"]
    assert shown["tensors"][0]["relations"] == [
        {"word": "duplicate", "of": "b%09c", "value": None},
        {"word": "scaled", "of": None, "value": 0.5},
    ]


def test_json_is_strict_whatever_the_values() -> None:
    old = version({"zero": f32(0), "nan": f32(np.nan), "big": ("f64", np.array([-1.7e308]))})
    new = version({"zero": f32(1), "nan": f32(1), "big": ("f64", np.array([1.7e308]))})
    found: dict[str, Any] = as_json.file(compare(old, new), "m")
    json.loads(json.dumps(found, allow_nan=False))
    numbers = {tensor["name"]: tensor["numbers"] for tensor in found["tensors"]}
    assert numbers["zero"]["relative"] == "inf"
    assert numbers["nan"]["relative"] is None
    assert (numbers["big"]["max_abs"], numbers["big"]["relative"]) == ("inf", 2.0)
