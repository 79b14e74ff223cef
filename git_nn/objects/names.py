"""Tensor names as text: escaped so that a name is one visible line, and in natural order.

Names come from files that we do not trust. A name is a str that holds either valid
Unicode or, for bytes that are no UTF-8, Python's surrogate escapes (PEP 383). Escaping
writes the UTF-8 bytes of every character that is invisible, changes direction or breaks
a line as %XX, so that what a person reads in a diff is what is there. Which characters
are visible is read from Unicode 3.2, which Python keeps for ever (stringprep needs it):
a newer table would give the same name another spelling on another Python.
"""

from __future__ import annotations

import re
from functools import lru_cache
from unicodedata import ucd_3_2_0

MAX_NAME_BYTES = 4096

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})
_PLAIN = re.compile(r"[!-$&-~]+\Z")  # printable ASCII without space and percent
_ESCAPE = re.compile(rb"%([0-9A-F]{2})")
_DIGITS = re.compile(r"([0-9]+)")
_EMPTY = "%-"


def is_canonical(name: str) -> bool:
    """Whether ``name`` survives a round trip through bytes and is of a sane length."""
    try:
        raw = name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return len(raw) <= MAX_NAME_BYTES and raw.decode("utf-8", "surrogateescape") == name


def escape(name: str) -> str:
    """One line of visible text for ``name``; the inverse of ``unescape``."""
    if _PLAIN.match(name):
        return name
    if not name:
        return _EMPTY
    last = len(name) - 1
    return "".join(
        char if _is_visible(char, edge=i in (0, last)) else _percent(char)
        for i, char in enumerate(name)
    )


def unescape(text: str) -> str:
    """The name that ``escape`` wrote; a ValueError where the text is not canonical."""
    if text == _EMPTY:
        return ""
    raw = _ESCAPE.sub(lambda m: bytes([int(m[1], 16)]), text.encode("utf-8"))
    name = raw.decode("utf-8", "surrogateescape")
    if escape(name) != text:
        raise ValueError(f"not a canonical tensor name: {text[:80]!r}")
    return name


def natural_key(name: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """Sort key that puts layers.2 before layers.10; equal keys only for equal names.

    Digits are compared by length and then as text, since Python refuses to convert
    more than 4300 digits to an int and a name may hold them.
    """
    parts = []
    for i, part in enumerate(_DIGITS.split(name)):
        if i % 2:
            digits = part.lstrip("0")
            parts.append((1, len(digits), digits))
        else:
            parts.append((0, 0, part))
    return tuple(parts), name


def _is_visible(char: str, *, edge: bool) -> bool:
    if char == " ":
        return not edge
    return char != "%" and _category(char) not in _HIDDEN


@lru_cache(4096)
def _category(char: str) -> str:
    return ucd_3_2_0.category(char)


@lru_cache(4096)
def _percent(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogateescape"))
