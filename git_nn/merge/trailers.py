"""trailers: how a merge was made, as lines of its commit message (docs/spec-trailers.md).

1. What is written is read back as the same plan; what is not understood is an error.
2. Names are told by few patterns, which match none of the names that they must not.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase, translate
from typing import Literal, cast
from urllib.parse import unquote_to_bytes

from git_nn.errors import UsageError
from git_nn.merge.rules import Choice, Rules, parse
from git_nn.objects.names import escape, natural_key

Key = Literal["NN-Merge", "NN-Resolve"]
KEYS: tuple[Key, ...] = ("NN-Merge", "NN-Resolve")
SETTING, VERSION, SIDES = "NN-Merge-Setting", "NN-Merge-Version", "NN-Merge-Sides"
HAND = "hand"
WHOLE = {f"file={side}": side for side in ("ours", "theirs", "base")}
WIDTH = 100
_TRAILER = re.compile(
    rf"^({'|'.join((*KEYS, SETTING, VERSION, SIDES))}):[ \t]*(.*\n?(?:[ \t].*\n?)*)", re.MULTILINE
)
_SPECIAL = re.compile(r"([*?[])")
_PART = re.compile(r"[./]")
_NUMBER = re.compile(r"[0-9]+")


@dataclass(frozen=True, slots=True)
class Line:
    """A trailer about the models at ``path``; ``tensors`` are patterns, none means all."""

    key: Key
    path: str
    how: str
    tensors: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join([_word(self.path), _word(self.how), *map(_word, self.tensors)])


@dataclass(frozen=True, slots=True)
class Plan:
    """What the trailers of a commit say; ``sides`` are the numbers of the parents that were
    merged at once, none where it is a merge of two."""

    lines: tuple[Line, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    version: str = ""
    sides: tuple[int, ...] = ()

    def rules(self, path: str) -> Rules:
        """The rules for a path: which choice each tensor gets."""
        default: Choice | None = None
        patterns: list[tuple[str, Choice | None]] = []
        for line in self._of("NN-Merge", path):
            choice = parse(line.how, f"the trailer {line.key}")
            patterns += [(pattern, choice) for pattern in line.tensors or ("*",)]
            default = choice if not line.tensors else default
        return Rules(default, tuple(patterns))

    def steps(self, path: str) -> list[Line]:
        """What was settled after that, in order."""
        return list(self._of("NN-Resolve", path))

    def is_by_hand(self, path: str) -> bool:
        return any(line.how == HAND for line in self.steps(path))

    def _of(self, key: Key, path: str) -> Iterator[Line]:
        return (line for line in self.lines if line.key == key and fnmatchcase(path, line.path))


def write(plan: Plan) -> list[str]:
    """The trailers, each with its key; long ones are folded."""
    found = [f"{line.key}: {line}" for line in plan.lines]
    found += [f"{SETTING}: {_word(f'{k}={v}')}" for k, v in sorted(plan.settings.items())]
    found += [f"{SIDES}: {' '.join(map(str, plan.sides))}"] if plan.sides else []
    return [_folded(text) for text in [*found, f"{VERSION}: {plan.version}"]]


def _folded(text: str) -> str:
    lines = textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False)
    return "\n ".join(lines)


def read(message: str) -> Plan | None:
    """What the trailers of ``message`` say, None where it has none; UsageError if nonsense."""
    lines: list[Line] = []
    settings: dict[str, str] = {}
    version, sides = "", tuple[int, ...]()
    for key, value in _TRAILER.findall(message):
        words = [_unword(word) for word in value.split()]
        if key == VERSION and len(words) == 1:
            version = words[0]
        elif key == SETTING and len(words) == 1 and "=" in words[0]:
            name, _, setting = words[0].rpartition("=")
            settings[name] = setting
        elif key == SIDES and all(map(_NUMBER.fullmatch, words)):
            sides = tuple(map(int, words))
        elif key in KEYS and len(words) >= 2:
            lines.append(_line(cast("Key", key), words))
        else:
            raise UsageError(f"the trailer '{key}: {value.strip()[:80]}' makes no sense")
    return Plan(tuple(lines), settings, version, sides) if version else None


def is_of_soup(message: str) -> bool:
    """Whether ``message`` says already how many branches were merged at once."""
    return any(key == SIDES for key, _ in _TRAILER.findall(message))


def _line(key: Key, words: Sequence[str]) -> Line:
    path, how, *tensors = words
    if key == "NN-Merge" or (how != HAND and how not in WHOLE):
        parse(how, f"the trailer {key}")
    return Line(key, path, how, tuple(tensors))


def without(message: str) -> str:
    """``message`` with no trailer of ours."""
    return _TRAILER.sub("", message)


def _word(text: str) -> str:
    return escape(text).replace(" ", "%20")


def _unword(word: str) -> str:
    if word == "%-":
        return ""
    return unquote_to_bytes(word.encode("utf-8", "surrogateescape")).decode(
        "utf-8", "surrogateescape"
    )


# --- names by patterns ------------------------------------------------------------------


def patterns(names: Collection[str], others: Collection[str]) -> tuple[str, ...]:
    """Few globs that match all of ``names`` and none of ``others``."""
    kin: dict[str, set[str]] = {}
    for name in names:
        for glob in _globs(name):
            kin.setdefault(glob, set()).add(name)
    left, found = set(names), list[str]()
    for glob in sorted(kin, key=lambda glob: (-len(kin[glob]), len(glob), glob)):
        if kin[glob] & left and (len(kin[glob]) == 1 or not _matches_any(glob, others)):
            # a pattern for a single name is written plainly
            found.append(glob if len(kin[glob]) > 1 else literal(next(iter(kin[glob]))))
            left -= kin[glob]
        if not left:
            break
    return tuple(sorted(found, key=natural_key))


def literal(name: str) -> str:
    """The glob that matches ``name`` alone."""
    return _SPECIAL.sub(r"[\1]", name)


def _globs(name: str) -> Iterator[str]:
    """What a person would call it by: with other numbers, its folder or its last words."""
    cuts = [match.start() for match in _PART.finditer(name)]
    yield "*"
    yield literal(name)
    for cut in cuts:
        yield literal(name[: cut + 1]) + "*"
        yield "*" + literal(name[cut:])
        yield _any_number(name[: cut + 1]) + "*"
    yield _any_number(name)


def _any_number(name: str) -> str:
    return "*".join(literal(part) for part in _NUMBER.split(name))


def _matches_any(glob: str, names: Iterable[str]) -> bool:
    matches = re.compile(translate(glob)).match
    return any(matches(name) for name in names)


def grouped(accounts: Mapping[str, tuple[Line, ...]]) -> tuple[Line, ...]:
    """The lines of several paths, where paths that were treated the same share them."""
    alike: dict[tuple[Line, ...], list[str]] = {}
    for path, lines in accounts.items():
        plain = tuple(Line(line.key, "", line.how, line.tensors) for line in lines)
        alike.setdefault(plain, []).append(path)
    return tuple(
        Line(line.key, glob, line.how, line.tensors)
        for lines, paths in alike.items()
        for glob in patterns(paths, accounts.keys() - set(paths))
        for line in lines
    )
