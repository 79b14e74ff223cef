"""remarks: what is said of a comparison in words, for every view of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from git_nn.differences.changes import Kind
from git_nn.differences.groups import Row
from git_nn.differences.numbers_text import relative
from git_nn.differences.result import ModelDiff, Relation, TensorDelta, Word
from git_nn.objects.names import escape, natural_key
from git_nn.objects.pointer import Entry
from git_nn.objects.tensor import format_shape

SIGNS = {Kind.ADDED: "+", Kind.REMOVED: "-", Kind.RENAMED: "→", Kind.RECODED: "="}

_VARIOUS = "various"
_OWN_LINES = 5  # warnings of a group that stand one by one


def sign(kind: Kind) -> str:
    return SIGNS.get(kind, "~")


def totals(diff: ModelDiff) -> str:
    """What happened to the model as a whole, in one line."""
    if diff.old is None:
        return f"new file, {tensors(diff.total)}"
    if diff.new is None:
        return f"deleted, {tensors(diff.total)}"
    if diff.tensors:
        counts = [f"{count} {kind}" for kind, count in diff.counts.items()]
        return (
            f"{', '.join((*counts, f'{diff.same} same'))} of {tensors(diff.total)}{_format(diff)}"
        )
    if not diff.container_changed:
        return f"no change, {tensors(diff.same)}"
    if not diff.same:
        return f"content changed{_format(diff)}"
    return f"no tensor changed, container only, {diff.same} same{_format(diff)}"


def moved_most(diff: ModelDiff) -> str:
    """``most: NAME, rel Δ 2.1e-02``; empty where no tensor moved."""
    for delta in diff.tensors:
        if delta.numbers and delta.numbers.relative:
            return f"most: {escape(delta.name)}, rel Δ {relative(delta.numbers)}"
    return ""


def _format(diff: ModelDiff) -> str:
    assert diff.old is not None
    assert diff.new is not None
    if diff.old.format == diff.new.format:
        return ""
    return f", format {diff.old.format} → {diff.new.format}"


def tensors(count: int) -> str:
    return f"{count} tensor" if count == 1 else f"{count} tensors"


def shape(members: Sequence[TensorDelta]) -> str:
    """The shape, or the old and the new one; ``various`` where members differ."""
    found = {tuple(entry.shape for entry in _entries(delta)) for delta in members}
    return _arrow([format_shape(one) for one in found.pop()]) if len(found) == 1 else _VARIOUS


def dtype(members: Sequence[TensorDelta]) -> str:
    found = {tuple(entry.dtype for entry in _entries(delta)) for delta in members}
    return _arrow(found.pop()) if len(found) == 1 else _VARIOUS


def _entries(delta: TensorDelta) -> tuple[Entry, ...]:
    """The old and the new one, where there are."""
    old, new = delta.change.old, delta.change.new
    return (old, new) if old and new else (old,) if old else (new,) if new else ()


def _arrow(words: Iterable[str]) -> str:
    return "→".join(dict.fromkeys(words))


def remark(row: Row) -> str:
    """What the numbers do not say; in a group, of how many it is true where not of all."""
    count = len(row.members)
    said = Counter(word for delta in row.members for word in dict.fromkeys(_words(delta)))
    words = [f"was {row.was}"] if row.was else []
    words += [word if n == count else f"{n}: {word}" for word, n in said.most_common(_WORDS)]
    return ", ".join(words)


_WORDS = 4  # that are said of a group
_PLAIN = frozenset({Kind.CHANGED, Kind.ADDED, Kind.REMOVED})  # the sign says it all


def _words(delta: TensorDelta) -> list[str]:
    if delta.kind in _PLAIN and not (delta.relations or delta.unread or delta.summary):
        return []
    related = [relation(one) for one in delta.relations]
    if any(one.word is Word.ROWS for one in delta.relations):
        return [*related, *filter(None, [delta.unread])]
    return list(filter(None, [_verb(delta), *related, delta.unread]))


def relation(one: Relation) -> str:
    """A relation in a few words."""
    value = one.value
    match one.word:
        case Word.DUPLICATE:
            return f"duplicate of {escape(one.of)}"
        case Word.PERMUTED:
            return "rows permuted"
        case Word.ROWS:
            return f"rows {value:+d}, the others as they were"
        case Word.SCALED:
            return f"×{value:.6g}"
        case Word.LOW_RANK:
            return f"low-rank r={value}"
        case Word.REROUNDED:
            return "every change ≤ 1 ulp"
    of = f" of {escape(one.of)}" if one.of else ""
    return f"{one.word}{of}{'' if value is None else f' {value:g}'}"


def _verb(delta: TensorDelta) -> str:
    old, new, numbers = delta.change.old, delta.change.new, delta.numbers
    if delta.summary is not None and delta.summary.zero == delta.summary.elements:
        return "all 0"
    if old is None or new is None:
        return ""
    match delta.kind:
        case Kind.CAST:
            exact = numbers is not None and not numbers.changed
            values = ": the old values, rounded once" if exact else ""
            return f"cast {old.dtype}→{new.dtype}{values}"
        case Kind.RESIZED:
            return _growth(old, new)
        case Kind.RESHAPED:
            same = not delta.change.bytes_differ or (numbers is not None and not numbers.changed)
            return "reshaped, same values" if same else "reshaped"
        case Kind.REPLACED:
            return "other dtype and shape"
        case Kind.RECODED:
            return "same values, stored otherwise"
    return ""


def _growth(old: Entry, new: Entry) -> str:
    """``rows +64`` where one dimension grew or shrank; the common part is what is compared."""
    if len(old.shape) != len(new.shape):
        return "other rank"
    steps = [
        (i, b - a) for i, (a, b) in enumerate(zip(old.shape, new.shape, strict=True)) if a != b
    ]
    if len(steps) > 1:
        return "resized"
    axis, step = steps[0]
    what = {0: "rows", 1: "columns"}.get(axis, f"axis {axis}") if len(new.shape) > 1 else "elements"
    return f"{what} {step:+d}"


def warnings(row: Row) -> list[tuple[str, str]]:
    """(name, what) of each member with values that are not finite; of all where they are many."""
    odd = sorted(filter(is_odd, row.members), key=lambda delta: natural_key(delta.name))
    if len(odd) <= _OWN_LINES:
        return [(escape(delta.name), _not_finite([delta])) for delta in odd]
    return [(row.name, f"{_not_finite(odd)}, in {len(odd)} of {tensors(len(row.members))}")]


def is_odd(delta: TensorDelta) -> bool:
    """Whether values of a changed or an added tensor are not finite."""
    if delta.summary is not None:
        return bool(delta.summary.nan or delta.summary.inf)
    return delta.numbers is not None and any((*delta.numbers.nan, *delta.numbers.inf))


def _not_finite(odd: Sequence[TensorDelta]) -> str:
    alone = [delta.summary for delta in odd if delta.summary]
    if alone:
        sums = sum(one.nan for one in alone), sum(one.inf for one in alone)
        counts = [f"{word} {n}" for word, n in zip(("NaN", "Inf"), sums, strict=True) if n]
        return f"{', '.join(counts)} of {sum(one.elements for one in alone)} values"
    found = [delta.numbers for delta in odd if delta.numbers]
    counts = [
        f"{word} {sum(before)} → {sum(after)}"
        for word, (before, after) in (
            ("NaN", list(zip(*(numbers.nan for numbers in found), strict=True))),
            ("Inf", list(zip(*(numbers.inf for numbers in found), strict=True))),
        )
        if any(before) or any(after)
    ]
    return f"{', '.join(counts)} of {sum(numbers.elements for numbers in found)} values"
