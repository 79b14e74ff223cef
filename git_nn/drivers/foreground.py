"""Runs git as if the person had typed it: in their folder, environment and terminal.

What git prints for us to read goes through gitio.repository instead.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from git_nn.gitio.repository import not_started


def git(*argv: str, **variables: str) -> int:
    """The exit status of git, as a shell has it; ``variables`` are added to the environment."""
    try:
        done = subprocess.run(["git", *argv], env={**os.environ, **variables}, check=False)
    except FileNotFoundError as error:
        raise not_started(Path.cwd()) from error
    return done.returncode if done.returncode >= 0 else 128 - done.returncode
