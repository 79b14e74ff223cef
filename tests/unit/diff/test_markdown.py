"""markdown: a comment that fits, in which nothing of a file can do anything."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from git_nn.compare import compare
from git_nn.differences.markdown import LIMIT, code, document, sentence
from git_nn.differences.report import Item
from git_nn.differences.result import ModelDiff
from tests.unit.diff.pairs import transformer
from tests.unit.diff.versions import f32, version

NASTY = [
    "a|b", "`x`", "``", "a\\|b", "<img src=x onerror=alert(1)>", "[x](http://evil.test)",
    "@someone", "#12", "http://evil.test", "www.evil.test", "a\nb", "| --- |", "</details>",
    "$$x$$", "*bold* _x_", "&lt;", "-->", "~~x~~", "\u202eabc", "![](x)", "owner/repo#1", "",
]  # fmt: skip

_CELL = re.compile(r"(?<!\\)\|")
_SPAN = re.compile(r"`[^`]*`")
_TAGS = ("<details><summary>", "</summary>", "</details>")


def outside_of_code(text: str) -> str:
    """What is left of Markdown when its code spans and our own tags are taken away."""
    for tag in _TAGS:
        text = text.replace(tag, "")
    return _SPAN.sub("", text)


def diff_of(names: list[str]) -> ModelDiff:
    old = version({name: f32(1, 2) for name in names})
    new = version({name: f32(1, 3 + i) for i, name in enumerate(names)})
    return compare(old, new)


@pytest.mark.parametrize("name", NASTY)
def test_a_name_is_nothing_but_its_text(name: str) -> None:
    many = [f"{name}{letter}" for letter in "abc"] + [f"{name}.{i}.w" for i in range(60)]
    diff = replace(
        diff_of(many),
        headlines=(f"trained: {name}, {name} only",),
        notes=(f"the old version {name}",),
        structure=(f"metadata.{name}: a → {name}",),
    )
    found = document([Item(name.replace("\n", "?"), diff, ""), Item("m", None, f"cannot {name}")])
    left = outside_of_code(found).replace("**", "")
    assert not re.search(r"[<>\[\]@_`~$&!*]|https?|www|evil|someone|onerror", left)
    rows = [line for line in found.splitlines() if line.startswith("|")]
    widths = {len(_CELL.split(row)) for row in rows if "tensor" in row}  # of the headers
    assert {len(_CELL.split(row)) for row in rows} == widths


def test_every_line_of_a_table_has_the_cells_of_its_header() -> None:
    found = document([Item("m", compare(*transformer()))])
    for block in re.findall(r"(?:^\|.*\n)+", found, re.MULTILINE):
        counts = {len(_CELL.split(line)) for line in block.splitlines()}
        assert len(counts) == 1


def test_warnings_come_before_everything_but_the_totals() -> None:
    lines = [line for line in document([Item("m", compare(*transformer()))]).splitlines() if line]
    assert lines[:4] == [
        "### `m`",
        "**53 changed, 2 added, 1 removed, 22 same of 78 tensors**",
        "Not finite:",
        "- ⚠ `model.layers.7.mlp.up.weight`: Inf 0 → 1 of 128 values",
    ]


def test_few_tensors_need_no_details_and_many_have_all_in_them() -> None:
    few = document([Item("m", diff_of(["a", "b"]))])
    assert "<details>" not in few
    assert "| `~` | `b` |" in few
    many = document([Item("m", compare(*transformer()))])
    inside = many[many.index("<details><summary>56 tensors</summary>") :]
    assert inside.count("\n| `") == 56
    assert inside.rstrip().endswith("</details>")


@pytest.mark.parametrize("count", [200, 3000])
@pytest.mark.parametrize("files", [1, 5, 400])
def test_the_comment_fits_whatever_there_is(count: int, files: int) -> None:
    diff = diff_of([f"模型.{i}.{'x' * (i % 90)}.w" for i in range(count // min(files, 20))])
    long = replace(diff, structure=tuple(f"{'s' * 400}{i}" for i in range(90)))
    found = document([Item(f"m{i}", long) for i in range(files)])
    assert len(found.encode()) <= LIMIT
    assert found.count("<details>") == found.count("</details>")
    assert files < 400 or "more files" in found


def test_code_and_sentences() -> None:
    assert code("a`b|c\\d") == "`a%60b%7Cc%5Cd`"
    assert code("") == "` `"
    assert sentence("rows +64, the others as they were") == "rows +64, the others as they were"
    assert sentence("low-rank r=8 (LoRA)") == "`low-rank` `r=8` (LoRA)"
    assert sentence("was a.b.c, rel Δ 1.0e-01") == "was `a.b.c`, rel Δ 1.0e-01"
