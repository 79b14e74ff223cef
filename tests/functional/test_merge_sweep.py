"""A sweep tries values of a parameter by the person's own command, and merges with the best."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.functional.test_merge import MODEL, X, Y, model, start
from tests.support.git import Repo

# Prints the mean square distance of tensor a from 0.3 X + 0.7 Y, and remembers what it was given.
SCRIPT = """
import os, sys
import numpy as np
sys.path.insert(0, {root!r})
from tests.support.models import read_safetensors
from tests.functional.test_merge import X, Y
path = sys.argv[1]
dtype, shape, data = read_safetensors(open(path, "rb").read())["a"]
a = np.frombuffer(data, "<f4").reshape(shape)
print("tensors 4, distance", float(((a - (0.3 * X + 0.7 * Y)) ** 2).mean()))
with open({seen!r}, "a") as seen:
    print(os.environ["GIT_NN_SWEEP_VALUE"], path, os.getcwd(), file=seen)
"""


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    return start(tmp_path, model(a=X), model(a=Y)).repo


def command(tmp_path: Path) -> str:
    script = tmp_path / "measure.py"
    root = str(Path(__file__).parents[2])
    script.write_text(SCRIPT.format(root=root, seen=str(tmp_path / "seen")), "utf-8")
    return f"'{sys.executable}' '{script}'"


def state(repo: Repo) -> tuple[str, str, bytes]:
    return repo.git("rev-parse", "HEAD").text, repo.status(), repo.read(MODEL)


def test_the_best_value_is_merged_and_a_dry_run_only_shows(repo: Repo, tmp_path: Path) -> None:
    before = state(repo)
    words = ("-s", "mean", "--sweep", "weight=0.5,0.7", "--eval", command(tmp_path))
    table = repo.nn("merge", *words, "--minimise", "--dry-run", "side").text.splitlines()
    assert [line.split()[0] for line in table] == ["weight", "0.5", "0.7", "best:"]
    far, near = (float(line.split()[1]) for line in table[1:3])
    assert far > 1e-3
    assert near < 1e-12
    assert table[3].startswith("best: weight=0.7 (")
    assert state(repo) == before
    seen = [line.split(" ", 1) for line in (tmp_path / "seen").read_text("utf-8").splitlines()]
    assert [value for value, _ in seen] == ["0.5", "0.7"]
    for _, rest in seen:
        path, _, folder = rest.rpartition(" ")
        assert path.endswith(MODEL)
        assert str(repo.path / ".git/nn/tmp") in path
        assert not Path(path).exists()
        assert folder == str(repo.path)
    repo.nn("merge", *words, "--no-edit", "side")  # the largest metric, that is
    x, y = X.astype("f8"), Y.astype("f8")
    assert repo.read(MODEL) == model(a=((x + y) / 2).astype("f4"))
    assert "mean:weight=0.5" in repo.git("log", "-1", "--format=%B").text


STOPPED = [
    (["weight=0.5", "--eval", "exit 3"], "ended with status 3 at 0.5"),
    (["weight=0.5", "--eval", "echo done; : {}"], "printed no number at 0.5"),
    (["weight=0.5", "--eval", "echo nan; : {}"], "NaN for every value"),
    (["weight=0.5"], "--sweep needs a strategy and a command"),
    (["weight=0:2:1", "--eval", "echo 1"], "use a number from 0 to 1"),
]


def test_what_cannot_be_measured_or_tried_stops_it(repo: Repo) -> None:
    before = state(repo)
    for words, told in STOPPED:
        done = repo.nn("merge", "-s", "mean", "--sweep", *words, "side", code=2)
        assert told in done.errors
    assert state(repo) == before
    assert list((repo.path / ".git/nn/tmp").glob("sweep-*")) == []
    repo.git("switch", "-q", "-c", "same", "side")
    words = ("-s", "mean", "--sweep", "weight=1", "--eval", "echo 1", "side")
    assert "nothing to try" in repo.nn("merge", *words, code=2).errors
