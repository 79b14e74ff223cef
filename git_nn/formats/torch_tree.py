"""The value of a torch checkpoint as nodes to be changed: tensors among plain values.

Words: a leaf is a tensor; a path is the keys from the root to it. See torch_write.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from git_nn.errors import LayoutError
from git_nn.formats.base import Source
from git_nn.formats.pickle_emit import DEPTH
from git_nn.formats.pickle_machine import Call, Dict, Global, PersistentId, Span
from git_nn.formats.torch_walk import Reference, read, storage_of

_ORDERED = Global("collections", "OrderedDict")
_PLAIN_CALLS = frozenset({Global("torch", "Size"), Global("torch", "device")})

_START = object()

Keys = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Leaf:
    """A tensor in the pickle: where it stands, its node, and the window that it is."""

    path: Keys
    node: Any
    window: Reference


def plain(root: Any, source: Source) -> Any:
    """A copy of the nodes that can be changed, with long texts read; LayoutError where it is more
    than tensors among plain values."""
    return _Copy(source).of(root, 0)


@dataclass(slots=True)
class _Copy:
    """``made`` are copies by the id of what they are of: tuples and tensors may be shared."""

    source: Source
    made: dict[int, Any] = field(default_factory=dict)

    def of(self, node: Any, depth: int) -> Any:
        if depth > DEPTH:
            raise LayoutError("it is nested too deeply")
        match node:
            case None | bool() | int() | float() | str() | Global():
                return node
            case Span(offset, length, True):
                return self.source.read(offset, length).decode("utf-8", "surrogatepass")
            case tuple() | list() | Dict() | Call():
                return self._once(node, depth)
        raise LayoutError(f"it has a {type(node).__name__}")

    def _once(self, node: Any, depth: int) -> Any:
        if id(node) not in self.made:
            self.made[id(node)] = self._container(node, depth)
        elif isinstance(node, list | Dict) or _is_dict(node):
            raise LayoutError("a dict or a list stands in two places")
        return self.made[id(node)]

    def _container(self, node: Any, depth: int) -> Any:
        match node:
            case list():
                return [self.of(item, depth + 1) for item in node]
            case tuple():
                return tuple(self.of(item, depth + 1) for item in node)
            case Dict():
                return Dict(self._pairs(node.items, depth))
        return self._call(node, depth)

    def _pairs(self, items: Iterable[tuple[Any, Any]], depth: int) -> list[tuple[Any, Any]]:
        return [(self.of(key, depth + 1), self.of(value, depth + 1)) for key, value in items]

    def _call(self, node: Call, depth: int) -> Call:
        if read(node, storage_of)[0] is not None:
            return self._tensor(node, depth)
        match node:
            case Call(function, (), elements=None) if function == _ORDERED:
                state = self.of(node.state, depth + 1)
                return Call(_ORDERED, (), state, self._pairs(node.items or (), depth))
            case Call(function, args, None, None, None) if function in _PLAIN_CALLS:
                return Call(function, self.of(args, depth + 1))
            case Call(Global() as function):
                raise LayoutError(f"it has an object of {function.module}.{function.name}")
        raise LayoutError("it has an object that is made by another")

    def _tensor(self, node: Call, depth: int) -> Call:
        if node.state is not None or node.items or node.elements:
            raise LayoutError("a tensor is more than its elements")
        args = [self._argument(argument, depth + 1) for argument in node.args]
        return Call(node.function, tuple(args))

    def _argument(self, node: Any, depth: int) -> Any:
        if isinstance(node, PersistentId):
            return PersistentId(self.of(node.id, depth))
        return self.of(node, depth)


def _is_dict(node: Any) -> bool:
    return isinstance(node, Call) and node.function == _ORDERED


def leaves(root: Any) -> Iterator[Leaf]:
    """Every tensor, in the order of the pickle; a tuple is entered once."""
    seen: set[int] = set()

    def below(node: Any, path: Keys) -> Iterator[Leaf]:
        if isinstance(node, tuple):
            if id(node) in seen:
                return
            seen.add(id(node))
        for key, value in _items(node):
            window = read(value, storage_of)[0] if isinstance(value, Call) else None
            if window is not None:
                yield Leaf((*path, key), value, window)
            else:
                yield from below(value, (*path, key))

    return below(root, ())


def _items(node: Any) -> Iterable[tuple[Any, Any]]:
    match node:
        case Dict() | Call():
            return node.items or ()
        case list() | tuple():
            return enumerate(node)
    return ()


# --- places -----------------------------------------------------------------------------


def at(node: Any, path: Keys) -> Any:
    """The dict or list at a path; None where there is none."""
    for key in path:
        node = next((value for k, value in _items(node) if k == key), None)
    return node


def change(root: Any, changes: Mapping[Keys, Any]) -> None:
    """Put the nodes of ``changes`` where those paths lead; None takes away what stands there."""
    ways = {path[:i] for path in changes for i in range(len(path))}

    def below(node: Any, path: Keys) -> None:
        for key, value in _items(node):
            if (*path, key) in ways:
                below(value, (*path, key))
        new = {key: changes[*path, key] for key, _ in _items(node) if (*path, key) in changes}
        if isinstance(node, Dict | Call) and node.items is not None:
            items = [(key, new.get(key, value)) for key, value in node.items]
            node.items = [
                (key, value) for key, value in items if key not in new or value is not None
            ]
        elif isinstance(node, list) and None not in new.values():
            for at, value in new.items():
                node[at] = value
        elif new:
            raise LayoutError("a tensor in a list was taken away, or one in a tuple changed")

    below(root, ())


def insert(holder: Any, other: Any, more: dict[Any, Any]) -> None:
    """Put theirs' tensors into the same dict of ours, each behind what is before it in theirs, and
    behind what ours has added there."""
    if not isinstance(holder, Dict | Call) or not isinstance(other, Dict | Call):
        raise LayoutError(f"ours has no dict for {min(map(str, more))!r}")
    items = holder.items or []
    places = {key: i for i, (key, _) in enumerate(items)}
    if places.keys() & more.keys():
        raise LayoutError(f"{min(map(str, places.keys() & more.keys()))!r} is no tensor in ours")
    shared = places.keys() & {key for key, _ in other.items or ()}
    waiting: dict[Any, list[tuple[Any, Any]]] = defaultdict(list)  # by the shared key before them
    before: Any = _START
    for key, _ in other.items or ():
        if key in more:
            waiting[before].append((key, more[key]))
        elif key in shared and places[key] >= places.get(before, -1):
            before = key
    holder.items, before = [], _START
    for key, value in items:
        if key in shared:
            holder.items += waiting.pop(before, [])
            before = key
        holder.items.append((key, value))
    for late in waiting.values():
        holder.items += late


def merge_metadata(ours: Any, theirs: Any) -> None:
    """Add what ``_metadata`` of theirs' state_dicts says of modules that ours does not have."""
    mine, other = _metadata(ours), _metadata(theirs)
    if mine is not None and other is not None:
        known = {key for key, _ in mine.items or ()}
        insert(mine, other, {key: value for key, value in other.items or () if key not in known})
    others = dict(_pairs_of(theirs))
    for key, value in _pairs_of(ours):
        if key in others:
            merge_metadata(value, others[key])


def _pairs_of(node: Any) -> list[tuple[Any, Any]]:
    """The dicts in a node, with their keys."""
    return [
        (key, value)
        for key, value in _items(node)
        if isinstance(value, Dict | list) or _is_dict(value)
    ]


def _metadata(node: Any) -> Dict | Call | None:
    state = node.state if isinstance(node, Call) else None
    found = next((v for k, v in _items(state) if k == "_metadata"), None)
    return found if isinstance(found, Dict | Call) else None
