"""recipe: a versioned file that says which strategy each tensor gets (docs/merge.md).

    version = 1

    [[rule]]
    path = "*.safetensors"
    tensor = "*.norm.*"
    strategy = "ties"
    parameters = { density = 0.4 }

It is data: nothing in it is run, looked up or expanded. What is not understood, even in a
rule for another path, is an error that names the file and the rule, and never a guess.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from git_nn.errors import UsageError
from git_nn.merge.rules import Choice, Pattern, parse

FILE = ".gitnn-merge.toml"
MAX_SIZE = 1 << 20  # bytes
_VERSION = 1
_KEYS = ("path", "tensor", "strategy", "parameters")
_HEADER = re.compile(r"^[ \t]*\[\[[ \t]*rule[ \t]*\]\]", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Rule:
    """A strategy (None: a conflict) for the tensors of the paths that match; both are globs."""

    path: str
    tensor: str
    choice: Choice | None


@dataclass(frozen=True, slots=True)
class Recipe:
    """The rules of a file, in its order."""

    rules: tuple[Rule, ...] = ()

    def for_path(self, path: str) -> tuple[Pattern, ...]:
        """The tensor patterns that hold for ``path``, which is relative to the top."""
        return tuple((rule.tensor, rule.choice) for rule in self.rules if _covers(rule.path, path))


def _covers(pattern: str, path: str) -> bool:
    """As in .gitattributes a pattern without a slash is about the name, in any folder."""
    return fnmatchcase(path if "/" in pattern else path.rpartition("/")[2], pattern)


def read(text: str, source: str = FILE) -> Recipe:
    """The recipe in ``text``; UsageError with ``source`` and the place where it is wrong."""
    try:
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"{source} is no valid TOML: {error}", hint="see docs/merge.md") from error
    version, rules = content.pop("version", None), content.pop("rule", [])
    if type(version) is not int or version != _VERSION:
        raise UsageError(
            f"{source} has version {version!r}"[:120] if version is not None
            else f"{source} does not say its version",
            hint=f"this git-nn reads 'version = {_VERSION}'",
        )  # fmt: skip
    _known(content, ("version", "rule"), source)
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise UsageError(f"{source}: rules are written below [[rule]]", hint="see docs/merge.md")
    starts = [text.count("\n", 0, match.start()) + 1 for match in _HEADER.finditer(text)]
    places = (
        [f", line {line}" for line in starts] if len(starts) == len(rules) else [""] * len(rules)
    )
    return Recipe(tuple(
        _rule(rule, f"{source}{place}, rule {number}")
        for number, (rule, place) in enumerate(zip(rules, places, strict=True), 1)
    ))  # fmt: skip


def _known(table: Mapping[str, Any], keys: tuple[str, ...], source: str) -> None:
    for key in table:
        if key not in keys:
            known = ", ".join(keys)
            raise UsageError(f"{source} has the unknown key {key[:40]!r}", hint=f"known: {known}")


def _rule(table: Mapping[str, Any], source: str) -> Rule:
    _known(table, _KEYS, source)
    path, tensor = (_text(table.get(key, "*"), key, source) for key in ("path", "tensor"))
    if "strategy" not in table:
        raise UsageError(f"{source} has no strategy", hint='add strategy = "mean" or another')
    strategy = _text(table["strategy"], "strategy", source)
    return Rule(path, tensor, parse(_with(strategy, table.get("parameters", {}), source), source))


def _text(value: object, key: str, source: str) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{source}: {key} is not a text in quotes", hint=f'write {key} = "..."')
    return value


def _with(strategy: str, parameters: object, source: str) -> str:
    """A strategy as it is written everywhere, with the ``parameters`` of a table."""
    if not isinstance(parameters, dict):
        hint = "write parameters = { density = 0.4 }"
        raise UsageError(f"{source}: parameters is not a table", hint=hint)
    for key, value in parameters.items():
        if type(value) not in (int, float):
            raise UsageError(f"{source}: {key[:40]} is not a number", hint="write it unquoted")
    if not parameters:
        return strategy
    items = ",".join(f"{key}={value!r}" for key, value in parameters.items())
    return strategy + ("," if ":" in strategy else ":") + items
