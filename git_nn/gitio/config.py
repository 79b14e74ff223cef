"""The configuration of a repository, read once, with Git's own rules for values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

from git_nn.errors import UsageError
from git_nn.gitio.repository import Repository

_INTEGER = re.compile(r"\s*([+-]?(?:0[xX][0-9a-fA-F]+|[0-9]+))\s*([kKmMgG]?)\Z")
_NUMBER = re.compile(r"\s*(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\s*\Z")
_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_TRUE = frozenset({"true", "yes", "on"})
_FALSE = frozenset({"false", "no", "off", ""})


@dataclass(frozen=True, slots=True)
class Config:
    """Values by key; a value is None where the key stands without ``=``, which is true."""

    values: Mapping[str, tuple[str | None, ...]]

    def get(self, key: str) -> str | None:
        """The value that counts, which is the last; None where the key is not set."""
        found = self.values.get(_normal(key))
        return None if found is None else found[-1] or ""

    def get_all(self, key: str) -> list[str]:
        return [value or "" for value in self.values.get(_normal(key), ())]

    def integer(self, key: str, default: int) -> int:
        text = self.get(key)
        if text is None:
            return default
        match = _INTEGER.match(text)
        if match is None:
            raise UsageError(f"{key} is {text!r}, which is not a number", hint=_unset(key))
        digits = match[1]
        number = int(digits, 16) if "x" in digits.lower() else int(digits)
        return number * _UNITS[match[2].lower()]

    def number(self, key: str) -> float | None:
        """A number of 0 or more, such as 0.5 or 1e-3; None where the key is not set."""
        text = self.get(key)
        if text is None:
            return None
        if not _NUMBER.match(text) or not isfinite(float(text)):
            raise UsageError(f"{key} is {text!r}, not a number of 0 or more", hint=_unset(key))
        return float(text)

    def boolean(self, key: str, default: bool) -> bool:
        found = self.values.get(_normal(key))
        if found is None:
            return default
        text = found[-1]
        if text is None or text.lower() in _TRUE:
            return True
        if text.lower() in _FALSE:
            return False
        if match := _INTEGER.match(text):
            return int(match[1], 0 if "x" in match[1].lower() else 10) != 0
        raise UsageError(f"{key} is {text!r}, neither true nor false", hint=_unset(key))

    def section(self, prefix: str) -> dict[str, str]:
        """Keys that start with ``prefix`` and a dot, with the value that counts, last set last."""
        start = f"{_normal(prefix + '.x')[:-2]}."
        return {key: found[-1] or "" for key, found in self.values.items() if key.startswith(start)}


def _unset(key: str) -> str:
    return f"run 'git config --unset {key}' or set it right"


def _normal(key: str) -> str:
    """Sections and names know no case; what stands between them does."""
    section, dot, rest = key.partition(".")
    middle, dot2, name = rest.rpartition(".")
    return f"{section.lower()}{dot}{middle}{dot2}{name.lower()}"


def load(repo: Repository) -> Config:
    """Every setting that git sees in ``repo``: system, global, local, worktree, command line."""
    return parse(repo.git("config", "--list", "-z"))


def parse(output: bytes) -> Config:
    """What ``git config --list -z`` printed."""
    values: dict[str, tuple[str | None, ...]] = {}
    for item in output.split(b"\0")[:-1]:
        name, feed, value = item.partition(b"\n")
        key = _normal(name.decode("utf-8", "surrogateescape"))
        text = value.decode("utf-8", "surrogateescape") if feed else None
        values[key] = (*values.pop(key, ()), text)  # a key that is set again comes last
    return Config(values)
