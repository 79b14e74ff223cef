"""The views of git diff and git nn diff, with the real git: on terminals, in files, by settings."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from git_nn.differences.style import columns
from tests.support.git import Repo
from tests.support.models import safetensors_file
from tests.support.terminal import on_terminal
from tests.unit.diff.pairs import transformer

NAME = "model.safetensors"
REVS = ("HEAD~1", "HEAD")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def trained(repo: Repo) -> Repo:
    """The small transformer before and after training, committed."""
    for version in transformer():
        arrays = {name: np.asarray(version.array(name)) for name in version.pointer.by_name}
        repo.write(NAME, safetensors_file(arrays))
        repo.commit("step")
    return repo


def rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if line[:2] in {"~ ", "+ ", "- "}]


def test_many_tensors_are_grouped_and_settings_say_otherwise(trained: Repo) -> None:
    for command in (trained.git, trained.nn):
        grouped = command("diff", *REVS).text
        assert "~ model.layers.[0-11].self_attn.q_proj.weight" in grouped
        assert "! model.layers.7.mlp.up.weight: Inf 0 → 1 of 128 values" in grouped
    for settings, check in (
        ({"view": "all"}, lambda text: len(rows(text)) == 56),
        ({"view": "tree"}, lambda text: "\n        self_attn" in text),
        ({"view": "all", "top": "3"}, lambda text: len(rows(text)) == 3),
        ({"view": "all", "sort": "name"}, lambda text: rows(text)[0].startswith("~ lm_head")),
    ):
        words = [w for key, value in settings.items() for w in ("-c", f"nn.diff.{key}={value}")]
        assert check(trained.git(*words, "diff", *REVS).text), settings
        assert check(trained.git(*words, "nn", "diff", *REVS).text), settings
    odd = trained.git("-c", "nn.diff.view=sideways", "diff", *REVS).text
    assert "cannot be compared: nn.diff.view is 'sideways'" in odd
    trained.git("-c", "nn.diff.view=sideways", "nn", "diff", *REVS, code=2)


def test_options_choose_what_is_shown(trained: Repo) -> None:
    nn = trained.nn
    assert len(rows(nn("diff", "--all", *REVS).text)) == 56
    assert len(rows(nn("diff", "--pattern", "*q_proj*", *REVS).text)) == 12
    assert len(rows(nn("diff", "--top", "2", *REVS).text)) == 2
    assert "    self_attn" in nn("diff", "--tree", *REVS).text
    assert rows(nn("diff", "--all", "--sort", "size", *REVS).text)[0].startswith("~ lm_head")
    assert " | 4 ~~~~\n" in nn("diff", "--stat", *REVS).text
    document = json.loads(nn("diff", "--json", "--pattern", "*q_proj*", "--top", "4", *REVS).text)
    (file,) = document["files"]
    assert [tensor["name"].split(".")[2] for tensor in file["tensors"]] == ["11", "10", "9", "8"]
    assert file["counts"]["changed"] == 53
    settled = trained.git("-c", "nn.diff.sort=name", "nn", "diff", "--json", *REVS).text
    assert settled == nn("diff", "--json", *REVS).text


def test_markdown_and_pages(trained: Repo, tmp_path: Path) -> None:
    text = trained.nn("diff", "--md", *REVS).text
    assert text.startswith(f"### `{NAME}`\n\n**53 changed, 2 added, 1 removed, 22 same of 78")
    assert "<details><summary>56 tensors</summary>" in text
    page = tmp_path / "page.html"
    both = trained.nn("diff", "--md", "--html", str(page), *REVS).text
    assert both == text
    found = page.read_text("utf-8")
    assert found == trained.nn("diff", "--html", "-", *REVS).text
    assert "<title>HEAD~1 → HEAD</title>" in found
    assert found.count('<figure class="cell">') == 20
    assert trained.nn("diff", "--html", str(page), *REVS).out == b""
    assert "cannot write" in trained.nn("diff", "--html", "/", *REVS, code=2).errors
    trained.nn("diff", "--html", "-", "--md", *REVS, code=2)


@pytest.mark.parametrize("width", [60, 80, 120, 200])
@pytest.mark.parametrize("program", ["git", "git nn"])
def test_lines_fit_the_terminal_and_are_coloured_there(
    trained: Repo, width: int, program: str
) -> None:
    nn = [sys.executable, "-m", "git_nn.cli.main"]
    argv = [*(["git", "-c", "core.pager=cat"] if program == "git" else nn), "diff", *REVS]
    shown = on_terminal(argv, trained.path, width)
    assert "\x1b[33m~ lm_head.weight" in shown
    plain = _COLOUR.sub("", shown)
    table = plain[plain.index(f"{NAME}   53") :]  # what is above is Git's
    assert max(map(columns, table.splitlines())) <= width
    assert len(rows(plain)) == 10
    assert "▁" in plain


def test_a_terminal_without_unicode_gets_ascii(trained: Repo) -> None:
    argv = [sys.executable, "-m", "git_nn.cli.main", "diff", *REVS]
    shown = on_terminal(argv, trained.path, 120, LC_ALL="C")
    assert shown.isascii()
    assert "max rel d" in shown
    assert "::" in shown or ":-" in shown
    piped = trained.nn("diff", *REVS, env={"LC_ALL": "C"}).text
    assert "max rel Δ" in piped  # a file is UTF-8, whoever writes it
