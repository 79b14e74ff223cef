"""A process that dies at any system call of the store leaves a store that is whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ACTIONS = ["add", "collect", "quarantine_all", "rebuild_all", "adopt", "restore"]


@pytest.mark.parametrize("action", ACTIONS)
def test_dying_at_any_call_loses_nothing_that_was_acknowledged(tmp_path: Path, action: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.store.killed", action, str(tmp_path / "store")],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 40
