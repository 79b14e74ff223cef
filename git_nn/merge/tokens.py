"""tokens: which id each token has on the sides of a merge, and in the result. Pure.

A row of an embedding belongs to a token, and which one only the tokenizer beside the model
says. Where both sides added tokens, each gave the next free id to one of its own, so rows are
matched by the strings and not by their number. Rules (docs/merge.md, Rows by token):
1. Ours' tokens keep their ids; those that theirs added follow after the last of them, in theirs'
   order. A token that ours removed stays away.
2. The tokenizer of the result decides. Where it is known it is followed, whatever it says, as
   long as it has all of these tokens; else rule 1 is a proposal that a person has to confirm.
3. A tokenizer that cannot be understood, or has a token or an id twice, is none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Files that are one vocabulary: the first is needed, the others may be there. Best first.
FAMILIES: tuple[tuple[str, ...], ...] = (
    ("tokenizer.json",),
    ("vocab.json", "added_tokens.json"),
    ("vocab.txt", "added_tokens.json"),
    ("vocabulary.txt",),
    ("tokens.txt",),
)

Ids = Mapping[str, int]  # token -> id
SHOWN = 8


@dataclass(frozen=True, slots=True)
class Placement:
    """The ids on every side and in the result; ``file`` is what says so, by its name.

    ``open`` says why it is not known that the result's tokenizer has these ids; empty where it is.
    """

    file: str
    base: Ids
    ours: Ids
    theirs: Ids
    result: Ids
    open: str = ""

    @property
    def sides(self) -> tuple[Ids, Ids, Ids]:
        return self.base, self.ours, self.theirs

    @property
    def strangers(self) -> list[str]:
        """Tokens of the result that no side has, so that there is no row for them."""
        return [token for token in self.result if not any(token in side for side in self.sides)]


Tokens = Callable[[], Placement | None]


def length(ids: Ids) -> int:
    """How many rows a tensor needs to have one for each id."""
    return max(ids.values(), default=-1) + 1


def union(base: Ids, ours: Ids, theirs: Ids) -> dict[str, int]:
    """The ids of the result by rule 1."""
    added = [token for token in _ordered(theirs) if token not in ours and token not in base]
    return {**ours, **{token: at for at, token in enumerate(added, length(ours))}}


def _ordered(ids: Ids) -> list[str]:
    return sorted(ids, key=ids.__getitem__)


def has_all(found: Ids, wanted: Iterable[str]) -> bool:
    return all(token in found for token in wanted)


# --- files ------------------------------------------------------------------------------


def read(files: Mapping[str, bytes]) -> Ids | None:
    """The vocabulary that the files of one family say, by their names; None as in rule 3."""
    try:
        pairs = [pair for name, data in files.items() for pair in _pairs(name, data)]
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None
    pairs = list(dict.fromkeys(pairs))  # a token may be listed with the added ones once more
    ids = dict(pairs)
    usual = all(type(at) is int and at >= 0 and isinstance(token, str) for token, at in pairs)
    if not ids or not usual or len(ids) < len(pairs) or len(set(ids.values())) < len(pairs):
        return None
    return ids


def _pairs(name: str, data: bytes) -> Iterator[tuple[str, int]]:
    if name.endswith(".txt"):
        lines = data.decode("utf-8").split("\n")
        lines = lines[:-1] if not lines[-1] else lines
        yield from ((line.removesuffix("\r"), at) for at, line in enumerate(lines))
    elif name == "tokenizer.json":
        yield from _tokenizer(json.loads(data))
    else:
        yield from json.loads(data).items()


def _tokenizer(found: Any) -> Iterator[tuple[str, int]]:
    """What Hugging Face's tokenizers write: a dict, or for Unigram a list of pairs."""
    vocabulary = found["model"]["vocab"]
    if isinstance(vocabulary, dict):
        yield from vocabulary.items()
    else:
        yield from ((piece[0], at) for at, piece in enumerate(vocabulary))
    yield from ((each["content"], each["id"]) for each in found.get("added_tokens") or ())


# --- in words ---------------------------------------------------------------------------


def told(placement: Placement) -> Iterator[str]:
    """Which tokens have which ids, ``theirs' "<b>" is 101 (was 100)``, and what is to be done."""
    theirs, result = placement.theirs, placement.result
    added = [t for t in _ordered(theirs) if t in result and t not in placement.ours]
    moved = [t for t in _ordered(placement.ours) if t in result and result[t] != placement.ours[t]]
    parts = [_moved("theirs'", added, theirs, result)] if added else []
    parts += [_moved("ours'", moved, placement.ours, result)] if moved else ["ours keep their ids"]
    yield f"{placement.file}: {'; '.join(reversed(parts))}"
    if placement.open:
        yield f"{placement.open}: settle it so, or in another way, then: git nn resolve --tokens"


def _moved(whose: str, tokens: Sequence[str], before: Ids, after: Ids) -> str:
    each = [
        f"{quoted(t)} is {after[t]}" + (f" (was {before[t]})" if before[t] != after[t] else "")
        for t in tokens[:SHOWN]
    ]
    more = [f"... {len(tokens) - SHOWN} more"] if len(tokens) > SHOWN else []
    return f"{whose} {', '.join([*each, *more])}"


def quoted(token: str) -> str:
    """A token as it stands in JSON, and short."""
    return json.dumps(token if len(token) <= 40 else f"{token[:40]}...", ensure_ascii=True)
