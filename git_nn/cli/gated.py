"""The options ``--threshold``, ``--check`` and ``--checks``: what they ask for, what came of it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from git_nn.cli.compared import Shown
from git_nn.differences import checks
from git_nn.differences.check_language import parse, parse_file
from git_nn.drivers.gate import Gate, weights
from git_nn.drivers.terminal import quoted
from git_nn.errors import UsageError
from git_nn.gitio.config import load
from git_nn.gitio.repository import Repository

THRESHOLD = "nn.diff.threshold"


def gate(options: dict[str, Any]) -> Gate:
    """The checks of the command line, then those of files; UsageError where one makes no sense."""
    found = [parse(text) for text in options["checks"]]
    for name in options["check_files"]:
        try:
            text = Path(name).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no UTF-8"
            raise UsageError(f"cannot read {name}: {reason}") from error
        lines = parse_file(text, name)
        if not lines:
            raise UsageError(f"there is no check in {name}", hint="write one on each line")
        found += lines
    return Gate(found)


def configure(made: Gate, repo: Repository | None, options: dict[str, Any]) -> None:
    """Settings count where the command line says nothing."""
    config = None if repo is None else load(repo)
    if made.checks:
        made.weights = weights(config)
    if config is not None and options["threshold"] is None:
        options["threshold"] = config.number(THRESHOLD)


def marked(shown: Iterable[Shown], threshold: float | None) -> list[Shown]:
    """Each comparison with its change points marked, where a threshold is asked for."""
    if threshold is None:
        return list(shown)
    return [
        replace(one, diff=checks.marked(one.diff, threshold)) if one.diff else one for one in shown
    ]


def tell(made: Gate) -> int:
    """A line on stderr for each check that failed; the exit code."""
    if not made.checks:
        return 0
    found = made.verdicts()
    for one in found:
        if not one.passed:
            where = f"{quoted(os.fsencode(one.path))}: " if one.path else ""
            click.echo(f"git-nn: check failed: {one.check.text}: {where}{one.message}", err=True)
    failed = sum(not one.passed for one in found)
    if not failed:
        count = len(found)
        click.echo(f"git-nn: {count} check{'' if count == 1 else 's'} passed", err=True)
    return int(failed > 0)


def size(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    """The callback of an option that is a finite number of 0 or more."""
    if value is not None and not (math.isfinite(value) and value >= 0):
        raise click.BadParameter("it is not a finite number of 0 or more", ctx, param)
    return value
