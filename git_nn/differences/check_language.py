"""check_language: the words of ``git nn diff --check``, read into a Check or refused.

    check    = patterns test | test | "only" patterns "changed"
    test     = "unchanged" | "changed"
             | ("dtype" | "shape") "unchanged"
             | "no" ("nan" | "inf")
             | measure order number ["%"] ["abs" number]
             | "no" ("added" | "removed")          without patterns
             | "distance" order number ["%"]       without patterns
    measure  = "relL2" | "cosine" | "max" | "mean" | "changed"
    order    = "<" | "<=" | ">" | ">="
    patterns = one or more shell patterns over the names of tensors, quoted where one has a
               space or is a word of the language

What is not understood is refused with its place, what was expected and an example; nothing
is guessed, and no text is ever run. docs/checks.md says what each test means.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn

from git_nn.errors import UsageError

_TOKEN = re.compile(
    r"""\s*(?:(?P<quoted>"[^"]*"|'[^']*')|(?P<order>[<>]=?|==?|!=)|(?P<word>[^\s<>=!"'][^\s<>="']*|.))"""
)
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\Z")
_ORDERS = ("<", "<=", ">", ">=")
_SIGNS = (*_ORDERS, "=", "==", "!=")
_LONGEST = 1000  # characters of a check


class Question(StrEnum):
    """What is asked of each tensor that a check is about, or of the whole model."""

    UNCHANGED = "unchanged"
    CHANGED = "changed"
    ONLY = "only ... changed"
    DTYPE = "dtype unchanged"
    SHAPE = "shape unchanged"
    NO_NAN = "no nan"
    NO_INF = "no inf"
    NO_ADDED = "no added"
    NO_REMOVED = "no removed"
    LIMIT = "limit"
    DISTANCE = "distance"


class Measure(StrEnum):
    RELATIVE = "relL2"
    COSINE = "cosine"
    MAX = "max"
    MEAN = "mean"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Limit:
    """``order`` and the number that a measure is held against.

    A tensor in which no element moved by more than ``floor`` is within every limit.
    """

    order: str
    number: float
    floor: float | None = None

    def allows(self, value: float) -> bool:
        """Whether ``value`` is within; NaN never is."""
        match self.order:
            case "<":
                return value < self.number
            case "<=":
                return value <= self.number
            case ">":
                return value > self.number
            case _:
                return value >= self.number


@dataclass(frozen=True, slots=True)
class Check:
    """One check; ``text`` is what the person wrote. No patterns: every tensor."""

    text: str
    question: Question
    patterns: tuple[str, ...] = ()
    measure: Measure | None = None
    limit: Limit | None = None


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    start: int
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class _Range:
    """Numbers that make sense: ``percent`` may stand for hundredths, and the limits that ask for
    little change, which begin with ``small``, may have a floor."""

    low: float
    high: float
    example: str
    percent: bool = False
    small: str = ""


_RANGES = {
    Measure.RELATIVE: _Range(0, math.inf, "relL2 < 0.05", percent=True, small="<"),
    Measure.COSINE: _Range(-1, 1, "cosine > 0.99", small=">"),
    Measure.MAX: _Range(0, math.inf, "max < 0.5"),
    Measure.MEAN: _Range(0, math.inf, "mean < 1e-3"),
    Measure.CHANGED: _Range(0, 1, "changed < 10%", percent=True, small="<"),
}
_DISTANCE = _Range(0, 1, "distance < 0.1", percent=True)
_SIMPLE = {
    ("unchanged",): Question.UNCHANGED,
    ("changed",): Question.CHANGED,
    ("dtype", "unchanged"): Question.DTYPE,
    ("shape", "unchanged"): Question.SHAPE,
    ("no", "nan"): Question.NO_NAN,
    ("no", "inf"): Question.NO_INF,
    ("no", "added"): Question.NO_ADDED,
    ("no", "removed"): Question.NO_REMOVED,
}
_STARTS = frozenset({words[0] for words in _SIMPLE} | set(Measure) | {"distance"})
_WHOLE = (Question.NO_ADDED, Question.NO_REMOVED, Question.DISTANCE)


def parse(text: str) -> Check:
    """The check that ``text`` says; UsageError with the place of what is wrong."""
    return _Parser(text).check()


def parse_file(text: str, name: str) -> list[Check]:
    """The checks of a file, one on a line; what follows a # that begins a word is a comment."""
    checks = []
    for number, line in enumerate(text.splitlines(), 1):
        content = re.sub(r"(?:^|\s)#.*", "", line).strip()
        if not content:
            continue
        try:
            checks.append(parse(content))
        except UsageError as error:
            raise UsageError(f"{name}:{number}: {error.message}", hint=error.hint) from error
    return checks


class _Parser:
    """One check, word by word; ``at`` is the next word."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        if len(text) > _LONGEST:
            raise UsageError(f"a check of {len(text)} characters is too long")
        self.tokens = list(_tokens(text))
        for place, token in enumerate(self.tokens):
            if token.text in ("'", '"') and not token.quoted:
                self._refuse(place, "a quote that is closed", '"my layer*" unchanged')

    def check(self) -> Check:
        only = self._take_word("only")
        patterns = tuple(self._patterns(after_only=only))
        if only:
            self._end_of("changed", "only head* changed")
            return Check(self.text, Question.ONLY, patterns)
        start = self.at
        found = self._measured(patterns) or self._simple(patterns)
        if found.question in _WHOLE and patterns:
            example = found.question.value if found.limit is None else "distance < 0.1"
            what = f"{found.question.value!r} without a pattern: it is about the whole model"
            self._refuse(0, what, example)
        if self.at < len(self.tokens):
            after = " ".join(token.text for token in self.tokens[start : self.at])
            self._refuse(self.at, f"nothing more after {after!r}", "embed* unchanged")
        return found

    def _patterns(self, *, after_only: bool) -> Iterator[str]:
        first = self.at
        while self.at < len(self.tokens) and not self._is_test(after_only=after_only):
            token = self.tokens[self.at]
            if not token.quoted and token.text in _SIGNS:
                what = f"one of {_list(Measure)} before {token.text!r}"
                self._refuse(self.at, what, "relL2 < 0.05")
            self.at += 1
            yield token.text
        if after_only and self.at == first:
            self._refuse(self.at, "a pattern after 'only'", "only head* changed")
        if self.at == len(self.tokens):
            example = "only head* changed" if after_only else "embed* unchanged"
            expected = "'changed'" if after_only else f"a test ({_list(sorted(_STARTS))})"
            self._refuse(self.at, expected, example)

    def _is_test(self, *, after_only: bool) -> bool:
        token = self.tokens[self.at]
        if token.quoted:
            return False
        return token.text == "changed" if after_only else token.text in _STARTS

    def _measured(self, patterns: tuple[str, ...]) -> Check | None:
        """A measure and its limit; None where none stands here ("changed" may be alone)."""
        word = self.tokens[self.at].text
        follows = self._peek(1)
        if word == "distance":
            return Check(self.text, Question.DISTANCE, patterns, limit=self._limit(_DISTANCE))
        if word not in set(Measure) or (word == "changed" and follows not in _SIGNS):
            return None
        measure = Measure(word)
        return Check(self.text, Question.LIMIT, patterns, measure, self._limit(_RANGES[measure]))

    def _simple(self, patterns: tuple[str, ...]) -> Check:
        first = self.tokens[self.at].text
        if (first,) in _SIMPLE:
            self.at += 1
            return Check(self.text, _SIMPLE[(first,)], patterns)
        found = _SIMPLE.get((first, self._peek(1).lower()))
        if found is None:
            self.at += 1
            expected = [words[1] for words in _SIMPLE if words[0] == first and len(words) > 1]
            self._refuse(self.at, f"{_list(expected)} after {first!r}", f"{first} {expected[0]}")
        self.at += 2
        return Check(self.text, found, patterns)

    def _limit(self, allowed: _Range) -> Limit:
        """What follows the name of a measure."""
        self.at += 1
        order = self._peek(0)
        if order not in _ORDERS:
            self._refuse(self.at, f"one of {_list(_ORDERS)}", allowed.example)
        self.at += 1
        place = self.at
        number = self._number(allowed.example, percent=allowed.percent)
        if not allowed.low <= number <= allowed.high:
            self._refuse(place, _bounds(allowed), allowed.example)
        return Limit(order, number, self._floor(allowed, order))

    def _floor(self, allowed: _Range, order: str) -> float | None:
        if self._peek(0) != "abs":
            return None
        if not allowed.small:
            self._refuse(self.at, "nothing more: this limit is absolute already", allowed.example)
        example = f"{allowed.example} abs 1e-6"
        if not order.startswith(allowed.small):
            self._refuse(self.at, f"no 'abs' after {order!r}, which asks for a change", example)
        self.at += 1
        place = self.at
        least = self._number(example, percent=False)
        if least < 0:
            self._refuse(place, "a number of 0 or more", example)
        return least

    def _number(self, example: str, *, percent: bool) -> float:
        text = self._peek(0)
        digits = text.removesuffix("%")
        if not _NUMBER.match(digits) or not math.isfinite(float(digits)):
            self._refuse(self.at, "a number", example)
        share = text != digits
        place = self.at
        self.at += 1
        if not share and self._peek(0) == "%":
            share = True
            place, self.at = self.at, self.at + 1
        if share and not percent:
            self._refuse(place, "a number without %", example)
        return float(digits) / 100 if share else float(digits)

    def _take_word(self, word: str) -> bool:
        found = self._peek(0) == word and not self.tokens[0].quoted
        self.at += found
        return found

    def _end_of(self, word: str, example: str) -> None:
        if self._peek(0) != word:
            self._refuse(self.at, repr(word), example)
        if self.at + 1 < len(self.tokens):
            self._refuse(self.at + 1, f"nothing more after {word!r}", example)

    def _peek(self, ahead: int) -> str:
        place = self.at + ahead
        return self.tokens[place].text if place < len(self.tokens) else ""

    def _refuse(self, place: int, expected: str, example: str) -> NoReturn:
        if place < len(self.tokens):
            token = self.tokens[place]
            where = f"at character {token.start + 1}, found {token.text[:40]!r}"
        else:
            where = "at its end"
        raise UsageError(
            f"the check {self.text[:200]!r} cannot be read: expected {expected} {where}",
            hint=f"for example: {example}",
        )


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    end = len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        assert match is not None
        kind = str(match.lastgroup)
        found = match[kind]
        quoted = kind == "quoted"
        yield _Token(found[1:-1] if quoted else found, match.start(kind), quoted)
        at = match.end()


def _bounds(allowed: _Range) -> str:
    if not math.isfinite(allowed.high):
        return f"a number of {allowed.low:g} or more"
    share = " (or per cent, with %)" if allowed.percent else ""
    return f"a number from {allowed.low:g} to {allowed.high:g}{share}"


def _list(words: Iterable[str]) -> str:
    return ", ".join(map(str, words))
