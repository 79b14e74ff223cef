"""git merge with strategies that measure the tensor first, through the real driver."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.support.branches import MODEL, Branches
from tests.support.models import normal, safetensors_arrays, safetensors_file

BASE, OURS, THEIRS = (normal(i, 40, 30) for i in (201, 202, 203))


def start(folder: Path, attributes: str) -> Branches:
    """The branches changed ``w`` both, and each a tensor of its own."""
    made = [
        safetensors_file({"a": a, "b": b, "w": w})
        for a, b, w in ((BASE, BASE, BASE), (OURS, BASE, OURS), (BASE, THEIRS, THEIRS))
    ]
    return Branches.create(folder, *made, attributes=attributes)


def merged(branches: Branches) -> dict[str, np.ndarray]:
    branches.repo.git("merge", "-q", "--no-edit", "side")
    assert branches.repo.status() == ""
    found = safetensors_arrays(branches.repo.read(MODEL))
    assert found["a"].tobytes() == OURS.tobytes()
    assert found["b"].tobytes() == THEIRS.tobytes()
    return found


def test_ties_merges_two_branches_of_a_model(tmp_path: Path) -> None:
    branches = start(tmp_path / "repo", "*.safetensors nn-merge=ties:density=0.3\n")
    o, a, b = (side.astype(np.float64) for side in (BASE, OURS, THEIRS))
    changes = []
    for change in (a - o, b - o):
        least = np.sort(np.abs(change), axis=None)[-360]  # 30 % of 1200
        changes.append(np.where(np.abs(change) >= least, change, 0))
    x, y = changes
    same, total = x * y > 0, x + y
    larger = np.where(np.abs(x) > np.abs(y), x, y)
    expected = (o + np.where(same, total / 2, larger)).astype(np.float32)
    assert merged(branches)["w"].tobytes() == expected.tobytes()
    branches.repo.nn("fsck")


def test_dare_gives_the_same_bytes_in_another_repository_and_when_sides_are_swapped(
    tmp_path: Path,
) -> None:
    line = "*.safetensors nn-merge=dare-linear:density=0.4\n"
    once = merged(start(tmp_path / "one", line))["w"]
    assert merged(start(tmp_path / "two", line))["w"].tobytes() == once.tobytes()
    swapped = start(tmp_path / "three", line)
    swapped.repo.git("switch", "-q", "side")
    swapped.repo.git("merge", "-q", "--no-edit", "main")
    found = safetensors_arrays(swapped.repo.read(MODEL))["w"]
    assert found.tobytes() == once.tobytes()
    moved = (once != BASE).mean()
    assert 0.55 < moved < 0.73  # 1 - 0.6 * 0.6


def test_base_goes_back_in_one_tensor_and_only_there(tmp_path: Path) -> None:
    branches = start(tmp_path / "repo", "*.safetensors nn-merge=base\n")
    done = branches.repo.git("merge", "--no-edit", "side")
    assert "1 by base" in done.errors
    found = safetensors_arrays(branches.repo.read(MODEL))
    assert [found[name].tobytes() for name in "abw"] == [
        side.tobytes() for side in (OURS, THEIRS, BASE)
    ]
