"""rules: which strategy a tensor gets where both sides changed it.

In order of strength, for one path:

1. GIT_NN_MERGE, for every tensor of one merge
2. ``nn.merge.<pattern>.strategy`` of the configuration; the last pattern that matches
   the tensor's name counts
3. the recipe file of the work tree (``merge.recipe``); the last rule that matches counts
4. the attribute ``nn-merge`` of the path
5. ``nn.merge.strategy`` of the configuration
6. none: the tensor is a conflict

Each is written ``NAME`` or ``NAME:parameter=number,parameter=number``; the name
``conflict`` asks for none. A word that is not understood is an error and never a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from math import isfinite

from git_nn.errors import UsageError
from git_nn.merge.keys import Preference
from git_nn.merge.rows import BY_ROWS, Ladder
from git_nn.merge.strategies import table

ATTRIBUTE = "nn-merge"
SETTING = "nn.merge.strategy"
VARIABLE = "GIT_NN_MERGE"
NONE = "conflict"
_PREFIX, _SUFFIX = "nn.merge.", ".strategy"


@dataclass(frozen=True, slots=True)
class Choice:
    """A strategy with a value for every parameter."""

    strategy: str
    parameters: tuple[tuple[str, float], ...] = ()

    def __str__(self) -> str:
        if not self.parameters:
            return self.strategy
        return self.strategy + ":" + ",".join(f"{k}={_shortest(v)}" for k, v in self.parameters)


Pattern = tuple[str, Choice | None]


@dataclass(frozen=True, slots=True)
class Rules:
    """What a person chose for one path; ``patterns`` are globs over tensor names.

    ``skeleton`` is for data beside the tensors that both sides changed, ``ladder`` for tensors
    of which they changed different rows.
    """

    default: Choice | None = None
    patterns: tuple[Pattern, ...] = ()
    skeleton: Preference = "keys"
    ladder: Ladder = BY_ROWS

    def choose(self, name: str) -> Choice | None:
        """The choice for a tensor; None is a conflict."""
        number = self.deciding(name)
        return self.default if number is None else self.patterns[number][1]

    def deciding(self, name: str) -> int | None:
        """Which of ``patterns`` decides for a tensor; None is the default."""
        for number in reversed(range(len(self.patterns))):
            if fnmatchcase(name, self.patterns[number][0]):
                return number
        return None


def rules(
    attribute: str | None,
    settings: Mapping[str, str],
    override: str | None,
    where: str,
    recipe: tuple[Pattern, ...] = (),
) -> Rules:
    """The rules for the path ``where``; UsageError names the setting that makes no sense.

    ``settings`` are the keys of the configuration that start with ``nn.merge.``; ``recipe``
    is what the recipe file has for this path.
    """
    if override:
        return Rules(parse(override, VARIABLE))
    configured = tuple(
        (key.removeprefix(_PREFIX).removesuffix(_SUFFIX), parse(value, key))
        for key, value in settings.items()
        if key != SETTING and key.startswith(_PREFIX) and key.endswith(_SUFFIX)
    )
    patterns = (*recipe, *configured)
    if attribute is not None and attribute != "unset":
        return Rules(parse(attribute, f"the attribute {ATTRIBUTE} of {where}"), patterns)
    if attribute is None and SETTING in settings:
        return Rules(parse(settings[SETTING], SETTING), patterns)
    return Rules(None, patterns)


def averaged(found: Rules) -> Rules:
    """The same for what was measured of a model: where anything is computed it is the mean."""
    patterns = tuple((pattern, mean_for(choice)) for pattern, choice in found.patterns)
    default = mean_for(found.default)
    return replace(found, default=default, patterns=patterns)


def mean_for(choice: Choice | None) -> Choice | None:
    """The mean in place of a choice that computes."""
    strategy = None if choice is None else table.by_name(choice.strategy)
    computes = strategy is not None and strategy.side is None and not strategy.copies_base
    return parse("mean", "statistics") if computes else choice


def _shortest(value: float) -> str:
    """A number that reads back as the same double, without digits that say nothing."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def parse(text: str, source: str) -> Choice | None:
    """The choice that ``text`` names; None for ``conflict``. ``source`` is for the message."""
    name, _, rest = text.partition(":")
    if name == NONE and not rest:
        return None
    if name not in table.NAMES:
        raise UsageError(
            f"{source} is {text[:80]!r}, which names no merge strategy",
            hint=f"use one of: {', '.join(table.NAMES)}, {NONE}",
        )
    parameters = dict(table.by_name(name).parameters)
    for item in filter(None, rest.split(",")):
        key, value = _parameter(item, name, source)
        parameters[key] = value
    return Choice(name, tuple(parameters.items()))


def _parameter(item: str, name: str, source: str) -> tuple[str, float]:
    strategy = table.by_name(name)
    key, _, text = item.partition("=")
    if key not in strategy.parameters:
        known = ", ".join(strategy.parameters) or "it has none"
        raise UsageError(
            f"{source}: the strategy {name} has no parameter {key[:40]!r}", hint=f"known: {known}"
        )
    low, high = strategy.limits[key]
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not isfinite(value) or not low <= value <= high:
        start = f" from {low:g}" if isfinite(low) else ""
        allowed = f"a number{start}" + (f" to {high:g}" if isfinite(high) else "")
        raise UsageError(f"{source}: {key} of {name} is {text[:40]!r}", hint=f"use {allowed}")
    return key, value
