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


def test_a_touched_file_has_not_changed(used: Repo) -> None:
    (used.path / "m.safetensors").touch()
    assert status(used)["unstaged"] == []


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
