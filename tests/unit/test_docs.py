"""The documents and the program say the same: commands, options, exit codes, links.

That the example in docs/spec.md parses is held by tests/unit/objects/test_pointer.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import click
import pytest

from git_nn.cli.main import COMMANDS, cli

ROOT = Path(__file__).parents[2]
PAGES = sorted((*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")))
SOURCES = sorted(chain((ROOT / "git_nn").rglob("*.py"), (ROOT / "hooks").iterdir()))
# 'git nn NAME' with the words behind it, up to where a sentence or another command goes on
CALL = re.compile(r"git nn ([a-z][a-z-]*)((?: +[^\s`'\"&|;,()]+)*)")
CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
# Commands whose help does not say yet what their exit codes mean (git_nn/errors.py has them).
WITHOUT_CODES = {
    "uninstall", "track", "status", "ls-files", "ls", "show", "resolve", "env", "formats",
}  # fmt: skip
WITHOUT_PAGE = {"untrack"}


def but(missing: set[str], reason: str) -> list[Any]:
    """All commands; those of ``missing`` must fail until somebody mends them."""
    mark = pytest.mark.xfail(strict=True, reason=reason)
    return [pytest.param(name, marks=[mark] if name in missing else []) for name in COMMANDS]


def command(name: str) -> click.Command:
    found = cli.get_command(click.Context(cli), name)
    assert found is not None, f"there is no 'git nn {name}'"
    return found


def help_of(name: str) -> str:
    """The help as printed, on one line."""
    context = click.Context(command(name), info_name=name, help_option_names=["-h", "--help"])
    return " ".join(command(name).get_help(context).split())


def calls(text: str) -> Iterator[tuple[str, list[str]]]:
    """Commands of git-nn in a text, each with its options."""
    for name, words in CALL.findall(text):
        yield name, re.findall(r"(?<!\S)(--?[a-z][a-z-]*)", words)


def anchors(page: Path) -> set[str]:
    """The names that a host gives to the headings of a page."""
    heads = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_explains_itself(name: str) -> None:
    assert len((command(name).help or "").splitlines()[0]) > 20
    options = [param for param in command(name).params if isinstance(param, click.Option)]
    assert all(option.help for option in options), name


@pytest.mark.parametrize("name", but(WITHOUT_CODES, "the help has no exit codes"))
def test_every_command_says_what_its_exit_codes_mean(name: str) -> None:
    assert re.search(r"[Ee]xit codes?\b", help_of(name))


@pytest.mark.parametrize("name", but(WITHOUT_PAGE, "no page tells of it"))
def test_every_command_is_in_the_documents(name: str) -> None:
    shown = re.compile(rf"(git nn |git-nn |`){name}\b(?!-)")
    assert any(shown.search(page.read_text("utf-8")) for page in PAGES), name


@pytest.mark.parametrize("path", [*PAGES, *SOURCES], ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_and_options_that_a_text_names_exist(path: Path) -> None:
    text = path.read_text("utf-8")
    for name, options in calls("\n".join(CODE.findall(text)) if path.suffix == ".md" else text):
        known = {o for p in command(name).params for o in (*p.opts, *p.secondary_opts)}
        assert set(options) <= known | {"-h", "--help"}, f"git nn {name} {options}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text("utf-8")):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name}: {link}"
        assert target.resolve().is_relative_to(ROOT), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


def test_the_checks_see_what_they_are_to_see() -> None:
    found = list(calls("run 'git nn fsck --repair', then: git nn gc -n && git nn pull --nope a"))
    assert found == [("fsck", ["--repair"]), ("gc", ["-n"]), ("pull", ["--nope"])]
    assert sum(len(LINK.findall(page.read_text("utf-8"))) for page in PAGES) > 20
