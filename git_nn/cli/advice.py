"""The next step, where a person would not think of it; on stderr, so that output stays output."""

from __future__ import annotations

import click

from git_nn.gitio.config import load
from git_nn.gitio.repository import Repository


def installed(repo: Repository) -> bool:
    """Whether Git knows our filter here; where it does not, that is said."""
    if load(repo).get("filter.nn.process") is not None:
        return True
    click.echo(
        "git-nn: Git does not know the filter yet and adds weights as raw bytes: "
        "run 'git nn install'", err=True,
    )  # fmt: skip
    return False
