"""groups: tensors whose names differ in numbers only, as one row.

    model.layers.[0-31].self_attn.q_proj.weight

Which number of a name is an index: a component of digits alone (``layers.3``), and one that
ends a word (``block_3``, ``layer3``) above the module that holds the tensor. A number that
ends the module's or the tensor's own word (``mlp.fc1.weight``, ``ln_2.weight``) tells its role
and stays, unless the name has no other. A number before a letter (``conv2d``) or after a
colon (``kernel:0``) is none. Names are escaped ones.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from statistics import median

from git_nn.differences.changes import Kind
from git_nn.differences.result import ModelDiff, TensorDelta
from git_nn.objects.names import escape, natural_key
from git_nn.objects.tensor import Shape

_DIGITS = re.compile(r"([0-9]+)")
_NO_INDEX_AFTER = re.compile(r"(?:%[0-9A-F]?|:)\Z")  # %XX of an escaped name; the :0 of Keras
_SEPARATORS = "./"

Key = tuple[str, ...]  # the text of a name around its indices
Indices = tuple[str, ...]
Cut = tuple[Key, Indices]
Held = list[tuple[Indices, TensorDelta]]


@dataclass(frozen=True, slots=True)
class Row:
    """A tensor, or several of one kind; ``members`` are in the order in which they came.

    ``total`` counts the tensors of either version that have such a name, changed or not.
    ``at`` are the numbers that vary in the name of the member that moved most.
    ``profile`` has the largest relative change at each of ``depths``, the values of the first
    number that varies; 0 where nothing changed, None where it was not measured.
    """

    name: str
    kind: Kind
    members: tuple[TensorDelta, ...]
    total: int = 1
    depths: Indices = ()
    profile: tuple[float | None, ...] = ()
    at: Indices = ()
    was: str = ""

    @property
    def is_group(self) -> bool:
        return len(self.members) > 1

    @property
    def relatives(self) -> list[float]:
        """The relative changes that were measured."""
        return [size for member in self.members if (size := relative(member)) is not None]

    @property
    def largest(self) -> TensorDelta:
        """The member that moved most, the first of equals."""
        return max(self.members, key=lambda member: _or_below(relative(member)))

    @property
    def median(self) -> float | None:
        return median(found) if (found := self.relatives) else None


def relative(delta: TensorDelta) -> float | None:
    return delta.numbers.relative if delta.numbers else None


def _or_below(size: float | None) -> float:
    return -1.0 if size is None else size


def single(delta: TensorDelta) -> Row:
    return Row(escape(delta.name), delta.kind, (delta,), was=former(delta))


def former(delta: TensorDelta) -> str:
    """The tensor's name in the old version, where that was another one."""
    old = delta.change.old
    return escape(old.name) if old is not None and old.name != delta.name else ""


def grouped(diff: ModelDiff, deltas: Iterable[TensorDelta]) -> list[Row]:
    """``deltas`` as rows, in the order in which the first member of each stands."""
    cuts: dict[str, Cut] = {}
    found: dict[tuple[Kind, Key, Key], Held] = defaultdict(list)
    for delta in deltas:
        change = delta.change
        old, new = change.old, change.new
        name = new.name if new else change.name
        key, indices = cuts[name] = cut(escape(name))
        was = cut(escape(old.name))[0] if old is not None and old.name != name else ()
        found[delta.kind, key, was].append((indices, delta))
    names = _indices_by_key(diff, cuts, {key for (_, key, _), held in found.items() if held[1:]})
    rows = []
    for (kind, key, _), held in found.items():
        for part in _alike(held):
            one = part[0][1]
            rows.append(_group(kind, key, part, names[key]) if len(part) > 1 else single(one))
    return rows


def cut(name: str) -> Cut:
    """The text of a name around its indices, and the indices."""
    parts = _DIGITS.split(name)
    texts = tuple(parts[::2])
    places = _index_places(texts)
    if len(places) == len(texts) - 1:
        return texts, tuple(parts[1::2])
    key, start = [], 0
    for place in places:
        key.append(parts[start] if place == start + 1 else "".join(parts[start:place]))
        start = place + 1
    return (*key, "".join(parts[start:])), tuple([parts[place] for place in places])


@lru_cache(4096)
def _index_places(texts: tuple[str, ...]) -> tuple[int, ...]:
    """Which of a name's parts are indices, where ``texts`` stand around its numbers."""
    indices: list[int] = []
    roles: list[int] = []
    for i in range(len(texts) - 1):
        before, after = texts[i], texts[i + 1]
        if after[:1].isalpha() or _NO_INDEX_AFTER.search(before):
            continue
        alone = before[-1:] in ("", *_SEPARATORS) and after[:1] in ("", *_SEPARATORS)
        below = sum(text.count(mark) for text in texts[i + 1 :] for mark in _SEPARATORS)
        (indices if alone or below > 1 else roles).append(2 * i + 1)
    return tuple(indices or roles)


def _indices_by_key(
    diff: ModelDiff, cuts: dict[str, Cut], keys: set[Key]
) -> dict[Key, list[Indices]]:
    """The indices of all tensors of both versions that are called as one of ``keys``."""
    found: dict[Key, list[Indices]] = defaultdict(list)
    both = [pointer.by_name for pointer in (diff.old, diff.new) if pointer]
    for name in set(chain(*both)).difference(cuts):
        cuts[name] = cut(escape(name))
    for key, indices in cuts.values():
        if key in keys:
            found[key].append(indices)
    return found


def _alike(held: Held) -> list[Held]:
    """``held``, or its parts by one of the later numbers where that leaves one shape in each."""
    if len(_shapes(held)) == 1:
        return [held]
    for place in reversed(_varying([indices for indices, _ in held])[1:]):
        parts: dict[str, Held] = defaultdict(list)
        for indices, delta in held:
            parts[indices[place]].append((indices, delta))
        if all(len(_shapes(part)) == 1 for part in parts.values()):
            return list(parts.values())
    return [held]


def _shapes(held: Held) -> set[Shape]:
    return {entry.shape for _, delta in held if (entry := delta.change.new or delta.change.old)}


def _varying(found: Sequence[Indices]) -> list[int]:
    """The places at which not all have the same number."""
    return [i for i, first in enumerate(found[0]) if any(x[i] != first for x in found)]


def _group(kind: Kind, key: Key, held: Held, names: list[Indices]) -> Row:
    moved = bool(former(held[0][1]))
    places = _varying([indices for indices, _ in held])
    depth, first = places[0], held[0][0]
    fixed = [i for i in range(len(first)) if i not in places]
    alike = [x for x in names if all(x[i] == first[i] for i in fixed)] if fixed else names
    sizes: dict[str, float | None] = dict.fromkeys([x[depth] for x in alike], 0.0)
    for indices, delta in held:
        size, known = relative(delta), sizes[indices[depth]]
        sizes[indices[depth]] = max(known, _or_below(size)) if known else size
    depths = tuple(sorted(sizes, key=int))
    at, _ = max(held, key=lambda pair: _or_below(relative(pair[1])))
    olds = [cut(name) for _, delta in held if (name := former(delta))] if moved else []
    return Row(
        name=pattern(key, [indices for indices, _ in held]),
        kind=kind,
        members=tuple(delta for _, delta in held),
        total=len(alike),
        depths=depths,
        profile=tuple(sizes[depth] for depth in depths),
        at=tuple(at[i] for i in places),
        was=pattern(olds[0][0], [indices for _, indices in olds]) if olds else "",
    )


def pattern(key: Key, found: Sequence[Indices]) -> str:
    """The names as one: ``layers.[0-2,5].w``."""
    numbers = [_ranges({x[i] for x in found}) for i in range(len(found[0]))]
    return "".join(map("".join, zip(key, [*numbers, ""], strict=True)))


def _ranges(numbers: set[str]) -> str:
    if len(numbers) == 1:
        return next(iter(numbers))
    ordered = sorted(numbers, key=natural_key)
    runs = [[ordered[0]]]
    for number in ordered[1:]:
        if int(number) == int(runs[-1][-1]) + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    parts = ["-".join(dict.fromkeys((run[0], run[-1]))) for run in runs]
    if len(parts) > _RUNS:
        parts = [*parts[: _RUNS // 2], "…", *parts[-_RUNS // 2 :]]
    return f"[{','.join(parts)}]"


_RUNS = 4  # of numbers in brackets that are shown
