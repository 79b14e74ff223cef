"""What a check says, and what counts as wrong."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from git_nn.errors import UsageError
from git_nn.gitio.config import Config

MAX_SIZE = 10 * 1024 * 1024


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


_BY_SETTING = {"error": Severity.ERROR, "warn": Severity.WARNING, "ignore": None}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: where, what, how bad, and the command that mends it.

    ``message`` goes on where the path ends: "is tracked, but ...".
    """

    kind: str
    path: bytes
    message: str
    fix: str
    severity: Severity = Severity.ERROR
    tensor: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """The settings nn.check.*; None for what is ignored."""

    max_size: int = MAX_SIZE
    nan: Severity | None = Severity.ERROR
    inf: Severity | None = Severity.WARNING  # attention masks hold -inf on purpose
    pickle: Severity | None = Severity.ERROR

    @classmethod
    def of(cls, config: Config) -> Limits:
        """UsageError for a value that means nothing."""
        standard = cls()
        return cls(
            config.integer("nn.check.maxsize", standard.max_size),
            _severity(config, "nan", standard.nan),
            _severity(config, "inf", standard.inf),
            _severity(config, "pickle", standard.pickle),
        )


def _severity(config: Config, name: str, default: Severity | None) -> Severity | None:
    text = config.get(f"nn.check.{name}")
    if text is None:
        return default
    if text.lower() not in _BY_SETTING:
        raise UsageError(
            f"nn.check.{name} is {text!r}, not one of error, warn and ignore",
            hint=f"run 'git config nn.check.{name} warn'",
        )
    return _BY_SETTING[text.lower()]


def has_errors(findings: Iterable[Finding]) -> bool:
    return any(finding.severity is Severity.ERROR for finding in findings)


def word(path: bytes) -> str:
    """A path as one word of a shell command."""
    return shlex.quote(os.fsdecode(path))
