"""Real fine-tunes of real digits, merged by git: the merge must know what both parents know."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from statistics import mean

import pytest

pytestmark = pytest.mark.interop

SCRIPT = Path(__file__).parent.parent.parent / "scripts" / "accuracy.py"
KNOWING_BOTH = ("slerp", "ties", "iso-c", "della:lambda=0.5", "fisher", "regmean")
MERGES = ("mean", "task-arithmetic", "task-arithmetic:lambda=0.5", *KNOWING_BOTH)


@pytest.fixture(scope="module")
def scores() -> dict[str, tuple[float, float]]:
    """Accuracy in percent on the digits 0 to 4 and 5 to 9, of every version."""
    argv = [sys.executable, str(SCRIPT), "--tasks=classes", "--seeds=1", "--json", "--merges"]
    done = subprocess.run([*argv, *MERGES], capture_output=True, timeout=240)
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)["classes"]
    return {name: (one[0], one[1]) for name, one in found.items()}


def test_each_parent_knows_one_half_only(scores: dict[str, tuple[float, float]]) -> None:
    for name, known in (("ours", 0), ("theirs", 1)):
        assert scores[name][known] > 90, name
        assert scores[name][1 - known] < 40, name


def test_the_mean_beats_both_parents_and_the_ancestor(
    scores: dict[str, tuple[float, float]],
) -> None:
    both = mean(scores["mean"])
    assert both > mean(scores["base"]) + 2
    assert both > max(mean(scores["ours"]), mean(scores["theirs"])) + 20
    assert min(scores["mean"]) > 80


@pytest.mark.parametrize("name", KNOWING_BOTH)
def test_a_merge_knows_both_halves(scores: dict[str, tuple[float, float]], name: str) -> None:
    assert min(scores[name]) > 60, "one parent is lost"
    assert mean(scores[name]) > mean(scores["mean"]) - 12


def test_adding_half_of_both_changes_is_the_mean(scores: dict[str, tuple[float, float]]) -> None:
    half = scores["task-arithmetic:lambda=0.5"]
    assert half == pytest.approx(scores["mean"], abs=0.5)


def test_adding_both_changes_whole_overshoots(scores: dict[str, tuple[float, float]]) -> None:
    """What docs/merge.md warns of: lambda = 1 costs where the changes are not independent."""
    assert mean(scores["task-arithmetic"]) < mean(scores["mean"]) - 3
    assert min(scores["task-arithmetic"]) > 50
