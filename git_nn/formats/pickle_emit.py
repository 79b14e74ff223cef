"""Writes a pickle of protocol 2 from inert nodes, for readers that load plain values only.

What is written: None, bool, int, float, str, tuple, list, Dict, Global, PersistentId, and a Call
with its items and state. A node that is there twice is written once, and got from the memo
then. LayoutError for anything else, and for nodes that are nested deeper than DEPTH.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from git_nn.errors import LayoutError
from git_nn.formats.pickle_machine import Call, Dict, Global, PersistentId

DEPTH = 100

_NUMBERED = -1  # no id: how many entries the memo of the pickle has

_SHARED = (tuple, list, Dict, Call)


def emit(root: Any) -> bytes:
    """The pickle of ``root``."""
    counts: Counter[int] = Counter()
    _count(root, counts, 0)
    memo: dict[int, int | None] = {key: None for key, count in counts.items() if count > 1}
    return b"".join([b"\x80\x02", *_node(root, memo), b"."])


def _count(node: Any, counts: Counter[int], depth: int) -> None:
    """How often each node that can be shared is there."""
    if depth > DEPTH:
        raise LayoutError("the pickle is nested too deeply")
    if isinstance(node, _SHARED):
        counts[id(node)] += 1
        if counts[id(node)] > 1:
            return
    for child in _children(node):
        _count(child, counts, depth + 1)


def _children(node: Any) -> Iterable[Any]:
    match node:
        case tuple() | list():
            return node
        case Dict():
            return (part for pair in node.items for part in pair)
        case PersistentId():
            return (node.id,)
        case Call():
            pairs = (part for pair in node.items or () for part in pair)
            return (node.function, node.args, *pairs, node.state)
    return ()


def _node(node: Any, memo: dict[int, int | None]) -> Iterator[bytes]:
    known = memo.get(id(node)) if isinstance(node, _SHARED) else None
    if known is not None:
        yield b"j" + struct.pack("<I", known)
        return
    match node:
        case tuple():
            yield b"("
            yield from _all(node, memo)
            yield b"t" + _put(node, memo)
        case list():
            yield b"]" + _put(node, memo) + b"("
            yield from _all(node, memo)
            yield b"e"
        case Dict():
            yield b"}" + _put(node, memo)
            yield from _pairs(node.items, memo)
        case PersistentId():
            yield from _node(node.id, memo)
            yield b"Q"
        case Call(elements=None):
            yield from _node(node.function, memo)
            yield from _node(node.args, memo)
            yield b"R" + _put(node, memo)
            yield from _pairs(node.items or (), memo)
            if node.state is not None:
                yield from _node(node.state, memo)
                yield b"b"
        case _:
            yield _plain(node)


def _all(nodes: Iterable[Any], memo: dict[int, int | None]) -> Iterator[bytes]:
    for node in nodes:
        yield from _node(node, memo)


def _pairs(items: Iterable[tuple[Any, Any]], memo: dict[int, int | None]) -> Iterator[bytes]:
    flat = [part for pair in items for part in pair]
    if flat:
        yield b"("
        yield from _all(flat, memo)
        yield b"u"


def _put(node: Any, memo: dict[int, int | None]) -> bytes:
    if id(node) not in memo:
        return b""
    number = memo[_NUMBERED] = (memo.get(_NUMBERED) or 0) + 1
    memo[id(node)] = number
    return b"r" + struct.pack("<I", number)


def _plain(node: Any) -> bytes:
    match node:
        case None:
            return b"N"
        case bool():
            return b"\x88" if node else b"\x89"
        case int():
            return _int(node)
        case float():
            return b"G" + struct.pack(">d", node)
        case str():
            data = node.encode("utf-8", "surrogatepass")
            return b"X" + struct.pack("<I", len(data)) + data
        case Global(module, name) if "\n" not in module + name:
            return f"c{module}\n{name}\n".encode()
    raise LayoutError(f"a {type(node).__name__} stands in the pickle")


def _int(number: int) -> bytes:
    if -(1 << 31) <= number < 1 << 31:
        if 0 <= number < 1 << 8:
            return b"K" + bytes([number])
        return b"J" + struct.pack("<i", number)
    size = number.bit_length() // 8 + 1
    if size > 255:
        raise LayoutError("the pickle has an integer of more than 255 bytes")
    return b"\x8a" + bytes([size]) + number.to_bytes(size, "little", signed=True)
