"""The documents and the program say the same: commands, options, exit codes, links.

That the example in docs/spec.md parses is held by tests/unit/objects/test_pointer.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import click
import pytest

from git_nn import errors
from git_nn.cli.main import COMMANDS, cli, main
from git_nn.errors import GitNNError

ROOT = Path(__file__).parents[2]
PAGES = sorted((*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")))
SOURCES = sorted(chain((ROOT / "git_nn").rglob("*.py"), (ROOT / "hooks").iterdir()))
# 'git nn NAME' with the words behind it, up to where a sentence or another command goes on
CALL = re.compile(r"git nn ([a-z][a-z-]*)((?: +[^\s`'\"&|;,()]+)*)")
CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
FAILURES = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, GitNNError) and kind is not GitNNError
]


def command(name: str) -> click.Command:
    found = cli.get_command(click.Context(cli), name)
    assert found is not None, f"there is no 'git nn {name}'"
    return found


def help_of(name: str) -> str:
    """The help as printed, on one line."""
    return help_text(command(name))


def help_text(command: click.Command) -> str:
    context = click.Context(command, help_option_names=["-h", "--help"])
    return " ".join(command.get_help(context).split())


def calls(text: str) -> Iterator[tuple[str, list[str]]]:
    """Commands of git-nn in a text, each with its options."""
    for name, words in CALL.findall(text):
        yield name, re.findall(r"(?<!\S)(--?[a-z][a-z-]*)", words)


def parameters(found: click.Command) -> list[click.Parameter]:
    """Those of a command and of the commands in it."""
    inner = found.commands.values() if isinstance(found, click.Group) else ()
    return [*found.params, *(param for one in inner for param in parameters(one))]


def anchors(page: Path) -> set[str]:
    """The names that a host gives to the headings of a page."""
    heads = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_explains_itself(name: str) -> None:
    assert len((command(name).help or "").splitlines()[0]) > 20
    options = [param for param in command(name).params if isinstance(param, click.Option)]
    assert all(option.help for option in options), name


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_its_exit_codes_mean(name: str) -> None:
    assert re.search(r"[Ee]xit codes?\b", help_of(name))


def test_the_page_of_commands_lists_what_the_help_lists() -> None:
    page = (ROOT / "docs/commands.md").read_text("utf-8")
    rows = re.findall(r"^\| `git nn ([a-z-]+)` \| (.+?) \|", page, re.MULTILINE)
    assert rows == list(COMMANDS.items())
    listed = help_text(cli).partition("Commands: ")[2]
    assert listed == " ".join(f"{name} {text}" for name, text in COMMANDS.items())


@pytest.mark.parametrize(("kind", "code"), [(k, k.exit_code) for k in FAILURES])
def test_the_page_of_commands_lists_every_exit_code(kind: type[GitNNError], code: int) -> None:
    page = (ROOT / "docs/commands.md").read_text("utf-8")
    codes = " ".join(re.findall(r"^\| ([0-9, ]+) \|", page, re.MULTILINE))
    assert re.search(rf"\b{code}\b", codes), kind


@pytest.mark.parametrize("path", [*PAGES, *SOURCES], ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_and_options_that_a_text_names_exist(path: Path) -> None:
    text = path.read_text("utf-8")
    for name, options in calls("\n".join(CODE.findall(text)) if path.suffix == ".md" else text):
        known = {o for p in parameters(command(name)) for o in (*p.opts, *p.secondary_opts)}
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


@pytest.mark.parametrize(
    ("typed", "end"),
    [
        ("commit -m x", "use plain 'git commit'; see 'git nn -h'\n"),
        ("stat", "; see 'git nn -h'\n"),
        ("pull --nope", "; see 'git nn pull -h'\n"),
    ],
)
def test_a_word_that_is_wrong_is_answered_in_one_line(
    typed: str, end: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says -h, since 'git nn --help' is Git's own and finds no manual page."""
    with pytest.raises(SystemExit) as ended:
        main(typed.split())
    told = capsys.readouterr().err
    assert (ended.value.code, told.count("\n")) == (2, 1)
    assert told.startswith("git-nn: ")
    assert told.endswith(end)


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 0
    assert "git nn install" in capsys.readouterr().out


def test_the_checks_see_what_they_are_to_see() -> None:
    found = list(calls("run 'git nn fsck --repair', then: git nn gc -n && git nn pull --nope a"))
    assert found == [("fsck", ["--repair"]), ("gc", ["-n"]), ("pull", ["--nope"])]
    assert sum(len(LINK.findall(page.read_text("utf-8"))) for page in PAGES) > 20
