"""Walks the inert nodes of a pickle and gives the tensors in it their names.

A name is the path of keys and attributes, joined by dots, as ``state_dict`` writes it:
the ``_modules``, ``_parameters`` and ``_buffers`` of a pickled module are left out. The
walk meets each container once, so cycles and shared parts cost nothing, but meets a tensor
as often as it is named. Paths deeper than DEPTH or longer than a name may be are not
followed; what stands there has no name.

What is a tensor is for the caller to say, who reads calls, persistent ids and literals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import Any, TypeVar

from git_nn.errors import LayoutError
from git_nn.formats.pickle_machine import Call, Dict, PersistentId, Set, Span
from git_nn.objects.layout import MAX_TENSORS
from git_nn.objects.names import is_canonical

DEPTH = 200
ROOT = "tensor"  # the name of a tensor that is the whole pickle

_MAX_NAMES = 32 * 1024 * 1024  # bytes of all names; they all end up in one pointer
_INNER = frozenset({"_modules", "_parameters", "_buffers"})
_CONTAINERS = (list, tuple, Dict, Set, Call)
_READ = (Call, PersistentId, Span)
_END: Any = (None, object())

T = TypeVar("T")
_Child = tuple[str | None, Any]

# the tensor that a node is, if it is one; the node to enter, which may be another or None;
# and those of a call's arguments to enter, where these are not all
Read = Callable[[Any], tuple[T | None, Any, tuple[Any, ...] | None]]


def named(root: Any, read: Read[T]) -> list[tuple[str | None, T]]:
    """Every tensor that is reachable, in the order in which the pickle has them.

    A name is None where the path is none; of several equal paths the later ones get ``~2``,
    ``~3`` and so on. LayoutError where tensors or names are too many.
    """
    found: list[tuple[str | None, T]] = []
    taken: dict[str, int] = {}
    total = 0
    for path, tensor in _walk(root, read):
        name = None if path is None else _unique(path or ROOT, taken)
        total += len(name or "")
        if len(found) >= MAX_TENSORS or total > _MAX_NAMES:
            raise LayoutError("the pickle has too many tensors or too long names")
        found.append((name, tensor))
    return found


def _unique(name: str, taken: dict[str, int]) -> str:
    unique = name
    while unique in taken:
        taken[name] += 1
        unique = f"{name}~{taken[name]}"
    taken[unique] = 1
    return unique


def _walk(root: Any, read: Read[T]) -> Iterator[tuple[str | None, T]]:
    """Tensors with their paths, depth first; each container is entered once."""
    seen: set[int] = set()
    keys: list[str | None] = [""]
    stack: list[Iterator[_Child]] = [iter([("", root)])]
    while stack:
        key, node = next(stack[-1], _END)
        if node is _END[1]:
            stack.pop()
            keys.pop()
            continue
        args = None
        if isinstance(node, _READ):
            tensor, node, args = read(node)
            if tensor is not None:
                yield _path([*keys, key]), tensor
        if not isinstance(node, _CONTAINERS) or _is_empty(node):  # the empty ones are many
            continue
        if id(node) not in seen and len(stack) < DEPTH:
            seen.add(id(node))
            keys.append(key)
            stack.append(_children(node, args))


def _is_empty(node: Any) -> bool:
    return not (node.items if isinstance(node, Dict) else node)


def _path(keys: list[str | None]) -> str | None:
    """None where the path is too long or no text, which no name may be."""
    if None in keys:
        return None
    path = ".".join(key for key in keys if key)
    return path if is_canonical(path) else None


def _children(node: Any, args: tuple[Any, ...] | None) -> Iterator[_Child]:
    match node:
        case Dict():
            return _pairs(node.items)
        case Set():
            return _numbered(node.elements)
        case Call():
            given = node.args if isinstance(node.args, tuple) else ()
            return _call_children(node, given if args is None else args)
    return _numbered(node)


def _call_children(call: Call, args: tuple[Any, ...]) -> Iterator[_Child]:
    """What was given to the call and to its result; attributes as a module names them."""
    yield from _numbered(args)
    if call.items:
        yield from _pairs(call.items)
    if call.elements:
        yield from _numbered(call.elements)
    if call.state is None:
        return
    states = call.state if isinstance(call.state, tuple) else (call.state,)
    for state in states:  # a tuple is the attributes and the slots
        if isinstance(state, Dict):
            for key, value in _pairs(state.items):
                yield ("" if key in _INNER else key), value
        else:
            yield "state", state


def _numbered(nodes: Iterable[Any]) -> Iterator[_Child]:
    return zip(map(str, count()), nodes, strict=False)


def _pairs(items: Iterable[tuple[Any, Any]]) -> Iterator[_Child]:
    for i, (key, value) in enumerate(items):
        match key:
            case str():
                yield key, value
            case int() | float() | None:
                yield str(key), value
            case Span(text=True):
                yield None, value
            case _:
                yield str(i), value
