"""stanzas: what happened to each tensor, told from the texts of two pointers.

A pointer has one encoding, so a stanza that stands in both texts is a tensor that is the
same, and two stanzas of one name, dtype and shape are a tensor that changed. Only what else
differs is parsed: a history of hundreds of pointers costs little more than reading it. The
answers are those of ``changes.classify``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from git_nn.differences import shifts
from git_nn.differences.changes import Change, Kind, classify
from git_nn.errors import PointerError
from git_nn.objects import pointer as pointers
from git_nn.objects.names import unescape
from git_nn.objects.pointer import Pointer

_FIRST = b"git-nn pointer 1\n"
_VIEW = b" view "
_OID = slice(-64)  # what is before a plain value's oid: the dtype and the shape


@dataclass(frozen=True, slots=True)
class Moves:
    """The tensors that are not the same, by name: the new one, or the old one if removed.

    ``was`` has the old names of those that have another one; ``total`` counts all tensors of
    both versions, each once; ``container`` says whether the bytes around the tensors differ.
    """

    kinds: Mapping[str, Kind]
    was: Mapping[str, str] = field(default_factory=dict)
    total: int = 0
    container: bool = False

    @property
    def counts(self) -> dict[Kind, int]:
        """How many tensors are of each kind, in the order of Kind, without zeros."""
        found = list(self.kinds.values())
        return {kind: found.count(kind) for kind in Kind if kind in found}

    @property
    def same(self) -> int:
        return self.total - len(self.kinds)


def compare_texts(old: bytes | None, new: bytes | None) -> Moves:
    """What happened to each tensor; None is a version without the file.

    Raises what ``pointer.parse`` raises, where a text is no valid pointer; damage in a stanza
    that stands in both texts may go unnoticed.
    """
    if old is None or new is None:
        kind, names = (Kind.ADDED, tensors(new)) if old is None else (Kind.REMOVED, tensors(old))
        return Moves(dict.fromkeys(names, kind), total=len(names))
    before, after = _split(old), _split(new)
    common = set(before[1:]) & set(after[1:])
    gone = _named(old, [one for one in before[1:] if one not in common])
    come = _named(new, [one for one in after[1:] if one not in common])
    views = _views([*before, *after]) if _VIEW in old or _VIEW in new else set()
    plain = [
        line
        for line, value in come.items()
        if value[_OID] == gone.get(line, b"")[_OID] != b"" and line not in views
    ]
    if plain and not set(come.values()).isdisjoint(gone.values()):
        moves = _with_shifts(old, new)
        if moves is not None:
            return moves
    kinds = dict.fromkeys(_names(plain), Kind.CHANGED)
    was: dict[str, str] = {}
    hard = (gone.keys() | come.keys()) - set(plain)
    if hard or views:
        wanted = hard | views
        sides = _excerpt(old, before, wanted), _excerpt(new, after, wanted)
        rest, was = _told(classify(*sides).changes)
        kinds = {**rest, **kinds}
    total = len(common) + len(gone.keys() | come.keys()) - len(was)
    return Moves(kinds, was, total, before[0] != after[0])


def _told(changes: Iterable[Change]) -> tuple[dict[str, Kind], dict[str, str]]:
    """The kinds by name, and the old names of those that have another one."""
    listed = list(changes)
    was = {one.name: one.old.name for one in listed if one.old and one.old.name != one.name}
    return {one.name: one.kind for one in listed}, was


@dataclass(frozen=True, slots=True)
class _Bare:
    """A Readable without values."""

    pointer: Pointer

    def array(self, name: str) -> None: ...

    def blocks(self, name: str) -> None: ...

    def structure(self) -> dict[str, Any]:
        return {}


def _with_shifts(old: bytes, new: bytes) -> Moves | None:
    """What happened where layers have other numbers now; None where none have."""
    before, after = pointers.parse(old), pointers.parse(new)
    moved = shifts.find(_Bare(before), _Bare(after), values=False)
    if not moved:
        return None
    found = classify(before, after, shifts.names(moved, before, after))
    kinds, was = _told(found.changes)
    container = _split(old)[0] != _split(new)[0]
    return Moves(kinds, was, found.same + len(kinds), container)


def tensors(text: bytes | None) -> list[str]:
    """The names in a pointer, in their order."""
    return [] if text is None else _names(_named(text, _split(text)[1:]))


def _split(text: bytes) -> list[bytes]:
    """What stands above the tensors, and the stanza of each."""
    if not text.startswith(_FIRST) or not text.endswith(b"\n"):
        pointers.parse(text)  # says what is wrong
    return text[:-1].split(b"\n\n")


def _named(text: bytes, stanzas: Iterable[bytes]) -> dict[bytes, bytes]:
    try:
        return dict(one.split(b"\n  ", 1) for one in stanzas)
    except ValueError:
        pointers.parse(text)  # says what is wrong
        raise


def _names(lines: Iterable[bytes]) -> list[str]:
    """The names in name lines."""
    text = b"\n".join(lines).decode("utf-8", "replace")
    names = [line.removeprefix("tensor ") for line in text.split("\n")] if text else []
    try:
        return [unescape(name) for name in names] if "%" in text else names
    except ValueError as error:
        raise PointerError(f"not a valid git-nn pointer: {error}") from error


def _views(parts: list[bytes]) -> set[bytes]:
    """The name lines of views and of what they view: a view changes when that does."""
    found: set[bytes] = set()
    for part in parts:
        if _VIEW in part:
            line, _, value = part.partition(b"\n  ")
            found |= {line, b"tensor " + value.partition(b" of ")[2]}
    return found


def _excerpt(text: bytes, parts: list[bytes], wanted: set[bytes]) -> Pointer:
    """The pointer with the tensors that must be looked at."""
    kept = [part for part in parts[1:] if part.partition(b"\n  ")[0] in wanted]
    if len(kept) == len(parts) - 1:
        return pointers.parse(text)
    return pointers.parse(b"\n\n".join((parts[0], *kept)) + b"\n")
