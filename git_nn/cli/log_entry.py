"""log_entry: one commit of a model's log, as text and as JSON (schema in docs/history.md)."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from git_nn.cli.past import Opened, date, when
from git_nn.cli.screen import clip
from git_nn.differences.changes import Kind
from git_nn.differences.numbers_text import ratio
from git_nn.differences.result import ModelDiff, TensorDelta
from git_nn.drivers.terminal import quoted
from git_nn.history.drift import whole
from git_nn.history.versions import Changed
from git_nn.objects.names import escape

SCHEMA = "git-nn log 1"
TOP = 3  # tensors of a commit that are shown
_SIGNS = {Kind.ADDED: "+", Kind.REMOVED: "-", Kind.RENAMED: "→", Kind.RECODED: "="}
_COLOURS = {"+": "32", "-": "31", "~": "33", "→": "36", "=": "2", "!": "1;31"}


@dataclass(frozen=True, slots=True)
class Entry:
    """``names`` are the changed tensors that were asked for, with old names of those renamed;
    ``diff`` has their numbers, None where none were read."""

    changed: Changed
    names: Mapping[str, str]
    chosen: bool
    diff: ModelDiff | None = None


@dataclass(frozen=True, slots=True)
class Form:
    """How entries are printed; ``width`` None does not fit them to a terminal."""

    width: int | None = None
    colour: bool = False
    everything: bool = False

    def paint(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[m" if self.colour else text


def size_of(value: float | None) -> str:
    """``2.1e-02``; ``new`` where all values were 0 before, '' where it is not known."""
    return "" if value is None else ratio(value)


def text(entry: Entry, opened: Opened, form: Form) -> str:
    """The lines of one commit, each ending in a line feed."""
    commit = entry.changed.step.commit
    name = opened.short(commit)
    line = clip(f"{name}  {date(commit)}  {commit.author}  {commit.subject}", form.width)
    lines = [form.paint(name, "33") + line[len(name) :]]
    lines += (f"    {clip(one, form.width and form.width - 4)}" for one in _facts(entry))
    lines += (f"    {one}" for one in _tensors(entry, form))
    return "".join(f"{one}\n" for one in lines)


def _facts(entry: Entry) -> list[str]:
    step, moves = entry.changed.step, entry.changed.moves
    facts = []
    if step.was is not None:
        facts.append(f"the file was {quoted(step.was)} before")
    if entry.changed.problem:
        return [*facts, f"cannot be read: {entry.changed.problem}"]
    return [*facts, _totals(entry, f"of {moves.total} tensors")]


def _totals(entry: Entry, of: str) -> str:
    step, moves = entry.changed.step, entry.changed.moves
    if not step.before or not step.blob:
        word = "deleted" if not step.blob else "new file"
        return f"{word}, {len(entry.names)}{f' {of}' if entry.chosen else ' tensors'}"
    counts = counted(entry)
    words = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    if not counts:
        words = "no tensor changed, container only" if moves.container else "no tensor changed"
    elif not entry.chosen:
        words += f", {moves.same} same"
    size = size_of(whole(entry.diff.tensors)) if entry.diff else ""
    own = len(entry.changed.own & set(entry.names))
    merge = f"; merged, {own} in no parent" if len(step.parents) > 1 else ""
    return f"{words}{f'; rel Δ {size}' if size else ''}{merge}"


def counted(entry: Entry) -> dict[Kind, int]:
    """How many tensors are of each kind: as the numbers tell it, where there are any."""
    if entry.diff is not None:
        found = Counter(delta.kind for delta in entry.diff.tensors)
    else:
        found = Counter(entry.changed.moves.kinds[name] for name in entry.names)
    return {kind: found[kind] for kind in Kind if found[kind]}


def _tensors(entry: Entry, form: Form) -> list[str]:
    """The tensors that moved most; of a new or deleted file none, unless all are asked for."""
    step = entry.changed.step
    if not form.everything and not entry.chosen and not (step.before and step.blob):
        return []
    rows = _rows(entry)
    shown = rows if form.everything else rows[:TOP]
    room = None if form.width is None else form.width - 18
    names = [clip(name, room) for _, name, _ in shown]
    wide = max((len(name) for name, row in zip(names, shown, strict=True) if row[2]), default=0)
    lines = [
        form.paint(f"{sign} {f'{name.ljust(wide)}  {size}' if size else name}", _COLOURS[sign])
        for (sign, _, size), name in zip(shown, names, strict=True)
    ]
    hidden = len(rows) - len(shown)
    return [*lines, f"... and {hidden} more (--all)"] if hidden else lines


def _rows(entry: Entry) -> list[tuple[str, str, str]]:
    """(sign, name, what is to be said of it) of each tensor."""
    if entry.diff is None:
        kinds = entry.changed.moves.kinds
        return [
            (_SIGNS.get(kinds[name], "~"), _name(name, was), "")
            for name, was in entry.names.items()
        ]
    return [
        (_sign(delta), _name(delta.name, _was(delta)), _size(delta)) for delta in entry.diff.tensors
    ]


def _sign(delta: TensorDelta) -> str:
    return _SIGNS.get(delta.kind, "~") if _is_finite(delta) else "!"


def _is_finite(delta: TensorDelta) -> bool:
    return delta.numbers is None or not any((*delta.numbers.nan, *delta.numbers.inf))


def _was(delta: TensorDelta) -> str:
    return delta.change.old.name if delta.kind is Kind.RENAMED and delta.change.old else ""


def _name(name: str, was: str) -> str:
    return f"{escape(was)} → {escape(name)}" if was else escape(name)


def _size(delta: TensorDelta) -> str:
    if delta.numbers is None:
        return delta.unread
    size = size_of(delta.numbers.relative)
    return size if _is_finite(delta) else f"{size}  NaN or Inf"


def as_json(entry: Entry) -> dict[str, Any]:
    """The entry as plain JSON values."""
    step, moves = entry.changed.step, entry.changed.moves
    commit = step.commit
    return {
        "commit": commit.id,
        "parents": list(commit.parents),
        "author": {"name": commit.author, "email": commit.email},
        "date": when(commit).isoformat(),
        "subject": commit.subject,
        "path": os.fsdecode(step.path),
        "old_path": None if step.was is None else os.fsdecode(step.was),
        "state": "deleted" if not step.blob else "changed" if step.before else "new",
        "counts": {"same": moves.same, **{str(k): n for k, n in counted(entry).items()}},
        "container_changed": moves.container,
        "relative": _plain(whole(entry.diff.tensors)) if entry.diff else None,
        "tensors": _json_tensors(entry),
        "problem": entry.changed.problem,
    }


def _json_tensors(entry: Entry) -> list[dict[str, Any]]:
    own = entry.changed.own
    if entry.diff is None:
        kinds = entry.changed.moves.kinds
        return [
            {"name": escape(name), "was": escape(was) if was else None, "kind": str(kinds[name]),
             "own": name in own, "numbers": None, "unread": ""}
            for name, was in entry.names.items()
        ]  # fmt: skip
    return [
        {"name": escape(delta.name), "was": escape(was) if (was := _was(delta)) else None,
         "kind": str(delta.kind), "own": delta.name in own, "numbers": _numbers(delta),
         "unread": delta.unread}
        for delta in entry.diff.tensors
    ]  # fmt: skip


def _numbers(delta: TensorDelta) -> dict[str, Any] | None:
    if delta.numbers is None:
        return None
    return {
        "elements": delta.numbers.elements,
        "relative": _plain(delta.numbers.relative),
        "max_abs": _plain(delta.numbers.max_abs),
    }


def _plain(value: float | None) -> float | str | None:
    """Nine digits; JSON has no infinities."""
    if isinstance(value, float):
        return float(f"{value:.9g}") if math.isfinite(value) else str(value)
    return value
