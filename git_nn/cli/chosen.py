"""The options ``-I`` and ``-X``: which paths a command is about."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., object])


def chosen_options(function: Command) -> Command:
    """Adds ``include`` and ``exclude``, globs over paths from the top."""
    function = click.option(
        "-X", "--exclude", metavar="GLOB", multiple=True, help="Not these paths."
    )(function)
    return click.option("-I", "--include", metavar="GLOB", multiple=True, help="Only these paths.")(
        function
    )
