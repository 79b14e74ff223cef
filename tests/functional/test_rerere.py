"""A conflict of a tensor that was settled before is settled in the same way again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from blake3 import blake3

from tests.support.git import Repo
from tests.support.models import safetensors_file
from tests.support.stock import MODEL, Past, arrays, holds, in_conflict, is_model, model


def settled(past: Past, *how: str) -> Repo:
    """A merge that was settled and taken back."""
    repo = past.fork("a1", "a2b1")
    repo.git("merge", "-q", "side", code=1)
    repo.nn("resolve", *how)
    repo.git("merge", "--abort")
    return repo


def records(repo: Repo) -> list[Path]:
    return sorted((repo.path / ".git/nn/settled").glob("*"))


def weighted(weight: float) -> np.ndarray:
    ours, theirs = (arrays(version)["a"].astype(np.float64) for version in ("a1", "a2"))
    return ((1 - weight) * ours + weight * theirs).astype(np.float32)


def test_what_was_settled_before_is_offered_and_taken(past: Past) -> None:
    repo = settled(past, "--theirs")
    told = repo.git("merge", "side", code=1).errors
    assert "1 settled before; to do so again: git nn resolve --again" in told
    in_conflict(repo, "a1b1", "a")
    done = repo.nn("resolve", "--again").text
    assert "1 tensor settled as before: theirs" in done
    repo.git("commit", "-q", "--no-edit")
    holds(repo, "a2b1")


def test_another_conflict_is_not_settled_by_it(past: Past) -> None:
    repo = settled(past, "--theirs")
    past.grow("other", "start", "a1c1")
    repo.git("switch", "-q", "other")
    past.grow("third", "start", "a1b2")
    repo.git("merge", "-q", "--no-edit", "third")  # the same a on both sides
    past.grow("more", "start", "b1c1")
    assert "settled before" not in repo.git("merge", "more", code=1).errors
    failed = repo.nn("resolve", "--again", code=1)
    assert "1 tensor still in conflict" in failed.text
    assert repo.git("ls-files", "-u").text.count("\n") == 3


def test_it_settles_by_itself_where_that_is_set_and_a_person_looks_first(past: Past) -> None:
    repo = settled(past, "--theirs")
    repo.git("config", "rerere.enabled", "true")
    told = repo.git("merge", "side", code=1).errors
    assert "1 tensor settled as before: theirs" in told
    assert "to accept: git nn resolve --again" in told
    is_model(repo, MODEL, arrays("a2b1"))
    assert repo.status() == f"UU {MODEL}\n"
    repo.nn("resolve", "--again")
    repo.git("commit", "-q", "--no-edit")
    holds(repo, "a2b1")


def test_with_auto_update_git_goes_on(past: Past) -> None:
    repo = settled(past, "--strategy", "mean:weight=0.3")
    repo.git("config", "nn.rerere", "true")
    repo.git("config", "rerere.autoUpdate", "true")
    told = repo.git("merge", "--no-edit", "side").errors
    assert "1 tensor settled as before: mean:weight=0.3" in told
    holds(repo, arrays("b1", a=weighted(0.3)))
    assert list((repo.path / ".git/nn/merge").glob("*.json")) == []


def test_swapped_sides_are_the_same_conflict(past: Past) -> None:
    """A rebase has the sides the other way round than the merge."""
    repo = settled(past, "--theirs")
    repo.git("switch", "-q", "side")
    assert "1 settled before" in repo.git("merge", "main", code=1).errors
    assert "settled as before: ours" in repo.nn("resolve", "--again").text
    is_model(repo, MODEL, arrays("a2b1"))
    repo.git("merge", "--abort")
    repo.git("merge", "-q", "main", code=1)
    repo.nn("resolve", "--strategy", "mean:weight=0.25")  # a later choice replaces the earlier
    repo.git("merge", "--abort")
    repo.git("switch", "-q", "main")
    repo.git("merge", "-q", "side", code=1)
    assert "settled as before: mean:weight=0.75" in repo.nn("resolve", "--again").text
    is_model(repo, MODEL, arrays("b1", a=weighted(0.75)))


def test_a_strategy_that_knows_first_and_second_is_not_swapped(past: Past) -> None:
    repo = settled(past, "--strategy", "nearswap")
    repo.git("switch", "-q", "side")
    assert "settled before" not in repo.git("merge", "main", code=1).errors
    in_conflict(repo, "a2b1", "a")


def test_a_side_that_was_taken_by_hand_is_remembered(past: Past) -> None:
    repo = past.fork("a1", "a2b1")
    repo.git("merge", "-q", "side", code=1)
    repo.git("checkout", "-q", "--theirs", MODEL)
    repo.git("add", MODEL)
    repo.git("commit", "-q", "--no-edit")
    repo.git("branch", "-f", "again", "start")
    past.grow("again", "start", "a1c1")
    repo.nn("conflicts")
    repo.git("switch", "-q", "again")
    assert "1 settled before" in repo.git("merge", "side", code=1).errors
    repo.nn("resolve", "--again")
    is_model(repo, MODEL, arrays("a2b1c1"))


def edited(past: Past) -> Repo:
    """A merge that was settled by writing a tensor that is neither side's; back before it."""
    repo = past.fork("a1", "a2b1")
    repo.git("merge", "-q", "side", code=1)
    repo.write(MODEL, safetensors_file(EDITED))
    repo.git("add", MODEL)
    repo.git("commit", "-q", "--no-edit")
    repo.git("reset", "-q", "--hard", "HEAD^")
    return repo


EDITED = arrays("b1") | {"a": np.full((3, 4), 7, np.float32)}


def test_a_tensor_that_was_edited_by_hand_is_offered_again(past: Past) -> None:
    repo = edited(past)
    assert "1 settled before" in repo.git("merge", "side", code=1).errors
    in_conflict(repo, "a1b1", "a")
    assert "1 tensor settled as before: as edited by hand" in repo.nn("resolve", "--again").text
    repo.nn("install", "--hooks")
    repo.git("commit", "-q", "--no-edit")
    is_model(repo, MODEL, EDITED)
    assert repo.status() == ""
    assert f"NN-Resolve: {MODEL} hand\n" in repo.git("log", "-1", "--format=%B").text
    assert "settled by hand" in repo.nn("merge", "--replay", "HEAD", code=1).text


def forget_all_but_branches(repo: Repo) -> None:
    repo.git("update-ref", "-d", "ORIG_HEAD")
    repo.git("reflog", "expire", "--expire=now", "--all")
    repo.git("gc", "-q", "--prune=now")


def test_what_was_edited_is_kept_by_gc_until_it_is_forgotten(past: Past) -> None:
    repo = edited(past)
    repo.nn("status")
    (record,) = records(repo)
    memory = record.read_text()
    content = json.loads(memory)["choice"]["content"]
    assert content["oid"] == blake3(EDITED["a"].tobytes()).hexdigest()
    forget_all_but_branches(repo)
    repo.nn("gc", "--grace", "0")
    repo.git("switch", "-q", "side")  # the sides swapped
    assert "1 settled before" in repo.git("merge", "main", code=1).errors
    repo.nn("resolve", "--again")
    is_model(repo, MODEL, EDITED)
    repo.git("merge", "--abort")
    assert "1 settled conflicts forgotten" in repo.nn("resolve", "--forget").text
    forget_all_but_branches(repo)
    assert "moved 1 pack to the trash" in repo.nn("gc", "--grace", "0").text
    record.write_text(memory.replace(content["oid"], "00" * 32), "ascii")
    assert "settled before" not in repo.git("merge", "main", code=1).errors  # it is not here


def test_a_rebase_learns_from_the_commit_before(past: Past) -> None:
    past.grow("start", None, "")
    past.grow("side", "start", "a2", "a2b1")
    past.grow("main", "start", "a1")
    repo = past.out("side")
    repo.git("rebase", "-q", "main", code=1)
    repo.git("checkout", "-q", "--theirs", MODEL)
    repo.git("add", MODEL)
    repo.nn("conflicts")
    (record,) = records(repo)
    assert json.loads(record.read_bytes())["choice"] == {"side": "theirs"}
    repo.git("rebase", "--continue")
    holds(repo, "a2b1")


def test_an_aborted_merge_teaches_nothing(past: Past) -> None:
    repo = past.fork("a1", "a2b1")
    repo.git("merge", "-q", "side", code=1)
    repo.git("merge", "--abort")
    repo.nn("conflicts")
    repo.write(MODEL, model("a1d1"))
    repo.git("commit", "-q", "-am", "goes on")
    assert "settled before" not in repo.git("merge", "side", code=1).errors
    assert records(repo) == []


def test_what_is_forgotten_is_a_conflict_again(past: Past) -> None:
    repo = settled(past, "--theirs")
    assert "0 settled conflicts forgotten" in repo.nn("resolve", "--forget", "other*").text
    assert "1 settled conflicts forgotten" in repo.nn("resolve", "--forget", "a*").text
    assert records(repo) == []
    assert "settled before" not in repo.git("merge", "side", code=1).errors
    assert "--forget goes alone" in repo.nn("resolve", "--forget", "--ours", code=2).errors


def test_nothing_is_remembered_where_that_is_switched_off(past: Past) -> None:
    repo = past.fork("a1", "a2b1")
    repo.git("config", "nn.rerere", "false")
    repo.git("merge", "-q", "side", code=1)
    repo.nn("resolve", "--theirs")
    assert records(repo) == []


def test_a_damaged_record_is_passed_over(past: Past) -> None:
    repo = settled(past, "--theirs")
    (record,) = records(repo)
    good = json.loads(record.read_bytes())
    assert good["choice"] == {"side": "theirs"}
    repo.git("merge", "-q", "side", code=1)
    for bad in (
        b"", b"{", b"[]",
        json.dumps({**good, "version": 2}).encode(),
        json.dumps({**good, "choice": {"side": "mine"}}).encode(),
        json.dumps({**good, "choice": {"strategy": "average", "parameters": {}}}).encode(),
        json.dumps({**good, "choice": {"strategy": "mean", "parameters": {"weight": 7}}}).encode(),
        json.dumps({**good, "ours": good["theirs"]}).encode(),
    ):  # fmt: skip
        record.write_bytes(bad)
        assert "1 tensor still in conflict" in repo.nn("resolve", "--again", code=1).text, bad
    record.write_bytes(json.dumps(good).encode())
    repo.nn("resolve", "--again")
    is_model(repo, MODEL, arrays("a2b1"))
