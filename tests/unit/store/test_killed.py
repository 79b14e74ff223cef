"""A process that dies at any system call of the store leaves a store that is whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_dying_at_any_call_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.store.killed", str(tmp_path)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    counted = dict(line.split() for line in done.stdout.splitlines())
    assert set(counted) == {"add", "collect", "quarantine", "rebuild", "adopt", "restore"}
    assert all(int(deaths) > 15 for deaths in counted.values()), counted
