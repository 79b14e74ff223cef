"""The stack, memo and reader of the pickle interpreter, and the inert nodes that it makes.

Nothing is imported, nothing is called, no object is built. What each opcode does is in
pickle_opcodes.py.

Words: node, one value of the result. A global is a ``Global`` node, a call of anything a
``Call`` node; dicts and sets become nodes as well, since their keys may be nodes. A bytes
or str literal of LONG bytes or more is a ``Span``: where it stands, not a copy.

Limits (a LayoutError when one is exceeded): OPCODES opcodes, NODES values, KEPT bytes of
literals, for all pickles that share a budget. The memo is a dict, since a pickle of nine
bytes can ask for a memo of a gigabyte.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from git_nn.errors import LayoutError
from git_nn.formats.base import Source

OPCODES = 3_000_000
NODES = 1_000_000
KEPT = 64 * 1024 * 1024
LONG = 4096

_WINDOW = 256 * 1024
_LINE = 64 * 1024


class BrokenPickleError(LayoutError):
    """No reader gets past this place; where it is only this one that stops, LayoutError."""


@dataclass(frozen=True, slots=True)
class Global:
    """A module-level name, not imported."""

    module: str
    name: str


@dataclass(slots=True, eq=False, repr=False)
class Dict:
    items: list[tuple[Any, Any]]


@dataclass(slots=True, eq=False, repr=False)
class Set:
    elements: list[Any]


@dataclass(slots=True, eq=False, repr=False)
class Call:
    """A call that was not made; ``state``, ``items`` and ``elements`` were given to its result."""

    function: Any
    args: Any
    state: Any = None
    items: list[tuple[Any, Any]] | None = None
    elements: list[Any] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PersistentId:
    id: Any


@dataclass(frozen=True, slots=True)
class Span:
    """A long literal: [offset, offset + length) of the source; ``text`` when it is a str."""

    offset: int
    length: int
    text: bool = False


@dataclass(slots=True)
class Budget:
    """What is left to read; shared by the pickles of one file."""

    opcodes: int = OPCODES
    nodes: int = NODES
    kept: int = KEPT


class Machine:
    """The state of reading one pickle in [start, stop) of a source.

    ``globals`` and ``persistent`` (ids) are those seen so far, ``called`` is whether any call
    was asked for, ``stopped`` whether the pickle was read to its end, and ``end`` is the
    offset after what was read: all of them also after a LayoutError.
    """

    def __init__(
        self,
        source: Source,
        start: int = 0,
        stop: int | None = None,
        budget: Budget | None = None,
    ) -> None:
        self.globals: list[Global] = []
        self.persistent: list[PersistentId] = []
        self.called = False
        self.stopped = False
        self.budget = budget or Budget()
        self._source = source
        self._stop = source.size if stop is None else stop
        self._base = start  # offset of the window in the source
        self._window = b""
        self._at = 0
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._frame = start  # offset after the last frame

    @property
    def end(self) -> int:
        return self._base + self._at

    def byte(self) -> int:
        if self._at >= len(self._window):
            self._fill(1)
        value = self._window[self._at]
        self._at += 1
        return value

    # -- reading

    def _fill(self, count: int) -> None:
        """Make at least ``count`` bytes available in the window."""
        start = self._base + self._at
        if count > self._stop - start:
            raise BrokenPickleError("the pickle ends too soon")
        self._window = self._source.read(start, min(max(count, _WINDOW), self._stop - start))
        self._base, self._at = start, 0

    def take(self, count: int) -> bytes:
        if count > len(self._window) - self._at:
            self._fill(count)
        data = self._window[self._at : self._at + count]
        self._at += count
        return data

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def line(self) -> bytes:
        end = self._window.find(b"\n", self._at)
        if end < 0:
            self._fill(min(_LINE, self._stop - self.end))
            end = self._window.find(b"\n", 0, _LINE)
        if end < 0:
            raise LayoutError("the pickle has a line without end")
        line = self._window[self._at : end]
        self._keep(len(line))
        self._at = end + 1
        return line

    def literal(self, length: int, *, text: bool = False) -> bytes | Span:
        if length < LONG:
            self._keep(length)
            return self.take(length)
        return self.skip(length, text=text)

    def skip(self, length: int, *, text: bool = False) -> Span:
        """Where the next ``length`` bytes stand; they are not read."""
        span = Span(self.end, length, text)
        if length > self._stop - span.offset:
            raise BrokenPickleError("the pickle has a literal that leaves it")
        self._jump(span.offset + length)
        return span

    def text(self, length: int) -> str | Span:
        data = self.literal(length, text=True)
        return data if isinstance(data, Span) else data.decode("utf-8", "surrogatepass")

    def old_text(self, length: int) -> str | Span:
        """A str of Python 2: most often text, such as an attribute's name."""
        data = self.literal(length)
        return data if isinstance(data, Span) else data.decode("latin-1")

    def frame(self, length: int) -> None:
        self._frame = self.end + length

    def _jump(self, offset: int) -> None:
        if self._base <= offset <= self._base + len(self._window):
            self._at = offset - self._base
        else:
            self._window, self._base, self._at = b"", offset, 0

    def _keep(self, length: int) -> None:
        self.budget.kept -= length
        if self.budget.kept < 0:
            raise LayoutError("the pickle has too many literals")

    def _count(self) -> None:
        self.budget.nodes -= 1
        if self.budget.nodes < 0:
            raise LayoutError(f"the pickle has more than {NODES} values")

    # -- the stack

    def push(self, value: Any) -> None:
        self._count()
        self._stack.append(value)

    def pop(self) -> Any:
        return self._stack.pop()

    def discard(self) -> None:
        """POP: a value, or a mark that has nothing above it."""
        if self._stack:
            self._stack.pop()
        else:
            self.pop_mark()

    def top(self) -> Any:
        return self._stack[-1]

    def mark(self) -> None:
        self._count()
        self._below.append(self._stack)
        self._stack = []

    def pop_mark(self) -> list[Any]:
        items = self._stack
        self._stack = self._below.pop()
        return items

    def put(self, key: int) -> None:
        self._memo[key] = self._stack[-1]
        if len(self._memo) > NODES:
            raise LayoutError(f"the pickle has more than {NODES} memo entries")

    def memoize(self) -> None:
        self.put(len(self._memo))

    def get(self, key: int) -> None:
        self.push(self._memo[key])

    # -- what an opcode means

    def find(self, module: Any, name: Any) -> Global:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise LayoutError("the pickle has a global whose name is no text")
        self._keep(64)
        found = Global(module, name)
        self.globals.append(found)
        return found

    def persist(self, key: Any) -> None:
        found = PersistentId(key)
        self.persistent.append(found)
        self.push(found)

    def call(self, function: Any, args: Any) -> None:
        self.called = True
        self.push(Call(function, args))

    def build(self) -> None:
        state = self.pop()
        target = self.top()
        self.called = True
        if isinstance(target, Call):
            target.state = state

    def extend(self, elements: list[Any]) -> None:
        target = self.top()
        if isinstance(target, list):
            target.extend(elements)
        elif isinstance(target, Call):
            if target.elements is None:
                target.elements = elements
            else:
                target.elements.extend(elements)
        else:
            raise LayoutError("the pickle appends to what is no list")

    def set_items(self, flat: list[Any]) -> None:
        pairs = list(zip(flat[::2], flat[1::2], strict=True))
        target = self.top()
        if not isinstance(target, Dict | Call):
            raise LayoutError("the pickle sets items of what is no dict")
        if target.items is None:
            target.items = pairs
        else:
            target.items.extend(pairs)

    def refuse(self) -> None:
        raise LayoutError("the pickle needs values from outside of it")
