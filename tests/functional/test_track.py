"""What track writes means to Git what the person typed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.git import Repo
from tests.support.models import normal, safetensors_file

MODEL = safetensors_file({"a": normal(1, 16)})


@pytest.fixture
def here(tmp_path: Path) -> Repo:
    """A repository with git-nn installed that tracks nothing."""
    return Repo.create(tmp_path / "here", patterns=())


def attributes(repo: Repo, *paths: str) -> dict[str, str]:
    """The attribute filter of each path, as Git reads it."""
    stdin = b"".join(os.fsencode(path) + b"\0" for path in paths)
    fields = repo.git("check-attr", "--stdin", "-z", "filter", stdin=stdin).out.split(b"\0")[:-1]
    return {os.fsdecode(p): v.decode() for p, v in zip(fields[::3], fields[2::3], strict=True)}


def test_track_writes_the_line_that_the_manual_names(here: Repo) -> None:
    here.nn("track", "*.h5")
    assert here.read(".gitattributes") == b"*.h5 filter=nn diff=nn merge=nn -text\n"


@pytest.mark.parametrize(
    ("pattern", "path", "other"),
    [
        ("*.h5", "deep/down/m.h5", "m.h55"),
        ("models/*.pt", "models/m.pt", "models/deep/m.pt"),
        ("models/**", "models/deep/m.pt", "m.pt"),
        ("my model.h5", "my model.h5", "my\tmodel.h5"),
        ("two  spaces*.h5", "two  spaces1.h5", "two spaces1.h5"),
        ("#1.h5", "#1.h5", "1.h5"),
        ("!1.h5", "!1.h5", "1.h5"),
        ('"q".h5', '"q".h5', "q.h5"),
        ('a "q" b.h5', 'a "q" b.h5', "a q b.h5"),
        ("end\\", "end\\", "end"),
        ("-dash.h5", "-dash.h5", "dash.h5"),
        ("--dash", "--dash", "dash"),
        ("modèle-é*.h5", "modèle-é1.h5", "modele-e1.h5"),
        ("模型 *.h5", "模型 1.h5", "模型1.h5"),
        ("new\nline.h5", "new\nline.h5", "newline.h5"),
        ("tab\t.h5", "tab\t.h5", "tab .h5"),
        ("\udcff\udcfe.h5", "\udcff\udcfe.h5", "\udcff.h5"),
        ("[attr]x", "ax", "[attr]x"),
        ("[ab].h5", "a.h5", "[ab].h5"),
        ("[[:space:]]x", " x", "x"),
        ("percent%20.h5", "percent%20.h5", "percent .h5"),
    ],
)
def test_git_reads_the_pattern_as_it_was_typed(
    here: Repo, pattern: str, path: str, other: str
) -> None:
    here.nn("track", "--", pattern)
    assert attributes(here, path, other) == {path: "nn", other: "unspecified"}
    before = here.read(".gitattributes")
    assert "already tracked" in here.nn("track", "--", pattern).text
    assert here.read(".gitattributes") == before
    here.nn("untrack", "--", pattern)
    assert attributes(here, path) == {path: "unspecified"}


@pytest.mark.parametrize(
    "name",
    ["*.h5", "a[1].h5", "what?.h5", "back\\slash.h5", "sp ace*.h5", "!b.h5", "#c.h5", "-d.h5"],
)
def test_a_file_that_exists_is_meant_literally(here: Repo, name: str) -> None:
    here.write(name, MODEL)
    here.nn("track", "--", name)
    others = ("x.h5", "a1.h5", "whats.h5", "backslash.h5", "sp aces.h5", "b.h5", f"sub/{name}")
    found = attributes(here, name, *others)
    assert found.pop(name) == "nn"
    assert set(found.values()) == {"unspecified"}
    here.nn("untrack", "--", name)
    assert attributes(here, name) == {name: "unspecified"}


def test_a_folder_means_all_that_is_in_it(here: Repo) -> None:
    here.write("zoo/deep/m.bin", MODEL)
    here.nn("track", "zoo/")
    assert attributes(here, "zoo/deep/m.bin", "zoo/x", "x") == {
        "zoo/deep/m.bin": "nn", "zoo/x": "nn", "x": "unspecified",
    }  # fmt: skip


def test_the_line_stands_in_the_folder_where_one_is(here: Repo) -> None:
    (here.path / "sub").mkdir()
    Repo(here.path / "sub").nn("track", "*.h5")
    assert not (here.path / ".gitattributes").exists()
    assert attributes(here, "sub/deep/m.h5", "m.h5") == {
        "sub/deep/m.h5": "nn", "m.h5": "unspecified",
    }  # fmt: skip
    assert here.nn("track").text == "*.h5 (sub/.gitattributes)\n"


def test_the_rest_of_the_file_stays_as_it_is(here: Repo) -> None:
    text = b"# comment\r\n\r\n*.png  binary\r\n*.h5 lockable"
    here.write(".gitattributes", text)
    here.nn("track", "*.h5")
    assert here.read(".gitattributes").startswith(text)
    assert here.git("check-attr", "-z", "lockable", "--", "m.h5").out.endswith(b"\0set\0")
    here.nn("untrack", "*.h5")
    assert here.read(".gitattributes") == text


def test_untracking_the_only_pattern_leaves_no_file(here: Repo) -> None:
    here.nn("track", "*.h5")
    assert "renormalize" in here.nn("untrack", "*.h5").text
    assert not (here.path / ".gitattributes").exists()


def test_untracking_what_is_not_tracked_says_so(here: Repo) -> None:
    here.nn("track", "*.h5")
    failed = here.nn("untrack", "*.pt", code=1)
    assert "*.pt is not tracked" in failed.errors
    assert attributes(here, "m.h5") == {"m.h5": "nn"}


def test_a_dry_run_writes_nothing(here: Repo) -> None:
    assert here.nn("track", "-n", "*.h5").text == "would track *.h5\n"
    assert not (here.path / ".gitattributes").exists()
    here.nn("track", "*.h5")
    here.nn("untrack", "-n", "*.h5")
    assert attributes(here, "m.h5") == {"m.h5": "nn"}


def test_an_attributes_file_that_is_a_link_is_refused(here: Repo) -> None:
    here.write("elsewhere", b"")
    (here.path / ".gitattributes").symlink_to("elsewhere")
    assert "symbolic link" in here.nn("track", "*.h5", code=2).errors
    assert here.read("elsewhere") == b""


def test_files_that_are_raw_in_git_are_told_of(here: Repo) -> None:
    here.write("m.safetensors", MODEL)
    here.commit()
    told = here.nn("track", "*.safetensors").errors
    assert "m.safetensors" in told
    assert "git add .gitattributes && git add --renormalize ." in told
    here.git("add", "--renormalize", ".")
    assert here.blob(":m.safetensors").startswith(b"git-nn pointer 1\n")
    assert "renormalize" not in here.nn("track", "*.safetensors").errors


def test_without_the_filter_track_says_what_to_run(tmp_path: Path) -> None:
    repo = Repo(tmp_path)
    repo.git("init", "-q", ".")
    assert "git nn install" in repo.nn("track", "*.h5").errors


def test_auto_proposes_patterns_for_weights_only(here: Repo) -> None:
    here.write("a.safetensors", MODEL)
    here.write("deep/b.safetensors", MODEL)
    here.write("no-ending", MODEL)
    here.write("sometimes.bin", MODEL)
    here.write("short.bin", b"no weights")
    here.write("large.ckpt", bytes(1024 * 1024))
    here.write("small.ckpt.txt", b"text")
    here.write("empty.pt", b"")
    here.write("ignored.h5", MODEL)
    here.write("lfs.pth", bytes(1024 * 1024))
    here.write(".gitignore", b"ignored.h5\n")
    here.write(".gitattributes", b"*.pth filter=lfs\n")
    assert here.nn("track", "--auto", "-n").text.splitlines() == [
        "would track /no-ending",
        "would track /sometimes.bin",
        "would track *.ckpt",
        "would track *.safetensors",
    ]
    assert here.read(".gitattributes") == b"*.pth filter=lfs\n"
    here.nn("track", "--auto")
    assert attributes(here, "deep/b.safetensors", "sometimes.bin", "short.bin") == {
        "deep/b.safetensors": "nn", "sometimes.bin": "nn", "short.bin": "unspecified",
    }  # fmt: skip
    assert "no weight files" in here.nn("track", "--auto").text


def test_auto_in_a_folder_looks_only_below_it(here: Repo) -> None:
    here.write("a.safetensors", MODEL)
    here.write("sub/b.h5.safetensors", MODEL)
    text = Repo(here.path / "sub").nn("track", "--auto").text
    assert text == "tracking *.safetensors\n"
    assert attributes(here, "a.safetensors") == {"a.safetensors": "unspecified"}


def test_outside_of_a_repository_track_is_an_error(tmp_path: Path) -> None:
    assert "not in a Git repository" in Repo(tmp_path).nn("track", "*.h5", code=2).errors
    assert not (tmp_path / ".gitattributes").exists()
