"""rows: a tensor woven from the rows, or elements, that each of two sides changed.

A row is all that belongs to one index of the first axis. Rules (docs/merge.md, Rows):
1. A row that one side changed is that side's, bit for bit; nothing is computed. A row that
   both changed, and not to the same bytes, stops the weaving of the whole tensor.
2. Rows are taken from both sides only where a row is a thing of its own. That is so where a
   person says it (``Rung.asked``), by the tensor's name (``_NAMED``), and where both sides
   together left at least half of a matrix alone: training a dense layer touches every row.
3. Rows that one side adds at the end, or takes away there, need no such ground where that
   side left all the others alone. Then the shape of that side holds.
4. Segments that are the same on every side are not read, and memory does not grow with the
   tensor: what is known of a row that ends in a later segment is carried there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import prod
from typing import Literal

import numpy as np

from git_nn.arrays import Array
from git_nn.errors import UsageError
from git_nn.objects.oid import Oid
from git_nn.objects.tensor import Shape

Unit = Literal["row", "element"]
Ground = Literal["named", "sparse", "resized"]
Buffer = bytes | bytearray | memoryview

SETTING = "nn.merge.ladder"
_PREFIX, _SUFFIX = "nn.merge.", ".ladder"
SHOWN = 5  # rows that both changed, of those that a conflict names

# Floats and complex numbers of 16 bits and more. What is narrower, and integers, are codes:
# their meaning stands in another tensor (a scale, a code book) that might be the other side's.
VALUES = frozenset({"f64", "f32", "f16", "bf16", "c64", "c128"})

# Layers with a row for each token, position or class, by their last names.
_NAMED = re.compile(
    r"(?:.*_)?(?:embed|embd|embeddings?|emb)(?:_(?:tokens?|positions?|in|out))?(?:_[0-9]+)?"
    r"|wte|wpe|lm_head|embed_tokens_per_layer"
)
_HEADS = frozenset({"classifier", "head", "score"})
_STACKED = re.compile(r"(?:.*_)?experts?")
# Matrices whose rows are several matrices one below the other.
_FUSED = re.compile(r"qkv|c_attn|in_proj|query_key_value|gate_up|(?:weight|bias)_[ih]h")


@dataclass(frozen=True, slots=True)
class Rung:
    """How finely a tensor may be taken apart; ``asked`` where a person named the tensor."""

    unit: Literal["tensor", "row", "element"]
    asked: bool = False


ROW = Rung("row")


@dataclass(frozen=True, slots=True)
class Ladder:
    """The rung for each tensor: of the last of ``patterns`` that matches its name, or ``rung``."""

    rung: Rung = ROW
    patterns: tuple[tuple[str, Rung], ...] = ()

    def __call__(self, name: str) -> Rung:
        for pattern, rung in reversed(self.patterns):
            if fnmatchcase(name, pattern):
                return rung
        return self.rung


BY_ROWS = Ladder()
WHOLE = Ladder(Rung("tensor"))


def ladder(settings: Mapping[str, str]) -> Ladder:
    """The ladder by the keys of the configuration that start with ``nn.merge.``.

    These are ``nn.merge.ladder`` and ``nn.merge.<pattern>.ladder``; UsageError names the one
    that makes no sense.
    """
    patterns = tuple(
        (key.removeprefix(_PREFIX).removesuffix(_SUFFIX), Rung(_unit(value, key), asked=True))
        for key, value in settings.items()
        if key != SETTING and key.startswith(_PREFIX) and key.endswith(_SUFFIX)
    )
    rung = Rung(_unit(settings[SETTING], SETTING)) if SETTING in settings else ROW
    return Ladder(rung, patterns)


def _unit(text: str, source: str) -> Literal["tensor", "row", "element"]:
    match text:
        case "tensor" | "row" | "element":
            return text
    raise UsageError(f"{source} is {text[:80]!r}", hint="use one of: tensor, row, element")


@dataclass(frozen=True, slots=True)
class Way:
    """In what units a tensor may be woven, and on what ground."""

    unit: Unit
    ground: Ground


def way(name: str, dtype: str, shapes: Sequence[Shape], rung: Rung) -> Way | None:
    """How the tensor of these shapes (base, ours, theirs) may be woven; None if not at all.

    The number of rows may be another on one side, or the same other on both.
    """
    base, ours, theirs = shapes
    if rung.unit == "tensor" or dtype.removesuffix("be") not in VALUES or not base:
        return None
    if not base[1:] == ours[1:] == theirs[1:] or len({len(shape) for shape in shapes}) > 1:
        return None
    if not prod(base) or base[0] != ours[0] != theirs[0] != base[0]:
        return None
    if rung.unit == "element":
        return Way("element", "named")
    if len(base) > 1 and (rung.asked or _is_named(name, base)):
        return Way("row", "named")
    if len(base) == 2 and not _FUSED.search(name):
        return Way("row", "sparse")
    return Way("row", "resized") if base[0] != ours[0] or base[0] != theirs[0] else None


def _is_named(name: str, shape: Shape) -> bool:
    """Whether the name says that a row is an embedding, a class or an expert."""
    words = [word for word in re.split(r"[./]", name.lower()) if word]
    last = words[-1].split(":")[0] if words else ""
    if last == "0" and words[-2:-1] == ["vars"]:  # as Keras 3 names the weights of a layer
        last, words = "weight", words[:-1]
    layer = words[-2] if len(words) > 1 else ""
    if (
        len(shape) == 3
    ):  # experts.down_proj, or experts.down_proj.weight; experts.0.w1 is one expert
        return any(_STACKED.fullmatch(word) for word in words[-3:])
    if len(shape) != 2:
        return False
    if last == "weight":
        return bool(_NAMED.fullmatch(layer)) or layer in _HEADS
    return bool(_NAMED.fullmatch(last))


# --- looking ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Version:
    """One side's tensor: its packed C-order bytes, cut into segments of ``step`` bytes.

    ``ids`` are the content ids of the segments; empty where they are not known.
    """

    length: int
    step: int
    ids: tuple[Oid, ...]
    read: Callable[[int], Buffer]

    def is_as(self, other: Version, index: int) -> bool:
        """Whether the segments are known to be the same."""
        known = index < min(len(self.ids), len(other.ids))
        return known and self.ids[index] == other.ids[index]

    def segment(self, index: int, stop: int) -> Array:
        """The bytes of a segment that stand before the byte ``stop`` of the tensor."""
        found = np.frombuffer(self.read(index), dtype=np.uint8)
        return found[: max(stop - index * self.step, 0)]


@dataclass(frozen=True, slots=True)
class Versions:
    """The tensor on every side. ``unit`` is the size of a row (an element) in bytes."""

    base: Version
    ours: Version
    theirs: Version
    unit: int

    @property
    def shared(self) -> int:
        """How many bytes, from the start, every side has."""
        return min(self.base.length, self.ours.length, self.theirs.length)

    @property
    def owner(self) -> Version:
        """The side that has as many rows as the result: the one that changed their number."""
        return self.theirs if self.ours.length == self.base.length else self.ours


@dataclass(frozen=True, slots=True)
class Survey:
    """Counts of rows (elements): all that every side has, and what was changed by whom.

    ``both`` were changed by both sides, and not to the same bytes; ``first`` are the first
    few of them; ``alike`` were changed to the same by both. ``added`` is how many more rows
    (fewer, below 0) the result has than the base; ``ends`` tells that the sides disagree about
    the rows at the end, which not every side has. Where both changed most of what was seen,
    the rest is not looked at (``cut``).
    """

    total: int
    ours: int = 0
    theirs: int = 0
    both: int = 0
    first: tuple[int, ...] = ()
    alike: int = 0
    added: int = 0
    ends: bool = False
    cut: bool = False

    def allows(self, ground: Ground) -> bool:
        """Whether the tensor may be woven on this ground."""
        if self.both or self.ends or self.cut:
            return False
        if ground == "named" or (self.added and not (self.ours and self.theirs)):
            return True
        changed = self.ours + self.theirs + self.alike
        return ground == "sparse" and 2 * changed <= self.total


def survey(versions: Versions) -> Survey:
    """Which rows each side changed; reads the segments that differ, one of each at a time."""
    base, ours, theirs = versions.base, versions.ours, versions.theirs
    unit, stop, step = versions.unit, versions.shared, base.step
    tally, cut = _Tally(unit), False
    for i in range(-(-stop // step)):
        same = ours.is_as(base, i), theirs.is_as(base, i)
        if cut := tally.is_dense:
            break
        if same == (True, True):
            continue
        o = base.segment(i, stop)
        a = o if same[0] else ours.segment(i, stop)
        b = o if same[1] else a if theirs.is_as(ours, i) else theirs.segment(i, stop)
        tally.add(i * step, o, a, b)
    tally.close()
    return Survey(
        stop // unit, tally.ours, tally.theirs, tally.both, tuple(tally.first), tally.alike,
        (versions.owner.length - base.length) // unit, _ends_differ(versions),
        cut or tally.is_dense,
    )  # fmt: skip


def _ends_differ(versions: Versions) -> bool:
    """Whether the sides disagree about rows beyond those that all have."""
    base, ours, theirs = versions.base, versions.ours, versions.theirs
    if ours.length == theirs.length:
        left, right = ours, theirs
    else:  # one side has as many as the base; those of them that the other removed must be equal
        left, right = base, ours if ours.length == base.length else theirs
    start, stop, step = versions.shared, min(left.length, right.length), base.step
    for i in range(start // step, -(-stop // step) if start < stop else 0):
        after = max(start - i * step, 0)
        if not left.is_as(right, i) and np.any(
            left.segment(i, stop)[after:] != right.segment(i, stop)[after:]
        ):
            return True
    return False


class _Tally:
    """Counts rows segment by segment; a row that goes on in the next one is held back."""

    def __init__(self, unit: int) -> None:
        self.ours = self.theirs = self.both = self.alike = self._seen = 0
        self.first: list[int] = []
        self._unit = unit
        self._held: tuple[int, Array] | None = None  # a row, and the flags of what was seen of it

    @property
    def is_dense(self) -> bool:
        """Whether both sides changed more than half of all rows that were looked at."""
        return 2 * self.both > self._seen

    def add(self, start: int, base: Array, ours: Array, theirs: Array) -> None:
        """The bytes from ``start`` on, of every side."""
        row = start // self._unit
        pairs = ((ours, base), (theirs, base), (ours, theirs))
        flags = np.stack([_differing(x, y, start, self._unit) for x, y in pairs])
        if self._held is not None and self._held[0] == row:
            flags[:, 0] |= self._held[1]
            self._held = None
        self.close()
        if (start + len(base)) % self._unit:
            self._held = row + flags.shape[1] - 1, flags[:, -1].copy()
            flags = flags[:, :-1]
        self._count(row, flags)

    def close(self) -> None:
        """No more is to come of the row that is held back."""
        if self._held is not None:
            row, flags = self._held
            self._held = None
            self._count(row, flags[:, None])

    def _count(self, row: int, flags: Array) -> None:
        by_ours, by_theirs, apart = flags
        both = by_ours & by_theirs & apart
        self._seen += flags.shape[1]
        self.ours += int(np.count_nonzero(by_ours & apart & ~both))
        self.theirs += int(np.count_nonzero(by_theirs & apart & ~both))
        self.both += int(np.count_nonzero(both))
        self.alike += int(np.count_nonzero(by_ours & by_theirs & ~apart))
        if len(self.first) < SHOWN:
            self.first += (row + np.flatnonzero(both)[: SHOWN - len(self.first)]).tolist()


def _differing(left: Array, right: Array, start: int, unit: int) -> Array:
    """For each row that has bytes here: whether any of them differ."""
    if left is right:
        first, last = start // unit, (start + len(left) - 1) // unit
        return np.zeros(last - first + 1, dtype=bool)
    width = next(width for width in (8, 4, 2, 1) if not unit % width)
    differs = left.view(f"u{width}") != right.view(f"u{width}")
    step, head = unit // width, -start % unit // width
    rest = differs[head:]
    whole = len(rest) // step
    parts = [
        differs[:head].any(keepdims=True) if head else differs[:0],
        rest[: whole * step].reshape(whole, step).any(axis=1),
        rest[whole * step :].any(keepdims=True) if len(rest) % step else differs[:0],
    ]
    return np.concatenate(parts)


# --- weaving ----------------------------------------------------------------------------


def woven(versions: Versions) -> Iterator[Buffer]:
    """The bytes of the result, a segment at a time, where ``survey`` found no conflict.

    Then a byte that ours left alone is theirs' and any other is ours', since no row was
    changed by both.
    """
    base, ours, theirs, owner = versions.base, versions.ours, versions.theirs, versions.owner
    shared, step = versions.shared, base.step
    other = ours if owner is theirs else theirs
    even = base.length == ours.length == theirs.length
    for i in range(-(-owner.length // step)):
        stop = min(shared - i * step, step)
        if stop <= 0 or owner.is_as(other, i):
            yield owner.read(i)
        elif (even or stop == step) and ours.is_as(base, i):
            yield theirs.read(i)
        elif (even or stop == step) and theirs.is_as(base, i):
            yield ours.read(i)
        else:
            o, a, b = (side.segment(i, shared) for side in (base, ours, theirs))
            yield np.where(a == o, b, a).tobytes()
            if owner.length > shared:
                yield memoryview(owner.read(i))[stop:]
