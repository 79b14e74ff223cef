"""``git nn check``: what the pre-commit hook runs, for people and for CI."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import click

from git_nn import check
from git_nn.drivers.hooks import describe
from git_nn.drivers.open import open_repository, store_of
from git_nn.errors import UsageError
from git_nn.gitio.config import Config, load


@click.command("check")
@click.option("--staged", "scope", flag_value="staged", help="What the next commit changes.")
@click.option("--all", "scope", flag_value="all", help="Every file in the index.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--max-size", metavar="SIZE", help="Size of untracked weights; default 10m.")
def command(scope: str | None, *, as_json: bool, max_size: str | None) -> int:
    """Look for what should not be committed, in the index (default: --staged).

    \b
    Raw weights of tracked files, large weight files that are not tracked, broken
    pointers, missing tensors, NaN and Inf, pickles that would call code.
    Settings: nn.check.maxSize, nn.check.nan, .inf and .pickle = error|warn|ignore.
    Exit codes: 0 no errors (warnings may be), 1 errors.
    """
    repo = open_repository()
    limits = check.Limits.of(load(repo))
    if max_size is not None:
        limits = replace(limits, max_size=_size(max_size))
    look = check.everything if scope == "all" else check.staged
    findings = look(repo, store_of(repo), limits)
    _print(findings, as_json=as_json)
    return 1 if check.has_errors(findings) else 0


def _size(text: str) -> int:
    try:
        return Config({"size": (text,)}).integer("size", 0)
    except UsageError as error:
        raise click.BadParameter(f"{text!r} is not a size such as 500k or 10m") from error


def _print(findings: list[check.Finding], *, as_json: bool) -> None:
    if as_json:
        rows = [_row(finding) for finding in findings]
        click.echo(json.dumps({"version": 1, "findings": rows}, indent=2))
        return
    for finding in findings:
        click.echo(describe(finding))


def _row(finding: check.Finding) -> dict[str, str]:
    return {
        "kind": finding.kind,
        "severity": finding.severity.value,
        "path": os.fsdecode(finding.path),
        "tensor": finding.tensor,
        "message": finding.message,
        "fix": finding.fix,
    }
