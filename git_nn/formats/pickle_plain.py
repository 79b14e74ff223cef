"""What a pickle says beside its tensors: epoch, rates, classes, parameters, as JSON values.

Bounded: VALUES values, DEPTH levels, lists of up to LIST items and texts of up to TEXT
characters; what exceeds a limit is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Any

from git_nn.formats.pickle_machine import Call, Dict, Global, PersistentId, Set
from git_nn.formats.pickle_numpy import WRAPPER

VALUES = 20_000
DEPTH = 20
LIST = 1000
TEXT = 1000

_NOTHING: Any = object()


@dataclass(slots=True)
class _Budget:
    values: int = VALUES


def plain(root: Any) -> dict[str, Any]:
    """The plain values under ``root`` by their keys; {} where there are none."""
    found = _plain(root, DEPTH, _Budget())
    return found if isinstance(found, dict) else {}


def _plain(node: Any, depth: int, budget: _Budget) -> Any:
    budget.values -= 1
    if budget.values < 0 or depth < 0:
        return _NOTHING
    match node:
        case None | bool():
            return node
        case int():
            return node if node.bit_length() <= 64 else _NOTHING
        case float():
            return node if isfinite(node) else str(node)
        case str():
            return node if len(node) <= TEXT else _NOTHING
        case list() | tuple():
            return _sequence(node, depth, budget)
        case Set():
            return _sequence(node.elements, depth, budget)
        case Dict():
            return _mapping(node.items, depth, budget)
        case Call():
            return _object(node, depth, budget)
    return _NOTHING


def _sequence(nodes: list[Any] | tuple[Any, ...], depth: int, budget: _Budget) -> Any:
    if len(nodes) > LIST:
        return _NOTHING
    values = [_plain(node, depth - 1, budget) for node in nodes]
    kept = [value for value in values if value is not _NOTHING]
    return kept if kept or not nodes else _NOTHING


def _mapping(items: list[tuple[Any, Any]], depth: int, budget: _Budget) -> Any:
    values: dict[str, Any] = {}
    for key, node in items:
        if budget.values < 0:
            break
        if isinstance(key, str | int | float) and not (isinstance(key, str) and len(key) > TEXT):
            value = _plain(node, depth - 1, budget)
            if value is not _NOTHING:
                values[str(key)] = value
    return values or _NOTHING


def _object(call: Call, depth: int, budget: _Budget) -> Any:
    """A dict type is its items; any other object its class and attributes."""
    if call.items is not None:
        return _mapping(call.items, depth, budget)
    state = call.state[0] if isinstance(call.state, tuple) and call.state else call.state
    made_by = _class(call.function)
    if not isinstance(state, Dict) or made_by is None or made_by == WRAPPER:
        return _NOTHING
    attributes = _mapping(state.items, depth, budget)
    name = f"{made_by.module}.{made_by.name}"
    return {"class": name[:TEXT], **(attributes if attributes is not _NOTHING else {})}


def _class(function: Any) -> Global | None:
    """The class of an object; torch gives the source of its own classes before 1.6."""
    match function:
        case Global():
            return function
        case PersistentId(("module", Global() as made_by, *_)):
            return made_by
    return None
