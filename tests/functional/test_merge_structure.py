"""Merges through Git in which a side changed names, layers, dtypes or the container."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from tests.support import gguf_file
from tests.support.branches import MODEL, Branches
from tests.support.models import (
    normal,
    safetensors_arrays,
    safetensors_file,
    safetensors_metadata,
)

Arrays = dict[str, np.ndarray]
A, B, C, D, X, Y = (normal(i, 4, 3) for i in range(6))


def model(**metadata: str) -> tuple[Arrays, dict[str, str]]:
    layers = {f"model.layers.{i}.w": normal(20 + i, 3, 3) for i in range(4)}
    return {"model.embed": A, **layers, "model.head": B}, {"format": "pt", **metadata}


def inserted(made: Arrays, at: int, array: np.ndarray) -> Arrays:
    """A layer put in at a number; those behind it have one more."""
    found = {}
    for name, value in made.items():
        words = name.split(".")
        if words[1] == "layers" and int(words[2]) >= at:
            words[2] = str(int(words[2]) + 1)
        found[".".join(words)] = value
    return {**found, f"model.layers.{at}.w": array}


def test_a_rename_an_inserted_layer_and_epochs_merge_and_the_rest_is_asked_for(
    tmp_path: Path,
) -> None:
    """Ours put a layer in and theirs trained; one tensor was trained by both."""
    base, start = model(epoch="1")
    fresh, mine, other = normal(50, 3, 3), normal(51, 3, 3), normal(52, 3, 3)
    ours = inserted({**base, "model.layers.2.w": mine}, 1, fresh)
    theirs = {**base, "model.layers.2.w": other, "model.layers.3.w": X[:3], "model.head": Y}
    made = Branches.create(
        tmp_path / "repo",
        safetensors_file(base, start),
        safetensors_file(ours, {**start, "epoch": "5"}),
        safetensors_file(theirs, {**start, "epoch": "7", "lr": "1e-4"}),
    )
    done = made.repo.git("merge", "--no-edit", "side", code=1)
    moved = "model.layers.1-3 are model.layers.2-4"
    assert f"ours inserted model.layers.1: {moved}; theirs' changes follow" in done.errors
    assert "both sides changed epoch beside the tensors; ours is kept" in done.errors
    assert "  model.layers.3.w  f32 3x3  changed on both sides" in done.errors
    kept = safetensors_arrays(made.repo.read(MODEL))
    assert kept["model.layers.3.w"].tobytes() == mine.tobytes()
    made.repo.nn("resolve", "--theirs")
    made.repo.git("commit", "-q", "--no-edit")
    assert made.repo.status() == ""
    data = made.repo.read(MODEL)
    assert safetensors_metadata(data) == {**start, "epoch": "5", "lr": "1e-4"}
    expected = inserted(theirs, 1, fresh)
    found = safetensors_arrays(data)
    assert {n: a.tobytes() for n, a in found.items()} == {
        n: a.tobytes() for n, a in expected.items()
    }
    assert made.records() == []


def test_a_rebase_takes_training_onto_a_renamed_and_cast_model(tmp_path: Path) -> None:
    base, start = model()
    renamed = {n.replace("model.", "net."): a for n, a in base.items()}
    theirs = {**base, "model.head": Y}
    files = (safetensors_file(m, start) for m in (base, renamed, theirs))
    made = Branches.create(tmp_path / "repo", *files)
    made.repo.git("switch", "-q", "side")
    made.repo.git("rebase", "-q", "main")
    made.repo.git("switch", "-q", "main")
    halves = {name: array.astype(np.float16) for name, array in renamed.items()}
    made.put(MODEL, safetensors_file(halves, start), "cast")
    made.repo.git("switch", "-q", "side")
    made.repo.git("rebase", "-q", "main")
    assert made.repo.status() == ""
    found = safetensors_arrays(made.repo.read(MODEL))
    expected = {**halves, "net.head": Y.astype(np.float16)}
    assert {n: a.tobytes() for n, a in found.items()} == {
        n: a.tobytes() for n, a in expected.items()
    }


def test_the_setting_makes_a_container_that_both_changed_a_conflict(tmp_path: Path) -> None:
    versions = (
        safetensors_file({"a": a, "b": b}, {"epoch": e})
        for a, b, e in ((A, B, "1"), (X, B, "2"), (A, Y, "3"))
    )
    made = Branches.create(tmp_path / "repo", *versions)
    made.repo.git("config", "nn.merge.skeleton", "conflict")
    done = made.repo.git("merge", "--no-edit", "side", code=1)
    assert "both sides changed the container, and nn.merge.skeleton is conflict" in done.errors
    made.repo.git("merge", "--abort")
    made.repo.git("config", "nn.merge.skeleton", "theirs")
    made.repo.git("merge", "-q", "--no-edit", "side")
    data = made.repo.read(MODEL)
    assert safetensors_metadata(data) == {"epoch": "3"}
    assert safetensors_arrays(data)["a"].tobytes() == X.tobytes()
    made.repo.git("reset", "-q", "--hard", "HEAD~")
    made.repo.git("config", "nn.merge.skeleton", "mine")
    done = made.repo.git("merge", "--no-edit", "side", code=1)
    assert "nn.merge.skeleton is 'mine'" in done.errors


def test_a_quantised_weight_and_its_scale_are_taken_from_one_side(tmp_path: Path) -> None:
    codes = np.arange(12, dtype=np.int8).reshape(4, 3)
    versions = (
        safetensors_file({"l.weight": w, "l.weight_scale": s, "norm": n})
        for w, s, n in ((codes, A, B), (codes + 1, A, B), (codes, X, Y))
    )
    made = Branches.create(tmp_path / "repo", *versions)
    done = made.repo.git("merge", "--no-edit", "side", code=1)
    assert "1 tensor from theirs; 2 tensors in conflict" in done.errors
    assert "of a quantised weight and its scales the sides changed different ones" in done.errors
    refused = made.repo.nn("resolve", "--strategy", "mean", code=1)
    assert "i8 values are never computed with" in refused.text + refused.errors
    found = safetensors_arrays(made.repo.read(MODEL))
    assert found["l.weight_scale"].tobytes() == A.tobytes()  # not the mean beside our codes
    made.repo.nn("resolve", "--theirs")
    found = safetensors_arrays(made.repo.read(MODEL))
    assert {n: a.tobytes() for n, a in found.items()} == {
        "l.weight": codes.tobytes(),
        "l.weight_scale": X.tobytes(),
        "norm": Y.tobytes(),
    }


def quantised(*words: int, extra: bool = False) -> bytes:
    """A GGUF file of tensors in blocks of 32 values, each full of one byte."""
    tensors: dict[str, gguf_file.Spec] = {
        f"blk.{i}.w": ("q4_0", (2, 32), bytes([word]) * 36) for i, word in enumerate(words)
    }
    if extra:
        tensors["new"] = ("f32", (2,), struct.pack("<2f", words[0], 1))
    return gguf_file.write(tensors)


def test_quantised_blocks_and_unknown_bytes_conflict_with_a_reason(tmp_path: Path) -> None:
    rules = "*.gguf filter=nn diff=nn merge=nn -text\n*.bin filter=nn diff=nn merge=nn -text\n"
    files = quantised(1, 1), quantised(2, 1), quantised(3, 4)
    made = Branches.create(tmp_path / "repo", *files, name="m.gguf", attributes=rules)
    done = made.repo.git("merge", "--no-edit", "side", code=1, env={"GIT_NN_MERGE": "mean"})
    assert "blk.0.w  q4_0 2x32  changed on both sides; q4_0 values are never" in done.errors
    assert made.repo.read("m.gguf") == quantised(2, 4)
    made.repo.git("merge", "--abort")
    made.put("m.gguf", quantised(2, 1, extra=True), "ours grows")
    made.put("secret.bin", b"\x93" * 99, "ours")
    made.repo.git("switch", "-q", "side")
    made.put("m.gguf", quantised(3, 4, 5), "theirs grows")
    made.put("secret.bin", b"\x94" * 99, "theirs")
    made.repo.git("switch", "-q", "main")
    done = made.repo.git("merge", "--no-edit", "side", code=1)
    assert "1 tensor in conflict, ours kept:\n  blk.0.w  q4_0 2x32  changed on" in done.errors
    assert "both sides changed it, and git-nn sees no tensors in it" in done.errors
    assert made.repo.read("secret.bin") == b"\x93" * 99
    made.repo.nn("resolve", "--theirs")
    tensors = {f"blk.{i}.w": ("q4_0", (2, 32), bytes([w]) * 36) for i, w in enumerate((3, 4))}
    tensors["new"] = ("f32", (2,), struct.pack("<2f", 2, 1))
    tensors["blk.2.w"] = ("q4_0", (2, 32), bytes([5]) * 36)
    assert made.repo.read("m.gguf") == gguf_file.write(tensors)
    assert made.repo.git("ls-files", "-u").text == ""
    assert made.repo.read("secret.bin") == b"\x94" * 99
