"""``git nn status`` and ``ls-files`` tell each state, and nothing that is not so."""

from __future__ import annotations

import json

import pytest

from tests.support.git import Repo
from tests.support.models import normal, safetensors_file


def model(a: int, b: int) -> bytes:
    return safetensors_file({"a": normal(a, 9), "b": normal(b, 9)})


def status(repo: Repo) -> dict[str, list[object]]:
    found: dict[str, list[object]] = json.loads(repo.nn("status", "--json").text)
    assert found.pop("version") == 1
    return found


@pytest.fixture
def used(repo: Repo) -> Repo:
    repo.write("m.safetensors", model(1, 1))
    repo.commit("base")
    return repo


def test_a_clean_repository(used: Repo) -> None:
    assert used.nn("status").text == "nothing to tell: 1 model, all as committed\n"
    assert used.nn("ls-files").text == "* m.safetensors\n"


def test_where_nothing_is_tracked_or_installed_the_next_step_is_told(used: Repo) -> None:
    used.nn("uninstall", "--local")
    assert used.nn("status").errors.endswith("run 'git nn install'\n")
    used.nn("install", "--local")
    assert used.nn("status").errors == ""
    used.git("rm", "-q", "--cached", "m.safetensors")
    used.git("commit", "-q", "-m", "none")
    assert used.nn("status").text == "no model is tracked here; to choose files: git nn track\n"


def test_staged_and_unstaged_changes_name_their_tensors(used: Repo) -> None:
    used.write("m.safetensors", model(2, 1))
    used.git("add", ".")
    used.write("m.safetensors", model(2, 2))
    used.write("new.h5", b"opaque")
    used.git("add", "new.h5")
    found = status(used)
    staged = [
        {"path": "m.safetensors", "summary": "1 changed of 2 tensors", "tensors": ["a"]},
        {"path": "new.h5", "summary": "new, 0 tensors", "tensors": []},
    ]
    unstaged = {"path": "m.safetensors", "summary": "1 changed of 2 tensors", "tensors": ["b"]}
    assert found["staged"] == staged
    assert found["unstaged"] == [unstaged]


def test_paths_are_those_that_one_can_type_here(used: Repo) -> None:
    for name in ("sub dir/b.h5", "sub dir/c.h5", "naïve\n.h5"):
        used.write(name, b"opaque")
        used.git("add", name)
    used.write("sub dir/b.h5", used.blob(":sub dir/b.h5"))
    (used.path / "sub dir/c.h5").unlink()
    (used.path / "m.safetensors").unlink()
    below = Repo(used.path / "sub dir")
    lines = ["  ../m.safetensors", '* "../naïve\\n.h5"', "- b.h5", "  c.h5"]
    assert below.nn("ls-files").text.splitlines() == lines
    assert below.nn("ls-files", ".").text.splitlines() == lines[2:]
    assert below.nn("ls-files", "../m.safetensors").text.splitlines() == lines[:1]
    told = below.nn("status").text
    assert "  ../m.safetensors: deleted\n" in told
    assert "  b.h5: new, 0 tensors\n" in told
    assert "(to get the weights: 'git nn pull'):\n  b.h5\n" in told
    assert status(below)["pointers"] == ["sub dir/b.h5"]
    files = json.loads(below.nn("ls-files", "--json", "b.h5").text)["files"]
    assert [file["path"] for file in files] == ["sub dir/b.h5"]


def test_one_version_of_a_file_is_named_as_for_git(used: Repo) -> None:
    used.write("sub/x.safetensors", model(3, 4))
    used.commit()
    top, below = used, Repo(used.path / "sub")
    for name in ("x.safetensors", "./x.safetensors", "../sub/x.safetensors", ":./x.safetensors",
                 "HEAD:./x.safetensors", ":0:./x.safetensors", ":0:sub/x.safetensors",
                 "HEAD:sub/x.safetensors", ":../sub/x.safetensors"):  # fmt: skip
        assert f"{name}   safetensors, 2 tensors" in below.nn("ls", name).text
    for name in ("HEAD:x.safetensors", ":x.safetensors"):
        below.nn("ls", name, code=2)
    shown = top.nn("show", "HEAD:sub/x.safetensors").text
    assert shown.startswith("sub/x.safetensors   safetensors, 2 tensors")
    assert below.nn("show", "HEAD:./x.safetensors").text == shown
    assert "try 'HEAD:./x.safetensors'" in below.nn("show", "HEAD:x.safetensors", code=2).errors
    wrong = below.nn("show", "x.safetensors", code=2).errors
    assert "try 'git nn show HEAD:./x.safetensors'" in wrong


def test_a_touched_file_has_not_changed(used: Repo) -> None:
    (used.path / "m.safetensors").touch()
    assert status(used)["unstaged"] == []


def test_a_file_as_long_as_its_pointer_is_none(used: Repo) -> None:
    text = used.blob("HEAD:m.safetensors")
    used.write("m.safetensors", text[:-2] + b"x\n")
    assert used.nn("ls-files").text == "* m.safetensors\n"
    assert status(used)["pointers"] == []
    assert used.nn("pull").text == "0 files written\n"
    used.write("m.safetensors", b"\0" * len(text))
    (change,) = json.loads(used.nn("status", "--json").text)["unstaged"]
    assert change["path"] == "m.safetensors"


def test_a_deleted_file(used: Repo) -> None:
    (used.path / "m.safetensors").unlink()
    assert status(used)["unstaged"] == [
        {"path": "m.safetensors", "summary": "deleted", "tensors": []}
    ]


def test_a_conflict_is_neither_staged_nor_unstaged(used: Repo) -> None:
    used.git("switch", "-q", "-c", "side")
    used.write("m.safetensors", model(1, 2))
    used.commit("side")
    used.git("switch", "-q", "main")
    used.write("m.safetensors", model(1, 3))
    used.commit("main")
    used.git("merge", "side", code=1)
    found = status(used)
    assert found["conflicts"] == [{"path": "m.safetensors", "tensors": ["b"]}]
    assert found["staged"] == []
    assert "git nn resolve" in used.nn("status").text
    used.git("merge", "--abort")
    assert status(used)["conflicts"] == []


def test_a_pointer_in_the_work_tree_and_a_raw_file_in_git(used: Repo) -> None:
    used.write("m.safetensors", used.blob("HEAD:m.safetensors"))
    raw = used.git("hash-object", "-w", "--stdin", stdin=model(5, 5)).text.strip()
    used.git("update-index", "--add", "--cacheinfo", f"100644,{raw},raw.h5")
    found = status(used)
    assert found["pointers"] == ["m.safetensors"]
    assert found["raw"] == ["raw.h5"]
    assert used.nn("ls-files").text == "- m.safetensors\n! raw.h5\n"


def stage(repo: Repo, name: str, content: bytes, mode: str = "100644") -> None:
    """Stage ``content`` as it is, past the filter."""
    blob = repo.git("hash-object", "-w", "--no-filters", "--stdin", stdin=content).text.strip()
    repo.git("update-index", "--add", "--cacheinfo", f"{mode},{blob},{name}")


@pytest.mark.parametrize(
    ("mode", "content", "what"),
    [
        ("100644", model(2, 2), "raw bytes instead of a pointer"),
        ("100644", b"", "an empty file instead of a pointer"),
        ("100644", b"git-nn pointer 1\ncut off", "a broken pointer instead of a pointer"),
        ("120000", b"elsewhere", "a link instead of a pointer"),
    ],
)
def test_what_is_staged_in_place_of_a_pointer_is_named(
    used: Repo, mode: str, content: bytes, what: str
) -> None:
    stage(used, "m.safetensors", content, mode)
    staged = [{"path": "m.safetensors", "summary": what, "tensors": []}]
    assert status(used)["staged"] == staged


def test_raw_bytes_that_become_a_pointer_are_not_new(used: Repo) -> None:
    used.write("r.h5", b"weights")
    stage(used, "r.h5", b"weights")
    used.git("commit", "-q", "-m", "raw")
    converted = "a pointer instead of raw bytes, 0 tensors"
    used.write("r.h5", b"other weights")
    assert status(used)["unstaged"] == [{"path": "r.h5", "summary": converted, "tensors": []}]
    used.git("add", "r.h5")
    assert status(used)["staged"] == [{"path": "r.h5", "summary": converted, "tensors": []}]


@pytest.mark.parametrize("command", ["status", "ls-files", "diff"])
def test_inside_of_the_git_folder_one_is_told_to_leave_it(used: Repo, command: str) -> None:
    told = Repo(used.path / ".git").nn(command, code=2).errors
    assert "there is no work tree" in told
    assert "check-attr" not in told
