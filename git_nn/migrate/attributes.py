"""attributes: what becomes of .gitattributes when files become pointers, and back.

Lines are edited as track does: what is not ours, or of Git LFS, stays byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from git_nn import track

NAME = b".gitattributes"
_LFS = (b"filter=lfs", b"diff=lfs", b"merge=lfs", b"-text")
_OURS = re.compile(rb"(?<=[ \t])(filter|diff|merge)=nn(?=[ \t\r\n]|\Z)")
_NONE = {b"filter": b"-filter", b"diff": b"!diff", b"merge": b"!merge"}
_RULE = re.compile(rb"^[ \t]*[^# \t\r\n][^\n]*", re.MULTILINE)  # no comment
# what would have a say in how the bytes of a pointer are converted
_CONVERTS = (b"filter", b"text", b"binary", b"eol", b"crlf", b"ident", b"working-tree-encoding")


def lfs_patterns(text: bytes) -> list[bytes]:
    """The patterns of the rules that pass files through Git LFS."""
    return [rule.pattern for rule in track.rules(text) if _LFS[0] in rule.attributes]


def converts(text: bytes) -> bool:
    """Whether any rule says how files are converted."""
    words = {word.lstrip(b"-!").partition(b"=")[0] for rule in track.rules(text)
             for word in rule.attributes}  # fmt: skip
    return not words.isdisjoint(_CONVERTS)


def tracking(text: bytes, patterns: Iterable[bytes], lfs: Collection[bytes]) -> bytes:
    """``text`` with our rule for each of ``patterns``, and without Git LFS for those of ``lfs``."""
    text = track.remove(text, lfs, _LFS)
    return track.add(text, [p for p in patterns if not track.is_tracked(text, p)])


def plain(text: bytes) -> bytes:
    """``text`` without our attributes."""
    return track.remove(text, [rule.pattern for rule in track.rules(text) if rule.is_ours])


def unfiltered(text: bytes) -> bytes:
    """``text`` that says in our place that nobody converts these files."""
    return _RULE.sub(lambda line: _OURS.sub(lambda w: _NONE[w[1]], line[0]), text)


def to_lfs(text: bytes) -> bytes:
    """``text`` with Git LFS in our place."""
    return _RULE.sub(lambda line: _OURS.sub(rb"\1=lfs", line[0]), text)
