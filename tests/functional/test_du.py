"""``git nn du`` agrees with the files of the store, and with what gc takes away."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tests.support.damage import forget_reflogs, packs
from tests.support.git import Repo
from tests.support.models import normal, safetensors_file

BASE = normal(1, 400, 300)
TUNED = (BASE * (1 + 1e-4 * normal(9, 400, 300))).astype(np.float32)
PACK_HEADER = 16  # docs/spec-store.md, section 4


def model(a: np.ndarray, b: int) -> bytes:
    return safetensors_file({"a": a, "b": normal(b, 200, 300)})


def du(repo: Repo, *options: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(repo.nn("du", "--json", *options).text)
    assert found.pop("version") == 1
    return found


def size_of_packs(repo: Repo) -> int:
    return sum(path.stat().st_size for path in packs(repo))


@pytest.fixture
def used(repo: Repo) -> Repo:
    """Three versions of one model: all, another b, and a fine-tuned a on a branch."""
    repo.write("m.safetensors", model(BASE, 1))
    repo.commit("base")
    repo.write("m.safetensors", model(BASE, 2))
    repo.commit("head")
    repo.git("switch", "-q", "-c", "side")
    repo.write("m.safetensors", model(TUNED, 2))
    repo.commit("tune")
    repo.git("switch", "-q", "main")
    return repo


def test_all_versions_of_the_only_file_are_all_that_is_stored(used: Repo) -> None:
    found = du(used)
    (file,) = found["files"]
    store = found["store"]
    assert store["size"] == size_of_packs(used)
    assert store["needed"] == store["size"] - PACK_HEADER * len(packs(used))
    assert file["history"]["stored"] == found["total"]["stored"] == store["needed"]
    assert (store["unneeded"], store["copies"], store["complete"]) == (0, 0, True)
    assert file["size"] == len(model(BASE, 2))


def test_versions_say_what_each_added_and_what_a_delta_saved(used: Repo) -> None:
    (file,) = du(used)["files"]
    commits = used.git("log", "--reverse", "--format=%H", "side").text.split()
    assert [one["commit"] for one in file["versions"]] == commits
    assert [one["subject"] for one in file["versions"]] == ["base", "head", "tune"]
    base, head, tune = (one["added"] for one in file["versions"])
    assert sum(one["stored"] for one in (base, head, tune)) == file["history"]["stored"]
    assert head["raw"] == 200 * 300 * 4
    assert tune["raw"] == 400 * 300 * 4
    assert (base["by_deltas"], head["by_deltas"]) == (0, 0)
    assert tune["by_deltas"] > tune["raw"] // 3


def test_a_version_that_only_the_index_has(used: Repo) -> None:
    used.write("m.safetensors", model(BASE, 3))
    used.git("add", ".")
    versions = du(used)["files"][0]["versions"]
    assert len(versions) == 4
    assert versions[-1]["commit"] == ""
    assert "  index " in used.nn("du", "--versions").text


def test_a_merge_may_bring_a_version_of_its_own(used: Repo) -> None:
    used.write("m.safetensors", model(BASE, 4))
    used.commit("other b")
    used.git("merge", "-q", "-m", "both", "side")
    versions = du(used)["files"][0]["versions"]
    assert len(versions) == 5
    assert (versions[-1]["subject"], versions[-1]["added"]["stored"]) == ("both", 0)


def test_what_a_dropped_branch_leaves_is_unneeded(used: Repo) -> None:
    tune = du(used)["files"][0]["versions"][-1]["added"]["stored"]
    used.git("branch", "-q", "-D", "side")
    forget_reflogs(used)
    assert du(used)["store"]["unneeded"] == tune
    assert "'git nn gc'" in used.nn("du").text
    used.nn("gc", "--grace", "0")
    store = du(used)["store"]
    assert (store["unneeded"], store["size"]) == (0, size_of_packs(used))


def test_paths_limit_the_files_and_not_the_store(used: Repo) -> None:
    used.write("sub/other.h5", normal(5, 30_000).tobytes())
    used.commit("other")
    whole = du(used)
    inner = Repo(used.path / "sub")
    found = du(inner, "other.h5")
    assert [file["path"] for file in found["files"]] == ["sub/other.h5"]
    assert [file["path"] for file in whole["files"]] == ["m.safetensors", "sub/other.h5"]
    assert found["store"] == whole["store"]
    assert found["total"]["stored"] < whole["total"]["stored"] == whole["store"]["needed"]


def test_files_that_share_count_once_in_the_total(used: Repo) -> None:
    used.write("copy.safetensors", model(BASE, 2))
    used.commit("copy")
    found = du(used)
    copy, m = found["files"]
    assert copy["stored"] == m["stored"] == found["current"]
    assert found["total"] == m["history"]


def test_raw_weights_in_git_take_nothing_in_the_store(used: Repo) -> None:
    raw = used.git("hash-object", "-w", "--stdin", stdin=b"raw weights").text.strip()
    used.git("update-index", "--add", "--cacheinfo", f"100644,{raw},raw.h5")
    found = du(used, "raw.h5")["files"][0]
    assert (found["in_git"], found["size"], found["stored"]["stored"]) == (True, 11, 0)
    assert "raw in Git" in used.nn("du").text


def test_the_table(used: Repo) -> None:
    lines = used.nn("du", "--tensors").text.splitlines()
    assert lines[0].split("  ")[0] == "path"
    assert lines[1].split()[0] == "m.safetensors"
    assert lines[1].split()[-1] == "3"
    assert lines[2].split()[0] == "total"
    start = lines.index("m.safetensors")
    names = [line.split()[0] for line in lines[start + 2 : start + 5]]
    assert names == ["a", "b", "(container)"]
    assert lines[-1].startswith("store: 3 packs, ")


def test_an_empty_repository(repo: Repo) -> None:
    found = du(repo)
    assert (found["files"], found["store"]["size"]) == ([], 0)
    assert "store: 0 packs, 0 B; 0 B needed" in repo.nn("du").text
