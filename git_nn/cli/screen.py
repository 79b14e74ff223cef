"""screen: how wide the terminal is and which characters it can show."""

from __future__ import annotations

from git_nn.drivers import terminal

_WIDEST = 200
_PLAIN = str.maketrans({"Δ": "d", "→": ">"})


def width() -> int | None:
    """Columns to fit to, 200 at most; None where lines go elsewhere and must stay whole."""
    found = terminal.width()
    return None if found is None else min(found, _WIDEST)


def show(text: str) -> None:
    """Print ``text``, with plain characters for our own signs where there are no others."""
    terminal.write(text if terminal.shows_signs() else text.translate(_PLAIN))


def clip(line: str, room: int | None) -> str:
    """``line`` in at most ``room`` columns, None for any."""
    return line if room is None or len(line) <= room else f"{line[: max(room - 2, 0)]}.."
