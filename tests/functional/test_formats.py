"""Formats as a person meets them: what is listed, and formats of other packages."""

from __future__ import annotations

import json
import os
import venv
from pathlib import Path
from site import getsitepackages

import pytest

from git_nn.formats import table
from tests.support.git import Repo

PLUGIN = '''
from git_nn.objects.layout import Extent, Layout, Payload

NAME, VERSION, SUFFIXES = "lines", 1, (".lines",)
ABOUT = "tensors of four bytes behind a magic number"


def sniff(head):
    return head.startswith(b"LINES")


def layout(source):
    count = (source.size - 5) // 4
    payloads = [Payload(f"t{i}", "f32", (1,), (Extent(5 + 4 * i, 4),)) for i in range(count)]
    return Layout(NAME, VERSION, source.size, tuple(payloads))
'''  # fmt: skip
MODEL = b"LINES" + bytes(range(64))


@pytest.fixture
def here(tmp_path: Path) -> Repo:
    return Repo.create(tmp_path / "here", patterns=("*.lines",))


@pytest.fixture
def python(tmp_path: Path) -> str:
    """An interpreter with git-nn and another package, which has a format."""
    folder = tmp_path / "venv"
    venv.create(folder, with_pip=False)
    site = next(folder.glob("lib/python*/site-packages"))
    ours = [str(Path(__file__).parents[2]), *filter(os.path.isdir, getsitepackages())]
    (site / "ours.pth").write_text("".join(f"{path}\n" for path in ours))
    (site / "lines_format.py").write_text(PLUGIN)
    info = site / "lines-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: lines\nVersion: 1.0\n")
    entries = "[git_nn.formats]\nlines = lines_format\nbroken = no_such_module\n"
    (info / "entry_points.txt").write_text(entries)
    return str(folder / "bin" / "python")


def test_every_format_is_listed_with_what_it_is_for(here: Repo) -> None:
    listed = json.loads(here.nn("formats", "--json").out)["formats"]
    assert [row["name"] for row in listed] == [*table.FORMATS, *table.DESCRIBED, "opaque"]
    assert all(row["version"] >= 1 and row["about"] for row in listed)
    assert all(row["name"] in here.nn("formats").text for row in listed)


def test_a_format_of_another_package_is_used_and_never_needed(here: Repo, python: str) -> None:
    nn = (python, "-m", "git_nn.cli.main")
    listed = here.run(*nn, "formats").text
    assert "tensors of four bytes behind a magic number" in listed
    assert "broken" in listed
    here.run(*nn, "install", "--local")
    here.write("m.lines", MODEL)
    here.commit("split by the plug-in")
    assert b"layout lines 1" in here.blob("HEAD:m.lines")
    assert b"tensor t15\n" in here.blob("HEAD:m.lines")
    # where it is not installed: unmodified, though nothing here knows how to split it
    here.nn("install", "--local")
    here.write("m.lines", MODEL)
    assert here.status() == ""
    here.git("rm", "-q", "--cached", "m.lines")
    here.git("reset", "-q", "--hard")
    assert here.read("m.lines") == MODEL
    here.write("m.lines", MODEL + b"tail")
    here.git("add", "m.lines")
    assert b"layout opaque 1" in here.blob(":m.lines")
