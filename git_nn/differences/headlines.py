"""headlines: what happened to a model as a whole, in a sentence or two, before any number.

Told from names and kinds; nothing is read. Each line is there only where it is true of every
tensor that it speaks of.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from git_nn.differences.changes import Change, Kind
from git_nn.differences.groups import cut
from git_nn.differences.result import TensorDelta, Word
from git_nn.differences.shifts import Shift
from git_nn.objects.names import escape, natural_key
from git_nn.objects.pointer import Pointer

_MOVED = frozenset({Kind.CHANGED, Kind.CAST, Kind.RESIZED, Kind.RESHAPED, Kind.REPLACED})
_PARTS = 6  # parts of a model that a line names
_STATE = re.compile(
    r"_?(optim|random_state|rng|lr_scheduler)"
)  # of training; moves with every step
_HEADS = frozenset({"head", "lm_head", "classifier", "fc", "score", "output", "logits"})


def headlines(
    old: Pointer | None, new: Pointer | None, deltas: Iterable[TensorDelta], shifts: list[Shift]
) -> tuple[str, ...]:
    if old is None or new is None:
        return ()
    found = list(deltas)
    return (
        *map(_shifted, shifts),
        *_copied(found),
        *_cast(found, new),
        *_renamed(found),
        *_trained(found, new),
    )


def _shifted(shift: Shift) -> str:
    prefix = escape(shift.prefix)
    told = [
        f"{len(numbers)} layer{'s' if len(numbers) > 1 else ''} {what}: "
        + ", ".join(f"{prefix}{number}" for number in numbers[:_PARTS])
        + (" …" if len(numbers) > _PARTS else "")
        for numbers, what in ((shift.added, "put in"), (shift.removed, "taken out"))
        if numbers
    ]
    moved = [(i, j) for i, j in shift.moved.items() if i != j]
    (first, to), (last, end) = moved[0], moved[-1]
    if len(moved) == 1:
        told.append(f"{prefix}{first} is now {prefix}{to}")
    else:
        told.append(f"{prefix}{first} to {last} are now {prefix}{to} to {end}")
    return "; ".join(told)


def _copied(deltas: list[TensorDelta]) -> Iterator[str]:
    """Layers of which every tensor is that of one other layer."""
    sources: dict[str, set[str]] = defaultdict(set)
    for delta in deltas:
        if delta.kind is Kind.ADDED:
            of = [relation.of for relation in delta.relations if relation.word is Word.DUPLICATE]
            sources[part(delta.name)].update(part(name) for name in of or [""])
    for name, held in sources.items():
        if len(held) == 1 and (source := next(iter(held))) and source != name:
            yield f"{escape(name)} is a copy of {escape(source)}"


def _cast(deltas: list[TensorDelta], new: Pointer) -> Iterator[str]:
    casts = Counter(_dtypes(delta.change) for delta in deltas if delta.kind is Kind.CAST)
    for (before, after), count in casts.items():
        if count > 1:
            left = sum(entry.dtype == before for entry in new.entries)
            every = f"every {before} tensor" if not left else f"{count} tensors"
            yield f"{every} cast {before}→{after}"


def _dtypes(change: Change) -> tuple[str, str]:
    assert change.old is not None
    assert change.new is not None
    return change.old.dtype, change.new.dtype


def _renamed(deltas: list[TensorDelta]) -> Iterator[str]:
    """Prefixes that many names lost or got."""
    steps: Counter[tuple[str, str]] = Counter()
    for delta in deltas:
        old, new = delta.change.old, delta.change.new
        if old is not None and new is not None and old.name != new.name:
            end = _common_end(old.name, new.name)
            steps[old.name[: len(old.name) - end], new.name[: len(new.name) - end]] += 1
    for (before, after), count in steps.items():
        if count > 2 and not (before and after):
            what = f"put before {count} names" if after else f"taken away from {count} names"
            yield f"{escape(after or before)} was {what}"


def _common_end(one: str, other: str) -> int:
    shorter = min(len(one), len(other))
    return next((i for i in range(shorter) if one[-1 - i] != other[-1 - i]), shorter)


def _trained(deltas: list[TensorDelta], new: Pointer) -> Iterator[str]:
    """Which parts of the model moved and which did not, where both are a part of it."""
    deltas = [delta for delta in deltas if not _STATE.match(delta.name)]
    moved = {part(delta.name) for delta in deltas if delta.kind in _MOVED}
    fresh = {part(delta.name) for delta in deltas if delta.kind is Kind.ADDED}
    weights = (entry.name for entry in new.entries if not _STATE.match(entry.name))
    parts = list(dict.fromkeys(map(part, weights)))
    still = [name for name in parts if name not in moved and name not in fresh]
    if not moved or not still or len(parts) < 3:
        return
    words = {word.rpartition(".")[2].rpartition("/")[2] for word in moved}
    only = "only the head was trained: " if words <= _HEADS else "trained: "
    yield f"{only}{_listed(sorted(moved, key=natural_key))}; unchanged: {_listed(still)}"


def part(name: str) -> str:
    """The part of a model that a tensor belongs to: its layer, else its module."""
    key, indices = cut(name)
    if indices and any(mark in key[1] for mark in "./"):
        return key[0] + indices[0]
    for mark in "./":
        if mark in name:
            return name.rpartition(mark)[0]
    return name


def _listed(names: list[str]) -> str:
    """``embed, layers.[0-10], norm``; long lists are counted."""
    runs: list[tuple[str, list[int]]] = []
    for name in names:
        stem = name.rstrip("0123456789")
        number = int(name[len(stem) :]) if len(stem) < len(name) < len(stem) + 10 else None
        if number is None:
            runs.append((name, []))
        elif runs and runs[-1][0] == stem and runs[-1][1][-1:] == [number - 1]:
            runs[-1][1].append(number)
        else:
            runs.append((stem, [number]))
    shown = [_run(stem, numbers) for stem, numbers in runs]
    more = f" and {len(shown) - _PARTS} more" if len(shown) > _PARTS else ""
    return ", ".join(shown[:_PARTS]) + more


def _run(stem: str, numbers: list[int]) -> str:
    if not numbers:
        return escape(stem)
    ends = f"[{numbers[0]}-{numbers[-1]}]" if len(numbers) > 1 else str(numbers[0])
    return f"{escape(stem)}{ends}"
