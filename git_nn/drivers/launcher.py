"""The words that start one of our modules, as they stand in configuration and hooks.

1. The interpreter is named by its absolute path: a virtual environment need not be active.
2. The folder that Git runs us in is never searched for modules. It is a work tree, and a
   ``json.py`` in it would be executed. Nor is PYTHONPATH, whose empty entries mean that
   same folder. So Python runs isolated (-I), or with -E -P where packages are installed for
   one user only, which -I does not see. Neither starts slower than plain Python.
3. What is written has been tried first, without the environment that we were started in.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import git_nn
from git_nn.errors import UsageError

PACKAGE = Path(git_nn.__file__).absolute().parent
_LAUNCH = PACKAGE / "drivers" / "launch.py"
_PROBE = """
import sys, os
from importlib.util import find_spec
sys.path[:0] = sys.argv[1:]
import git_nn
needed = "blake3", "click", "msgpack", "numpy", "zstandard"
missing = [name for name in needed if not find_spec(name)]
sys.stdout.write(repr((git_nn.__version__, os.path.abspath(git_nn.__file__), missing)))
"""


@dataclass(frozen=True, slots=True)
class Launcher:
    """How to start ``python -m MODULE``: the interpreter and what stands before the module."""

    python: str
    options: tuple[str, ...]

    def command(self, module: str, *words: str) -> str:
        """A shell command; ``words`` are put as they are (Git's %f must not be quoted)."""
        path = self.python.replace("\\", "/") if os.name == "nt" else self.python
        start = (shlex.quote(path), *map(shlex.quote, self.options))
        return " ".join((*start, module, *words))


@lru_cache(maxsize=1)
def launcher() -> Launcher:
    """The first way to start this very git_nn that works; UsageError where none does."""
    python = sys.executable
    if not python:
        raise UsageError("Python does not know its own path", hint="run 'pip install git-nn'")
    for flags in (("-I",), ("-E", "-P")):
        if _finds_us(python, flags):
            return Launcher(python, (*flags, "-m"))
    for flags in (("-I",), ("-E", "-P")):
        if _finds_us(python, flags, str(PACKAGE.parent)):
            return Launcher(python, (*flags, str(_LAUNCH)))
    raise UsageError(
        f"git-nn in {PACKAGE.parent} needs packages that {python} only finds through PYTHONPATH",
        hint=f"run '{python} -m pip install {PACKAGE.parent}'",
    )


def _finds_us(python: str, flags: tuple[str, ...], *paths: str) -> bool:
    found = probe(python, flags, *paths)
    return found is not None and found[1:] == (str(PACKAGE / "__init__.py"), [])


def probe(python: str, flags: tuple[str, ...], *paths: str) -> tuple[str, str, list[str]] | None:
    """(version, file, missing packages) of the git_nn that ``python`` imports; None for none."""
    from ast import literal_eval

    try:
        done = subprocess.run(
            [python, *flags, "-c", _PROBE, *paths],
            capture_output=True, check=False, cwd=Path(sys.executable).anchor or os.sep,
        )  # fmt: skip
        version, file, missing = literal_eval(os.fsdecode(done.stdout))
    except (OSError, ValueError, SyntaxError):
        return None
    return version, file, missing
