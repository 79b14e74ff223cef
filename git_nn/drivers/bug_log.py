"""Where our own bugs go: one line for the person, the trace into a log file."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import traceback
from pathlib import Path

from git_nn import __version__


def report_bug() -> None:
    """Tell of the exception that is being handled, and keep its trace in a private file."""
    kind, error, _ = sys.exc_info()
    lines = [
        f"git-nn {__version__}, Python {platform.python_version()}, {platform.platform()}",
        f"argv: {sys.argv!r}",
        traceback.format_exc(),
    ]
    where = _write("\n".join(lines))
    name = kind.__name__ if kind else "error"
    print(f"git-nn: bug in git-nn: {name}: {error}; the trace is in {where}", file=sys.stderr)


def _write(text: str) -> Path:
    fd, name = tempfile.mkstemp(prefix="git-nn-bug-", suffix=".log")
    with os.fdopen(fd, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
    return Path(name)
