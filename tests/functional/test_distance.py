"""git nn distance with the real git: between commits, index, work tree and files."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.support.git import Repo
from tests.support.models import normal, safetensors_file

NAME = "m.safetensors"
BASE = {"a": normal(1, 6, 4), "b": normal(2, 8)}
STEP = {"a": (BASE["a"] * np.float32(1.5)), "b": BASE["b"]}


def step(a: np.ndarray, b: np.ndarray) -> float:
    """‖b - a‖ / (‖a‖ + ‖b‖), in plain Python."""
    x, y = a.astype(float).ravel().tolist(), b.astype(float).ravel().tolist()
    apart = math.sqrt(math.fsum((q - p) ** 2 for p, q in zip(x, y, strict=True)))
    return apart / (math.sqrt(math.fsum(p * p for p in x)) + math.sqrt(math.fsum(q * q for q in y)))


MOVED = 24 * step(BASE["a"], STEP["a"]) / 32


@pytest.fixture
def stepped(repo: Repo) -> Repo:
    repo.write(NAME, safetensors_file(BASE, {"format": "pt", "epoch": "1"}))
    repo.commit("base")
    repo.write(NAME, safetensors_file(STEP, {"format": "pt", "epoch": "2"}))
    repo.commit("step")
    return repo


def measured(repo: Repo, *words: str, code: int = 0) -> dict[str, object]:
    found: dict[str, object] = json.loads(repo.nn("distance", "--json", *words, code=code).text)
    return found


def number(repo: Repo, *words: str) -> float:
    return float(repo.nn("distance", *words).text.splitlines()[0])


def test_between_two_commits(stepped: Repo) -> None:
    found = measured(stepped, "HEAD~1", "HEAD")
    assert found["schema"] == "git-nn distance 1"
    assert found["structure"] == {"low": 0, "high": 0}
    assert found["parameters"]["low"] == pytest.approx(MOVED, abs=1e-8)  # type: ignore[index]
    assert found["metadata"] == {"low": 0.5, "high": 0.5}
    assert found["distance"] == pytest.approx(0.6 * MOVED + 0.1 * 0.5, abs=1e-8)
    assert measured(stepped, "HEAD", "HEAD~1")["distance"] == found["distance"]
    text = stepped.nn("distance", "HEAD~1", "HEAD").text
    assert text.splitlines()[0] == f"{found['distance']:.4g}"
    assert text.splitlines()[1].split() == ["structure", "0", "x", "0.3"]
    assert number(stepped, "HEAD~1..HEAD") == number(stepped, "HEAD~1", "HEAD")
    assert number(stepped, "HEAD", "HEAD") == 0


def test_index_work_tree_and_files(stepped: Repo, tmp_path: Path) -> None:
    far = number(stepped, "HEAD~1", "HEAD")
    assert number(stepped, "HEAD~1") == far
    assert number(stepped) == number(stepped, "--cached") == 0
    stepped.write(NAME, safetensors_file(BASE, {"format": "pt", "epoch": "1"}))
    assert number(stepped) == far
    assert number(stepped, "--cached") == 0
    stepped.git("add", NAME)
    assert number(stepped) == 0
    assert number(stepped, "--cached") == far
    plain = Repo(tmp_path / "plain")
    plain.write("a/m.safetensors", safetensors_file(BASE, {"format": "pt", "epoch": "1"}))
    plain.write("b/m.safetensors", safetensors_file(STEP, {"format": "pt", "epoch": "2"}))
    pair = ("a/m.safetensors", "b/m.safetensors")
    assert number(plain, *pair) == number(plain, "--no-index", *pair) == far
    plain.write("a/params.json", b'{"lr": 1, "seed": 2}')
    assert number(plain, *pair) == far
    plain.write("b/params.json", b'{"lr": 2, "seed": 2}')
    assert measured(plain, *pair)["metadata"] == {"low": 0.5, "high": 0.5}
    plain.write("b/params.json", b'{"lr": 1, "seed": 2}')
    assert measured(plain, *pair)["metadata"] == {"low": 0.25, "high": 0.25}


def test_training_files_beside_the_model_count_though_it_is_the_same(stepped: Repo) -> None:
    stepped.write("params.yaml", b"train:\n  lr: 0.1\n  seed: 1\n")
    stepped.write("sub/params.json", b'{"x": 1}')
    stepped.commit("parameters")
    stepped.write("params.yaml", b"train:\n  lr: 0.2\n  seed: 1\n")
    stepped.write("sub/params.json", b'{"x": 2}')
    stepped.commit("other parameters")
    found = measured(stepped, "HEAD~1", "HEAD")
    assert found["parameters"] == {"low": 0, "high": 0}
    assert found["metadata"] == {"low": 0.25, "high": 0.25}  # of format, epoch, lr and seed
    assert measured(stepped, "HEAD~2", "HEAD")["metadata"] == {"low": 0, "high": 0}


def test_weights_by_option_and_setting(stepped: Repo) -> None:
    revs = ("HEAD~1", "HEAD")
    only = ("--structure", "0", "--parameters", "1", "--metadata", "0")
    assert number(stepped, *revs, *only) == pytest.approx(MOVED, rel=1e-3)
    stepped.git("config", "nn.distance.parameters", "0")
    stepped.git("config", "nn.distance.structure", "0")
    assert number(stepped, *revs) == 0.5
    assert number(stepped, *revs, "--structure", "0.1") == 0.25
    assert "not all of them 0" in stepped.nn("distance", *revs, "--metadata", "0", code=2).errors
    for odd in ("-1", "nan", "inf", "x"):
        stepped.nn("distance", *revs, f"--metadata={odd}", code=2)
    stepped.git("config", "nn.distance.metadata", "lots")
    assert "nn.distance.metadata is 'lots'" in stepped.nn("distance", *revs, code=2).errors


def test_models_that_are_the_same_or_come_and_go_count_by_their_elements(stepped: Repo) -> None:
    stepped.write("same.safetensors", safetensors_file({"w": normal(3, 32)}))
    stepped.commit("another")
    found = measured(stepped, "HEAD~1", "HEAD")
    assert found["distance"] == pytest.approx(32 / 64)
    stepped.write(NAME, safetensors_file(BASE, {"format": "pt", "epoch": "2"}))
    stepped.commit("back")
    both = measured(stepped, "HEAD~1", "HEAD")
    assert both["parameters"]["low"] == pytest.approx(MOVED / 2, abs=1e-8)  # type: ignore[index]
    assert [file["path"] for file in both["files"]] == [NAME, "same.safetensors"]  # type: ignore[attr-defined]
    lone = measured(stepped, "HEAD~1", "HEAD", "--", NAME)
    assert lone["parameters"]["low"] == pytest.approx(MOVED, abs=1e-8)  # type: ignore[index]
    rows = stepped.nn("distance", "HEAD~1", "HEAD").text.splitlines()[4:]
    assert [row.split()[0] for row in rows] == [NAME, "same.safetensors"]


def test_without_the_weights_a_range_is_given(stepped: Repo) -> None:
    shutil.rmtree(stepped.path / ".git" / "nn")
    found = measured(stepped, "HEAD~1", "HEAD", code=3)
    assert found["distance"] is None
    assert found["unread"] == 1
    assert found["parameters"] == {"low": 0, "high": 0.75}
    assert found["metadata"] == {"low": 0, "high": 1}
    assert found["structure"] == {"low": 0, "high": 0}
    text = stepped.nn("distance", "HEAD~1", "HEAD", code=3).text
    assert text.startswith("0..0.55\n")
    assert "values of 1 tensor are not known; to get what is not here: git nn pull" in text
    assert number(stepped, "HEAD", "HEAD") == 0


def test_what_cannot_be_compared_is_an_error(stepped: Repo) -> None:
    assert "no model on either side" in stepped.nn("distance", "--", "x.safetensors", code=2).errors
    assert "neither a revision" in stepped.nn("distance", "nonsense", code=2).errors
    blob = b"<<<<<<< ours\n" + stepped.blob(f"HEAD:{NAME}")
    oid = stepped.git("hash-object", "-w", "--stdin", "--no-filters", stdin=blob).text.strip()
    stepped.git("update-index", "--add", "--cacheinfo", f"100644,{oid},{NAME}")
    stepped.git("commit", "-q", "-m", "broken")
    assert f"{NAME} cannot be compared" in stepped.nn("distance", "HEAD~1", "HEAD", code=2).errors
