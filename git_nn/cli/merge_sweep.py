"""``git nn merge --sweep``: choose a parameter of the strategy by a command that measures."""

from __future__ import annotations

import click

from git_nn.drivers.open import store_of
from git_nn.drivers.trials import trials
from git_nn.errors import UsageError
from git_nn.gitio.repository import Repository
from git_nn.merge.rules import parse
from git_nn.merge.sweeping import Trial, best, values


def choose(  # noqa: PLR0913 - what the command line says
    repo: Repository, branch: str, strategy: str, spec: str, command: str, *, minimise: bool
) -> str:
    """The strategy with the best value, after a table of what each gave."""
    key, tried = values(spec)
    joint = "," if ":" in strategy else ":"
    choices = {value: str(parse(f"{strategy}{joint}{key}={value}", "--sweep")) for value in tried}
    width = max(len(key), *map(len, tried))
    click.echo(f"{key:>{width}}  metric")
    found: list[Trial] = []
    for trial in trials(repo, store_of(repo), branch, choices, command):
        click.echo(f"{trial.value:>{width}}  {trial.metric:g}")
        found.append(trial)
    chosen = best(found, minimise=minimise)
    if chosen is None:
        raise UsageError("the command of --eval gave NaN for every value")
    click.echo(f"best: {key}={chosen.value} ({chosen.metric:g})")
    return choices[chosen.value]
