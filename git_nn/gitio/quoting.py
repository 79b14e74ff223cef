"""Git's C-style quotes around paths, as they stand in its files and variables."""

from __future__ import annotations

import re
from collections.abc import Iterator

_QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPE = re.compile(rb"\\([0-7]{3}|.)", re.DOTALL)
_LETTERS = {b"a": b"\a", b"b": b"\b", b"t": b"\t", b"n": b"\n", b"v": b"\v", b"f": b"\f",
            b"r": b"\r"}  # fmt: skip


def unquote(word: bytes) -> bytes | None:
    """The path that ``word`` stands for; None where it starts with a quote and does not end so."""
    if not word.startswith(b'"'):
        return word
    match = _QUOTED.fullmatch(word)
    return None if match is None else _ESCAPE.sub(_plain, match[1])


def _plain(match: re.Match[bytes]) -> bytes:
    found = match[1]
    return bytes([int(found, 8) & 0xFF]) if found.isdigit() else _LETTERS.get(found, found)


def split(text: bytes, separator: bytes) -> Iterator[bytes]:
    """The paths in a list such as info/alternates, unquoted; comments and gaps are left out.

    A quoted path may hold the separator. One whose quotes are broken stands for itself.
    """
    while text:
        match = None if text.startswith(b"#") else _QUOTED.match(text)
        if match is not None:
            yield _ESCAPE.sub(_plain, match[1])
            text = text[match.end() + 1 :]
            continue
        word, _, text = text.partition(separator)
        if word and not word.startswith(b"#"):
            yield word
