"""ways: what could settle a conflict of one tensor. Pure; no weight is read."""

from __future__ import annotations

from git_nn.merge.decide import Conflict, settle
from git_nn.merge.rules import Choice
from git_nn.merge.strategies import table


def choice_of(name: str) -> Choice:
    """A strategy with its default parameters."""
    return Choice(name, tuple(table.by_name(name).parameters.items()))


def ways(conflict: Conflict) -> tuple[str, ...]:
    """The sides, then the strategies with their defaults, that give this tensor.

    ``base`` is a side where the tensor has one: it may be of a kind that is never computed.
    Strategies that need statistics are left out: whether there are any is not looked up.
    """
    sides = ("ours", "theirs", *(("base",) if conflict.base is not None else ()))
    computing = (name for name in table.NAMES if name not in ("ours", "theirs", "base"))
    return (*sides, *(name for name in computing if _gives(name, conflict)))


def _gives(name: str, conflict: Conflict) -> bool:
    settled = settle(conflict, choice_of(name))
    return not isinstance(settled, Conflict) and not table.by_name(name).needs
