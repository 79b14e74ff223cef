"""html: a page that is whole by itself, safe whatever the names, and readable by all."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from git_nn.compare import compare
from git_nn.differences.arrange import Detail, View
from git_nn.differences.histogram import of_model
from git_nn.differences.html import fragment, page
from git_nn.differences.report import Item
from git_nn.differences.result import ModelDiff
from tests.unit.diff.pairs import LAYERS, transformer
from tests.unit.diff.test_markdown import NASTY
from tests.unit.diff.versions import f32, version

_VOID = {"meta"}
_ALLOWED = {
    "html", "head", "meta", "title", "style", "body", "div", "header", "h1", "h2", "h3", "p",
    "main", "nav", "ul", "li", "a", "span", "section", "code", "b", "strong", "figure",
    "figcaption", "table", "thead", "tbody", "tr", "th", "td", "details", "summary", "footer",
    "dl", "dt", "dd", "script", "svg", "path", "rect", "circle", "text", "desc",
}  # fmt: skip


class Page(HTMLParser):
    """The elements of a page, checked to be closed in their order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.words.setdefault(self.open[-1], []).append(data)

    def all(self, tag: str, **attributes: str) -> list[dict[str, str]]:
        return [
            found
            for name, found in self.tags
            if name == tag and attributes.items() <= found.items()
        ]


def item() -> Item:
    old, new = transformer()
    diff = compare(old, new)
    return Item("model.safetensors", diff, "", of_model(old, new, diff.tensors))


def diff_of(names: list[str]) -> ModelDiff:
    old = version({name: f32(1, 2) for name in names})
    new = version({name: f32(1, 3 + i) for i, name in enumerate(names)})
    return compare(old, new)


def test_the_page_asks_for_nothing_and_allows_nothing() -> None:
    text = page([item()], "a → b")
    found = Page(text)
    names = [value for _, attributes in found.tags for value in attributes]
    assert not {"src", "srcset", "style", "action", "data", "poster", "ping"} & set(names)
    assert not [name for name in names if name.startswith("on") or "href" in name]
    assert not re.search(r"url\(|@import|https?:", text)
    (policy,) = (m["content"] for m in found.all("meta") if "http-equiv" in m)
    for tag in ("style", "script"):
        (inside,) = found.words[tag]
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


@pytest.mark.parametrize("name", [*NASTY, '" onload="x', "' x='", "</style><script>x</script>"])
def test_nothing_in_a_file_can_add_an_element_or_an_attribute(name: str) -> None:
    def shape(name: str) -> Counter[tuple[str, ...]]:
        names = [f"{name}.{i}.w" for i in range(50)]
        old = version({x: f32(1, 2) for x in names})
        new = version({x: f32(1, i + 3) for i, x in enumerate(names)})
        diff = compare(old, new)
        pictures = of_model(old, new, diff.tensors)
        diff = replace(diff, headlines=(name,), notes=(name,), structure=(name,))
        found = Page(page([Item(name, diff, "", pictures), Item(name, None, name)], name))
        assert {tag for tag, _ in found.tags} <= _ALLOWED
        return Counter((tag, *sorted(attributes)) for tag, attributes in found.tags)

    assert shape(name) == shape("plain")


def test_drift_has_a_point_for_each_block_and_role() -> None:
    found = Page(page([item()], "t"))
    # q, k, up, down in each block, o_proj and (where it did not move) down on the floor
    assert len(found.all("circle")) == 5 * LAYERS
    points = [word for word in found.words["title"] if ", block " in word]
    assert "self_attn.o_proj, block 3: 0" in points
    assert any(re.fullmatch(r"self_attn\.q_proj, block 11: \d\.\de-02", word) for word in points)
    heights = [float(c["cy"]) for c in found.all("circle", **{"class": "dot d0"})]
    assert heights == sorted(heights, reverse=True)  # later blocks moved more


def test_pictures_and_tables_can_be_read_out() -> None:
    found = Page(page([item(), Item("other", None, "is unmerged")], "t"))
    idents = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(idents) == len(set(idents))
    for svg in found.all("svg"):
        labelled = svg.get("aria-labelledby", "").split()
        assert (
            "aria-label" in svg or svg.get("aria-hidden") == "true" or set(labelled) <= set(idents)
        )
        assert "aria-label" in svg or labelled or svg.get("aria-hidden") == "true"
    tables, heads = found.all("table"), found.all("th")
    assert len(tables) == 2
    assert all(head.get("scope") in {"col", "row"} for head in heads)
    assert found.all("html", lang="en")
    assert "other" in found.words["code"]


def test_histograms_are_of_those_that_moved_most() -> None:
    found = Page(page([item()], "t"))
    assert len(found.all("figure", **{"class": "cell"})) == 20
    assert "lm_head.weight" in found.words["p"]


def test_equal_comparisons_give_equal_pages() -> None:
    assert page([item()], "t") == page([item()], "t")


def test_a_large_table_is_bounded_unless_all_is_asked_for() -> None:
    diff = diff_of([f"t{'x' * (i % 97)}{i}y" for i in range(2100)])
    few = page([Item("m", diff)], "t")
    assert few.count("<tr>") == 2001
    assert "and 100 tensors more" in few
    assert page([Item("m", diff)], "t", View(Detail.ALL)).count("<tr>") == 2101


def test_a_fragment_stands_in_a_page_of_others() -> None:
    text = fragment(item().diff or diff_of(["a"]))
    found = Page(text)
    assert found.tags[0][0] == "style"
    assert not found.all("script")
    assert not re.search(r"^body", text, re.MULTILINE)


def test_nothing_but_odd_values() -> None:
    old = version({f"h.{i}.w": ("f32", np.full(3, np.nan, np.float32)) for i in range(3)})
    new = version({f"h.{i}.w": ("f32", np.full(3, np.inf, np.float32)) for i in range(3)})
    diff = compare(old, new)
    found = Page(page([Item("m", diff, "", of_model(old, new, diff.tensors))], "t"))
    assert not found.all("circle")
    assert "Values that are not finite" in found.words["strong"]
