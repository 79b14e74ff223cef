"""keys: data beside the tensors, merged three ways where a format has keys for it.

A key is (where, name): an attribute of an HDF5 group or dataset by its path, an entry of
safetensors' ``__metadata__`` with no place. What both sides changed is ours: a counter of
epochs or a date is no reason to stop a merge of weights.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from git_nn.errors import UsageError
from git_nn.formats.base import Key
from git_nn.objects.names import escape, natural_key

SETTING = "nn.merge.skeleton"
SHOWN = 4

Preference = Literal["keys", "ours", "theirs", "conflict"]
PREFERENCES: tuple[Preference, ...] = ("keys", "ours", "theirs", "conflict")


@dataclass(frozen=True, slots=True)
class Merged:
    """Ours, but for ``from_theirs``: those have theirs' value, or are not there as in theirs."""

    from_theirs: frozenset[Key]
    both: tuple[Key, ...]


def preference(value: str | None) -> Preference:
    """What the setting asks for; UsageError where that makes no sense."""
    if value is None:
        return "keys"
    for known in PREFERENCES:
        if value == known:
            return known
    raise UsageError(f"{SETTING} is {value[:80]!r}", hint=f"use one of: {', '.join(PREFERENCES)}")


def merge(base: Mapping[Key, str], ours: Mapping[Key, str], theirs: Mapping[Key, str]) -> Merged:
    """By the rule of three versions, for each key; equal strings are equal values."""
    differing = different(ours, theirs)
    taken = frozenset(key for key in differing if ours.get(key) == base.get(key))
    both = {key for key in differing - taken if theirs.get(key) != base.get(key)}
    return Merged(taken, tuple(sorted(both, key=_order)))


def different(ours: Mapping[Key, str], theirs: Mapping[Key, str]) -> frozenset[Key]:
    """The keys whose values differ, or that only one side has."""
    return frozenset(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))


def shown(keys: Collection[Key]) -> str:
    """``epoch, date and 2 more``."""
    words = [f"{escape(where)}: {escape(name)}" if where else escape(name) for where, name in keys]
    if len(words) > SHOWN:
        return f"{', '.join(words[:SHOWN])} and {len(words) - SHOWN} more"
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _order(key: Key) -> tuple[object, object]:
    return natural_key(key[0]), natural_key(key[1])
