"""style: how a line of text suits where it goes: its width, its colours, its signs.

A line is as wide as the columns it takes on a terminal, where a character of East Asian
scripts takes two. Where only ASCII can be shown every sign has a stand-in, and what else
is not ASCII is written %XX, as in escaped names.
"""

from __future__ import annotations

import textwrap
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

_STAND_INS = str.maketrans({
    "Δ": "d", "→": "->", "±": "+-", "×": "x", "≤": "<=", "≥": ">=", "−": "-", "…": "..",
    "√": "sqrt", "Σ": "sum", "ε": "eps", "·": ".", "‖": "||", "’": "'", "–": "-", "²": "^2",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Style:
    """``width`` is in columns, None where lines stay whole; ``signs`` is False for ASCII alone."""

    colour: bool = False
    width: int | None = None
    signs: bool = True


PLAIN = Style()


def paint(line: str, code: str, style: Style) -> str:
    return f"\x1b[{code}m{line}\x1b[m" if style.colour and code else line


def shown(text: str, style: Style) -> str:
    """``text`` in characters that can be shown."""
    if style.signs or text.isascii():
        return text
    return "".join(
        char if char.isascii() else _percent(char) for char in text.translate(_STAND_INS)
    )


def _percent(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogateescape"))


def columns(text: str) -> int:
    """How many columns ``text`` takes."""
    return len(text) if text.isascii() else sum(map(_columns, text))


@lru_cache(4096)
def _columns(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def shorten(text: str, width: int, style: Style, *, middle: bool = True) -> str:
    """``text`` in at most ``width`` columns, without its middle or its end if need be."""
    if columns(text) <= width:
        return text
    mark = shown("…", style)
    room = max(width - len(mark), 0)
    head = room // 3 if middle else room  # the end of a name tells more than its start
    return _head(text, head) + mark[:width] + _head(text[::-1], room - head)[::-1]


def _head(text: str, width: int) -> str:
    """The longest start of ``text`` that takes at most ``width`` columns."""
    taken = 0
    for i, char in enumerate(text):
        taken += _columns(char)
        if taken > width:
            return text[:i]
    return text


def fold(text: str, indent: str, style: Style) -> list[str]:
    """A sentence as lines that fit, all but the first indented once more."""
    text = f"{indent}{shown(text, style)}"
    if style.width is None or columns(text) <= style.width:
        return [text]
    return textwrap.wrap(text, style.width, subsequent_indent=f"{indent}  ", break_on_hyphens=False)
