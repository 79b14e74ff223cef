"""git nn conflicts: what a merge left open, as data."""

from __future__ import annotations

import json
from typing import Any

from blake3 import blake3

from tests.support.git import Repo
from tests.support.models import safetensors_file
from tests.support.stock import MODEL, Past, arrays


def told(repo: Repo, *paths: str, code: int = 1) -> list[dict[str, Any]]:
    document = json.loads(repo.nn("conflicts", "--json", *paths, code=code).text)
    assert document["version"] == 1
    found: list[dict[str, Any]] = document["conflicts"]
    return found


def spec(version: str, name: str) -> dict[str, Any]:
    array = arrays(version)[name]
    oid = blake3(array.tobytes()).hexdigest()
    return {"dtype": "f32", "shape": list(array.shape), "oid": oid}


def test_a_conflict_is_told_as_data(past: Past) -> None:
    repo = past.fork("a1b1", "a2c1")
    repo.git("merge", "-q", "side", code=1)
    (file,) = told(repo)
    assert (file["path"], file["kind"]) == (MODEL, "tensors")
    assert file["blobs"] == {
        side: repo.git("rev-parse", f":{stage}:{MODEL}").text.strip()
        for stage, side in enumerate(("base", "ours", "theirs"), 1)
    }
    (tensor,) = file["tensors"]
    assert {key: tensor[key] for key in ("name", "why", "base", "ours", "theirs")} == {
        "name": "a",
        "why": "changed on both sides",
        "base": spec("", "a"),
        "ours": spec("a1", "a"),
        "theirs": spec("a2", "a"),
    }
    assert tensor["ways"][:4] == ["ours", "theirs", "base", "mean"]
    assert "ties" in tensor["ways"]
    repo.nn("resolve", "--theirs")
    assert told(repo, code=0) == []


def test_what_could_settle_a_tensor_is_what_does(past: Past) -> None:
    """Integers are never computed; without a base no strategy that needs one applies."""
    ours, theirs = (
        safetensors_file({**arrays(v), "step": arrays(v)["a"].astype("i8")}) for v in ("a1", "a2")
    )
    repo = past.fork({"x.safetensors": "a1"}, {"x.safetensors": "a2"}, base={"y": b"1"})
    for branch, data in (("side", theirs), ("main", ours)):
        repo.git("switch", "-q", branch)
        repo.write("i.safetensors", data)
        repo.commit("integers")
    repo.git("merge", "-q", "side", code=1)
    both, plain = told(repo)
    ways = {tensor["name"]: tensor["ways"] for tensor in both["tensors"]}
    assert ways["step"] == ["ours", "theirs"]
    assert "mean" in ways["a"]
    assert "task-arithmetic" not in ways["a"]
    (tensor,) = plain["tensors"]
    assert tensor["base"] is None
    for name in tensor["ways"]:
        option = [f"--{name}"] if name in ("ours", "theirs") else ["--strategy", name]
        if name in ("ours", "mean", tensor["ways"][-1]):
            repo.nn("resolve", *option, "--path", "x.safetensors")
            repo.git("checkout", "-q", "-m", "--", "x.safetensors")


def test_paths_choose_files_and_folders(past: Past) -> None:
    names = ["in/a.safetensors", "in/b.safetensors", "c.safetensors"]
    repo = past.fork(
        dict.fromkeys(names, "a1"), dict.fromkeys(names, "a2"), dict.fromkeys(names, "")
    )
    repo.git("merge", "-q", "side", code=1)
    assert [file["path"] for file in told(repo)] == sorted(names)
    assert [file["path"] for file in told(repo, "in")] == names[:2]
    assert [file["path"] for file in told(Repo(repo.path / "in"), "b.safetensors")] == names[1:2]
    assert told(repo, "elsewhere", code=0) == []
    text = repo.nn("conflicts", "in", code=1).text
    assert "in/a.safetensors: 1 tensor in conflict\n  a  f32 3x4  changed on both sides\n" in text
    assert "  by: ours, theirs, base, mean, task-arithmetic" in text


def test_conflicts_of_whole_files_are_told_with_the_reason(past: Past) -> None:
    text = {"t.safetensors": b"no weights\n"}
    repo = past.fork(
        {MODEL: None, "t.safetensors": b"ours\n"},
        {MODEL: "a1", "t.safetensors": b"theirs\n"},
        base={MODEL: "", **text},
    )
    repo.git("merge", "-q", "side", code=1)
    removed, whole = told(repo)
    assert removed == {
        "path": MODEL,
        "kind": "file",
        "why": "it was removed by ours and changed by the other side",
        "commands": [{"to": "keep it", "run": "git add"}, {"to": "remove it", "run": "git rm"}],
    }
    assert whole["kind"] == "whole"
    assert whole["why"]
    assert whole["ways"] == ["ours", "theirs", "base"]


def test_outside_of_a_merge_there_is_none(past: Past) -> None:
    repo = past.fork("a1", "b1")
    assert repo.nn("conflicts").text == "no model is in conflict\n"
    assert told(repo, code=0) == []
