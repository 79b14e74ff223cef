"""git nn log, blame and heat maps: which commit changed which tensor, and how far."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import git_nn.cli.log
from git_nn.gitio.follow import Past
from git_nn.gitio.objects import open_reader
from git_nn.gitio.repository import find
from git_nn.history.blame import blame
from git_nn.history.versions import Versions, chosen, log
from git_nn.store.memory import MemoryStore
from tests.support import long_history
from tests.support.git import Repo
from tests.support.models import normal, safetensors_file

NAME = "m.safetensors"


def weights(**seeds: int) -> dict[str, np.ndarray]:
    """Four layers and a head; ``l2=77`` gives ``layers.2.w`` the values of seed 77."""
    wanted = {"l0": 0, "l1": 1, "l2": 2, "l3": 3, "head": 9} | seeds
    return {
        "head.w" if name == "head" else f"layers.{name[1:]}.w": normal(seed, 8, 4)
        for name, seed in wanted.items()
    }


def save(repo: Repo, message: str, minute: int, tensors: dict[str, Any], name: str = NAME) -> str:
    repo.write(name, safetensors_file(tensors))
    return commit(repo, message, minute)


def commit(repo: Repo, message: str, minute: int, *argv: str) -> str:
    """Commit everything (or run ``git argv``) at a time of its own."""
    when = f"2026-03-01T10:{minute:02}:00+0100"
    env = {"GIT_AUTHOR_DATE": when, "GIT_COMMITTER_DATE": when}
    repo.git("add", "-A")
    repo.git(*(argv or ("commit", "-q", "-m", message)), env=env)
    return repo.git("rev-parse", "HEAD").text.strip()


def commits(repo: Repo, *argv: str) -> list[dict[str, Any]]:
    found = json.loads(repo.nn("log", "--json", *argv).text)
    assert found["schema"] == "git-nn log 1"
    listed: list[dict[str, Any]] = found["commits"]
    return listed


def subjects(repo: Repo, *argv: str) -> list[str]:
    return [one["subject"] for one in commits(repo, *argv)]


def blamed(repo: Repo, *argv: str) -> dict[str, str]:
    found = json.loads(repo.nn("blame", "--json", *argv).text)
    assert found["schema"] == "git-nn blame 1"
    return {row["name"]: row["subject"] for row in found["rows"]}


@pytest.fixture
def line(repo: Repo) -> Repo:
    """Four commits in a row: base, layer 2, notes (no model), layer 3 and head."""
    save(repo, "base", 0, weights())
    save(repo, "two", 1, weights(l2=77))
    repo.write("notes.txt", b"notes\n")
    commit(repo, "notes", 2)
    save(repo, "three and head", 3, weights(l2=77, l3=78, head=79))
    return repo


@pytest.fixture
def forked(repo: Repo) -> Repo:
    """Main changes layer 0 and side layer 1; merged they are both."""
    save(repo, "base", 0, weights())
    repo.git("checkout", "-q", "-b", "side")
    save(repo, "side: one", 1, weights(l1=71))
    repo.git("checkout", "-q", "main")
    save(repo, "main: zero", 2, weights(l0=70))
    commit(repo, "", 3, "merge", "-q", "-m", "merge", "side")
    return repo


def test_the_log_lists_the_commits_that_changed_the_model(line: Repo) -> None:
    text = line.nn("log", NAME).text
    short = line.git("log", "--format=%h", "--", NAME).text.split()
    lines = text.splitlines()
    assert [one.split()[0] for one in lines if not one.startswith(" ")] == short
    assert lines[0] == f"{short[0]}  2026-03-01  A U Thor  three and head"
    assert lines[1].startswith("    2 changed, 3 same; rel Δ ")
    assert lines[-2:] == [f"{short[-1]}  2026-03-01  A U Thor  base", "    new file, 5 tensors"]


def test_the_numbers_are_those_of_the_arrays(line: Repo) -> None:
    entry = commits(line, NAME)[0]
    old, new = weights(l2=77), weights(l2=77, l3=78, head=79)
    deltas = {name: (new[name] - old[name].astype("f8"), old[name]) for name in old}

    def size(*names: str) -> float:
        moved, before = (
            np.concatenate([deltas[n][i].astype("f8").ravel() for n in names]) for i in (0, 1)
        )
        return float(np.linalg.norm(moved) / np.linalg.norm(before))

    assert entry["relative"] == pytest.approx(size("layers.3.w", "head.w"), rel=1e-7)
    found = {one["name"]: one["numbers"] for one in entry["tensors"]}
    assert found.keys() == {"layers.3.w", "head.w"}
    for name, numbers in found.items():
        assert numbers["relative"] == pytest.approx(size(name), rel=1e-7)
        assert numbers["max_abs"] == pytest.approx(float(np.abs(deltas[name][0]).max()), rel=1e-7)
        assert numbers["elements"] == 32
    sizes = [one["numbers"]["relative"] for one in entry["tensors"]]
    assert sizes == sorted(sizes, reverse=True)


def test_patterns_choose_tensors_and_name_modules(line: Repo) -> None:
    assert subjects(line, NAME, "layers.2.*") == ["two", "base"]
    assert subjects(line, NAME, "layers.2") == ["two", "base"]
    assert subjects(line, NAME, "*.w") == ["three and head", "two", "base"]
    assert subjects(line, NAME, "layers.0.w", "head.w") == ["three and head", "base"]
    assert subjects(line, NAME, "layer") == []
    entry = commits(line, NAME, "head.w")[0]
    assert [one["name"] for one in entry["tensors"]] == ["head.w"]
    text = line.nn("log", "-n1", NAME, "head*").text
    assert "    1 changed; rel Δ " in text


def test_a_start_a_range_a_number_and_a_date_bound_the_log(line: Repo) -> None:
    assert subjects(line, "HEAD~1", NAME) == ["two", "base"]
    assert subjects(line, "HEAD~2", "--", NAME) == ["two", "base"]
    assert subjects(line, "HEAD~3..HEAD", "--", NAME) == ["three and head", "two"]
    assert subjects(line, "-n", "1", NAME) == ["three and head"]
    assert subjects(line, "--since", "2026-03-01T10:01:00+0100", NAME) == ["three and head", "two"]
    assert subjects(line, "-n", "0", NAME) == []


def test_paths_are_taken_from_the_current_folder(repo: Repo) -> None:
    save(repo, "base", 0, weights(), "sub dir/m.safetensors")
    below = Repo(repo.path / "sub dir")
    assert subjects(below, "m.safetensors") == ["base"]
    assert commits(below, "m.safetensors")[0]["path"] == "sub dir/m.safetensors"


def test_wrong_words_are_told_of(line: Repo) -> None:
    for words in ([], ["nonsense"], ["HEAD"], ["nonsense", "--", NAME], ["A..B", "--", NAME]):
        line.nn("log", *words, code=2)
        line.nn("blame", *words, code=2)
    line.nn("log", "--since", "x" * 9, "--", NAME)  # Git reads any date, as in git log
    line.nn("blame", NAME, "no.such", code=2)
    assert "no commits yet" in Repo.create(line.path / "new").nn("log", NAME, code=2).errors


def test_without_numbers_nothing_is_read(line: Repo) -> None:
    shutil.rmtree(line.path / ".git" / "nn")
    entry = commits(line, "--no-numbers", NAME)[0]
    assert entry["counts"] == {"same": 3, "changed": 2}
    assert [one["numbers"] for one in entry["tensors"]] == [None, None]
    text = line.nn("log", "--no-numbers", NAME).text
    assert "    2 changed, 3 same\n    ~ head.w\n    ~ layers.3.w\n" in text


def test_weights_that_are_not_here_leave_the_rest_to_be_told(line: Repo) -> None:
    shutil.rmtree(line.path / ".git" / "nn")
    done = line.nn("log", NAME)
    assert "    2 changed, 3 same\n    ~ head.w      values are not here\n" in done.text
    assert blamed(line, NAME)["head.w"] == "three and head"
    picture = line.nn("log", "--heatmap", NAME).text
    assert "? changed" in picture


def test_show_tells_which_commit_changed_the_model_last(line: Repo) -> None:
    line.write("notes.txt", b"more\n")
    commit(line, "more notes", 4)
    last = line.git("rev-parse", "HEAD~1").text[:10]
    text = line.nn("show", f"HEAD:{NAME}").text
    assert f"no change; last changed 2026-03-01 in {last} three and head\n" in text
    assert "last changed" not in line.nn("show", f"HEAD~1:{NAME}").text


def test_more_than_is_quickly_read_is_read_only_on_request(
    line: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two tensors of 128 bytes, old and new, are within 600 bytes; the one before no more."""
    monkeypatch.chdir(line.path)
    monkeypatch.setattr("git_nn.cli.log.BYTES", 600)
    runner = CliRunner()
    short = runner.invoke(git_nn.cli.log.command, ["--json", NAME])
    numbers = [one["relative"] for one in json.loads(short.stdout)["commits"]]
    assert [number is None for number in numbers] == [False, True, True]
    assert "without numbers for 1 commit," in short.stderr
    whole = runner.invoke(git_nn.cli.log.command, ["--json", "--numbers", NAME])
    assert [one["relative"] is None for one in json.loads(whole.stdout)["commits"]] == [
        False, False, True,
    ]  # fmt: skip


def test_renames_of_the_file_are_followed_as_git_follows_them(line: Repo) -> None:
    line.git("mv", NAME, "other.safetensors")
    commit(line, "moved", 4)
    save(line, "after", 5, weights(l2=77, l3=78, head=80), "other.safetensors")
    git = line.git("log", "--follow", "--format=%s", "--", "other.safetensors").text.split("\n")
    assert subjects(line, "other.safetensors") == git[:-1]
    entry = commits(line, "other.safetensors")[1]
    assert (entry["path"], entry["old_path"]) == ("other.safetensors", NAME)
    assert entry["tensors"] == []
    assert (
        f"the file was {NAME} before\n    no tensor changed\n"
        in line.nn("log", "other.safetensors").text
    )
    assert blamed(line, "other.safetensors") == {
        "head.w": "after", "layers.0.w": "base", "layers.1.w": "base", "layers.2.w": "two",
        "layers.3.w": "three and head",
    }  # fmt: skip


def test_a_rename_on_one_branch_is_no_rename_on_the_other(repo: Repo) -> None:
    """Here ``git log --follow`` loses one side."""
    save(repo, "base", 0, weights())
    repo.git("checkout", "-q", "-b", "side")
    save(repo, "side: one", 1, weights(l1=71))
    repo.git("checkout", "-q", "main")
    repo.git("mv", NAME, "n.safetensors")
    commit(repo, "main: moved", 2)
    save(repo, "main: zero", 3, weights(l0=70), "n.safetensors")
    commit(repo, "", 4, "merge", "-q", "-m", "merge", "side")
    assert subjects(repo, "n.safetensors") == [
        "merge", "main: zero", "main: moved", "side: one", "base",
    ]  # fmt: skip
    assert blamed(repo, "n.safetensors")["layers.1.w"] == "side: one"


def test_a_merge_that_made_a_new_version_is_listed_and_its_branches_too(forked: Repo) -> None:
    assert subjects(forked, NAME) == ["merge", "main: zero", "side: one", "base"]
    entry = commits(forked, NAME)[0]
    assert len(entry["parents"]) == 2
    assert [(one["name"], one["own"]) for one in entry["tensors"]] == [("layers.1.w", False)]
    assert "; merged, 0 in no parent\n" in forked.nn("log", NAME).text
    assert subjects(forked, NAME, "layers.1.w") == ["side: one", "base"]
    assert blamed(forked, NAME) == {
        "head.w": "base", "layers.0.w": "main: zero", "layers.1.w": "side: one",
        "layers.2.w": "base", "layers.3.w": "base",
    }  # fmt: skip


def test_a_merge_that_took_one_side_leaves_the_other_out_as_git_does(forked: Repo) -> None:
    forked.git("checkout", "-q", "-b", "more", "side")
    save(forked, "more", 5, weights(l1=72))
    forked.git("checkout", "-q", "main")
    commit(forked, "", 6, "merge", "-q", "-s", "ours", "-m", "ours", "more")
    git = forked.git("log", "--format=%s", "--", NAME).text.splitlines()
    assert subjects(forked, NAME) == git == ["merge", "main: zero", "side: one", "base"]


def test_a_merge_that_changes_a_tensor_itself_is_blamed_for_it(forked: Repo) -> None:
    forked.git("reset", "-q", "--hard", "HEAD^")
    forked.git("merge", "-q", "--no-commit", "side")
    save(forked, "evil", 5, weights(l0=70, l1=71, l2=99))
    own = {one["name"]: one["own"] for one in commits(forked, NAME)[0]["tensors"]}
    assert own == {"layers.1.w": False, "layers.2.w": True}
    assert subjects(forked, NAME, "layers.2.w") == ["evil", "base"]
    assert blamed(forked, NAME)["layers.2.w"] == "evil"


def test_a_tensor_that_got_another_name_keeps_its_commit(line: Repo) -> None:
    tensors = weights(l2=77, l3=78, head=79)
    tensors["lm_head.w"] = tensors.pop("head.w")
    save(line, "rename", 4, tensors)
    entry = commits(line, NAME)[0]
    assert [(one["kind"], one["was"], one["name"]) for one in entry["tensors"]] == [
        ("renamed", "head.w", "lm_head.w")
    ]
    assert "    → head.w → lm_head.w\n" in line.nn("log", "-n1", NAME).text
    assert blamed(line, NAME)["lm_head.w"] == "three and head"
    assert subjects(line, NAME, "head.w")[0] == "rename"


def test_layers_behind_an_inserted_one_keep_their_commits(line: Repo) -> None:
    old = weights(l2=77, l3=78, head=79)
    new = {"layers.0.w": normal(50, 8, 4), "head.w": old["head.w"]}
    new |= {f"layers.{i + 1}.w": old[f"layers.{i}.w"] for i in range(4)}
    save(line, "insert", 4, new)
    assert blamed(line, NAME) == {
        "head.w": "three and head", "layers.0.w": "insert", "layers.1.w": "base",
        "layers.2.w": "base", "layers.3.w": "two", "layers.4.w": "three and head",
    }  # fmt: skip


def test_a_file_that_was_deleted_and_added_again(line: Repo) -> None:
    line.git("rm", "-q", NAME)
    commit(line, "delete", 4)
    assert [one["state"] for one in commits(line, "HEAD", "--", NAME)][:2] == ["deleted", "changed"]
    line.nn("blame", "HEAD", "--", NAME, code=2)
    save(line, "again", 5, weights(l2=77, l3=78, head=79))
    git = line.git("log", "--format=%s", "--", NAME).text.splitlines()
    assert subjects(line, NAME) == git
    assert "    deleted, 5 tensors\n" in line.nn("log", NAME).text
    assert set(blamed(line, NAME).values()) == {"again"}


def test_groups_are_blamed_for_their_latest_change(line: Repo) -> None:
    rows = json.loads(line.nn("blame", "--group", "--json", NAME).text)["rows"]
    assert [(row["name"], row["subject"], row["tensors"]) for row in rows] == [
        ("head", "three and head", ["head.w"]),
        ("layers.0", "base", ["layers.0.w"]), ("layers.1", "base", ["layers.1.w"]),
        ("layers.2", "two", ["layers.2.w"]), ("layers.3", "three and head", ["layers.3.w"]),
    ]  # fmt: skip


def test_blame_is_in_columns_and_says_how_far(line: Repo) -> None:
    rows = line.nn("blame", NAME).text.splitlines()
    starts = {row.index(name) for row, name in zip(rows, sorted(weights()), strict=True)}
    assert len(starts) == 1
    old, new = weights()["layers.2.w"], weights(l2=77)["layers.2.w"]
    size = np.linalg.norm(new - old.astype("f8")) / np.linalg.norm(old)
    assert f"  {size:.1e}  layers.2.w  two" in rows[3]
    assert "  added    layers.0.w  base" in rows[1]


def test_the_heat_map_shows_layers_and_commits(line: Repo, tmp_path: Path) -> None:
    save(line, "new and nan", 4, {
        **weights(l2=77, l3=78, head=79), "extra.w": normal(5, 3),
        "layers.0.w": np.full((8, 4), np.nan, "f4"),
    })  # fmt: skip
    found = json.loads(line.nn("log", "--heatmap", "--json", NAME).text)
    assert found["schema"] == "git-nn heatmap 1"
    cells = {row["layer"]: row["cells"] for row in found["rows"]}
    assert [*cells] == ["extra", "head", "layers.0", "layers.1", "layers.2", "layers.3"]
    assert cells["layers.0"] == ["new", "same", "same", "not finite"]
    assert cells["layers.1"] == ["new", "same", "same", "same"]
    assert cells["extra"] == ["absent", "absent", "absent", "new"]
    text = line.nn("log", "--heatmap", NAME).text
    assert "layers.0  ++++        !!!!\n" in text
    line.nn("log", NAME, "--svg", str(tmp_path / "a.svg"), "--png", str(tmp_path / "a.png"))
    assert (tmp_path / "a.svg").read_text("utf-8").startswith("<svg ")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    line.nn("log", NAME, "--svg", str(tmp_path / "none" / "a.svg"), code=2)


def test_the_drift_of_a_layer_counts_its_tensors_that_stayed(repo: Repo) -> None:
    first = {"a.0.bias": normal(1, 4), "a.0.kernel": normal(2, 4, 4), "b": normal(3, 4)}
    second = {**first, "a.0.bias": normal(4, 4)}
    save(repo, "base", 0, first)
    save(repo, "bias", 1, second)
    rows = json.loads(repo.nn("log", "--heatmap", "--json", NAME).text)["rows"]
    cells = {row["layer"]: row["cells"] for row in rows}
    whole = np.concatenate([first["a.0.bias"], first["a.0.kernel"].ravel()]).astype("f8")
    moved = np.linalg.norm(second["a.0.bias"].astype("f8") - first["a.0.bias"])
    assert cells["a.0"][1] == pytest.approx(moved / np.linalg.norm(whole), rel=1e-7)
    assert cells["b"] == ["new", "same"]


def test_raw_weights_in_git_count_as_the_pointer_that_they_would_have(repo: Repo) -> None:
    repo.write(".gitattributes", b"")
    save(repo, "raw", 0, weights())
    repo.nn("track", "*.safetensors")
    repo.git("add", "--renormalize", ".")
    commit(repo, "tracked", 1)
    save(repo, "trained", 2, weights(l0=5))
    assert subjects(repo, NAME) == ["trained", "tracked", "raw"]
    entries = commits(repo, NAME)
    assert entries[1]["tensors"] == []
    assert blamed(repo, NAME)["layers.1.w"] == "raw"


def test_a_broken_version_is_told_of_and_the_log_goes_on(line: Repo) -> None:
    broken = line.blob(f"HEAD:{NAME}").replace(b"f32", b"f33")
    blob = line.git("hash-object", "-w", "--stdin", stdin=broken).text.strip()
    line.git("update-index", "--cacheinfo", f"100644,{blob},{NAME}")
    line.git("commit", "-q", "-m", "broken", env={"GIT_COMMITTER_DATE": "2026-03-01T10:04:00Z"})
    entries = commits(line, NAME)
    assert [one["subject"] for one in entries][:2] == ["broken", "three and head"]
    assert "pointer" in entries[0]["problem"]
    assert "    cannot be read: " in line.nn("log", NAME).text
    line.nn("blame", NAME, code=6)


def test_a_shallow_clone_begins_where_it_was_cut(line: Repo, tmp_path: Path) -> None:
    line.git("clone", "-q", "--depth", "1", f"file://{line.path}", str(tmp_path / "cut"))
    cut = Repo(tmp_path / "cut")
    assert subjects(cut, "--no-numbers", NAME) == ["three and head"]
    assert set(blamed(cut, NAME).values()) == {"three and head"}


def test_a_bare_repository(line: Repo, tmp_path: Path) -> None:
    line.git("clone", "-q", "--bare", str(line.path), str(tmp_path / "bare"))
    bare = Repo(tmp_path / "bare")
    assert subjects(bare, NAME) == ["three and head", "two", "base"]
    assert blamed(bare, "HEAD", "--", NAME)["layers.2.w"] == "two"


def test_a_sha256_repository(tmp_path: Path) -> None:
    """libgit2 cannot open it; the walk is the same."""
    repo = Repo(tmp_path / "new")
    repo.path.mkdir()
    repo.git("init", "-q", "--object-format=sha256", ".")
    repo.nn("install", "--local")
    repo.nn("track", "*.safetensors")
    save(repo, "base", 0, weights())
    repo.git("mv", NAME, "n.safetensors")
    commit(repo, "moved", 1)
    save(repo, "two", 2, weights(l2=77), "n.safetensors")
    assert subjects(repo, "n.safetensors") == ["two", "moved", "base"]
    assert len(commits(repo, "n.safetensors")[0]["commit"]) == 64
    assert blamed(repo, "n.safetensors")["layers.2.w"] == "two"


@pytest.mark.parametrize(("changed", "seconds"), [(3, 2.0), (300, 4.0)])
def test_a_thousand_commits_of_three_hundred_tensors(
    tmp_path: Path, changed: int, seconds: float
) -> None:
    """The walk, the pointers and the blame; the bounds are of processor time."""
    path = long_history.long_history(tmp_path / "long", 1000, 300, changed).path
    repo = find(path, os.environ)
    name = long_history.NAME.encode()
    with open_reader(repo) as reader:
        past, versions = Past(repo, reader), Versions(reader, MemoryStore())
        head = repo.git("rev-parse", "HEAD").decode().strip()
        begin = time.process_time()
        found = list(log(past, versions, head, name, chosen(())))
        spent = time.process_time() - begin
        assert len(found) == 1000
        assert sum(len(one.moves.kinds) for one in found) == 300 + 999 * changed
        last = blame(past, versions, head, name, versions.names(found[0].step.blob))
        assert len({one.step.commit.id for one in last}) == 300 // changed
    assert spent < seconds
