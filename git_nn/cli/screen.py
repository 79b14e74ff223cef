"""screen: how wide the terminal is and which characters it can show."""

from __future__ import annotations

import os
import shutil
import sys

from git_nn.drivers.terminal import write

_NARROW, _WIDE = 60, 200
_PLAIN = str.maketrans({"Δ": "d", "→": ">", "×": "x", "…": ".", "√": "v"})


def width() -> int | None:
    """Columns to fit to, 60 to 200; None where the output is no terminal."""
    if not sys.stdout.isatty():
        return None
    return min(max(shutil.get_terminal_size().columns, _NARROW), _WIDE)


def show(text: str) -> None:
    """Print ``text``, with plain characters for our own signs on a terminal without Unicode."""
    write(text.translate(_PLAIN) if sys.stdout.isatty() and not _is_unicode() else text)


def clip(line: str, room: int | None) -> str:
    """``line`` in at most ``room`` columns, None for any."""
    return line if room is None or len(line) <= room else f"{line[: max(room - 2, 0)]}.."


def _is_unicode() -> bool:
    """What the locale says; Python itself writes UTF-8 in the C locale too."""
    names = (os.environ.get(name) for name in ("LC_ALL", "LC_CTYPE", "LANG"))
    chosen = next(filter(None, names), "C").lower().replace("-", "")
    return sys.platform in ("darwin", "win32") or "utf8" in chosen
