"""check_faults: the tensors of a comparison that are not as a check says, and how far off.

What is not known is a fault: values that are not here, a tensor that has no such number, NaN
and infinities that came or went under a limit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from git_nn.differences.changes import Kind
from git_nn.differences.check_language import Check, Limit, Measure, Question
from git_nn.differences.distance import Span
from git_nn.differences.numbers_text import relative
from git_nn.differences.result import Readable, TensorDelta
from git_nn.errors import DamagedObjectError, MissingObjectError
from git_nn.objects.names import escape
from git_nn.objects.tensor import format_shape

_GET = "to get them: git nn fetch REV"
_WORST = math.inf  # how far off a tensor is whose number is not known


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one tensor (or, without a name, with the model); ``off`` says how far."""

    tensor: str
    said: str
    off: float = _WORST


def came_or_went(delta: TensorDelta) -> str:
    """``NaN 0 → 4`` where the number of NaN or of infinities is another one; else nothing."""
    if delta.numbers is None:
        return ""
    counts = (("NaN", delta.numbers.nan), ("Inf", delta.numbers.inf))
    return ", ".join(f"{word} {a} → {b}" for word, (a, b) in counts if a != b)


SAME_VALUES = (Kind.RECODED, Kind.RENAMED)


def _differs(delta: TensorDelta) -> bool | None:
    """Whether a tensor is another one than before; None where the values would have to tell."""
    if delta.kind is Kind.RECODED:
        return False
    old, new = delta.change.old, delta.change.new
    forms = any(getattr(entry, "form", "") for entry in (old, new))
    unknown = delta.kind is Kind.CHANGED and delta.numbers is None and forms
    return None if unknown else True


def unchanged(deltas: Sequence[TensorDelta]) -> Iterator[Fault]:
    for delta in deltas:
        differs = _differs(delta)
        if differs is None:
            yield Fault(delta.name, _reason(delta))
        elif differs:
            size = delta.numbers.relative if delta.numbers else None
            yield Fault(delta.name, _what(delta), _WORST if size is None else size)


def _what(delta: TensorDelta) -> str:
    if delta.kind is Kind.RENAMED and delta.change.old is not None:
        return f"was {escape(delta.change.old.name)}"
    if delta.numbers is None or delta.numbers.relative is None:
        return str(delta.kind)
    return f"{delta.kind}, rel Δ {relative(delta.numbers)}"


def changed(names: Sequence[str], deltas: Sequence[TensorDelta]) -> Iterator[Fault]:
    states = {delta.name: (_differs(delta), delta) for delta in deltas}
    for name in names:
        if name not in states:
            yield Fault(name, "did not change")
        elif not states[name][0]:
            unknown = states[name][0] is None
            yield Fault(name, _reason(states[name][1]) if unknown else "did not change")


def specs(question: Question, deltas: Sequence[TensorDelta]) -> Iterator[Fault]:
    for delta in deltas:
        old, new = delta.change.old, delta.change.new
        if old is None or new is None:
            continue
        if question is Question.DTYPE and old.dtype != new.dtype:
            yield Fault(delta.name, f"{old.dtype} → {new.dtype}")
        if question is Question.SHAPE and old.shape != new.shape:
            yield Fault(delta.name, f"{format_shape(old.shape)} → {format_shape(new.shape)}")


def finite(
    question: Question, deltas: Sequence[TensorDelta], new: Readable | None
) -> Iterator[Fault]:
    """Tensors that came into the new version, or changed, and hold what must not be there."""
    word = "NaN" if question is Question.NO_NAN else "Inf"
    for delta in deltas:
        if delta.change.new is None or delta.kind in SAME_VALUES or not delta.change.bytes_differ:
            continue
        counts = _special(delta, new)
        if isinstance(counts, str):
            yield Fault(delta.name, counts)
            continue
        count = counts[question is Question.NO_INF]
        if count:
            yield Fault(delta.name, f"{count} {word}", float(count))


def _special(delta: TensorDelta, new: Readable | None) -> tuple[int, int] | str:
    """(NaN, infinities) in the new version of a tensor, or why that is not known."""
    if delta.numbers is not None and delta.kind is not Kind.RESIZED:
        return delta.numbers.nan[1], delta.numbers.inf[1]
    if delta.summary is not None:
        return delta.summary.nan, delta.summary.inf
    if new is None:
        return _reason(delta)
    from git_nn.differences.numbers import BLOCK
    from git_nn.differences.summary import summarise

    try:
        blocks = new.blocks(delta.name)
        found = None if blocks is None else summarise(lambda: blocks(BLOCK))
    except MissingObjectError:
        return f"values are not here; {_GET}"
    except DamagedObjectError as error:
        return str(error)
    return _reason(delta) if found is None else (found.nan, found.inf)


def limits(check: Check, deltas: Sequence[TensorDelta], names: Sequence[str]) -> Iterator[Fault]:
    """Tensors beyond the limit; ``names`` are all, those that did not change included."""
    assert check.measure is not None
    assert check.limit is not None
    measure, limit = check.measure, check.limit
    known = {delta.name for delta in deltas}
    nothing = 1.0 if measure is Measure.COSINE else 0.0
    if not limit.allows(nothing) and limit.floor is None:
        for name in names:
            if name not in known:
                yield _beyond(name, measure, limit, nothing)
    for delta in deltas:
        if delta.change.old is None or delta.change.new is None or _is_tiny(delta, limit):
            continue
        value = _measured(delta, measure)
        if isinstance(value, str):
            yield Fault(delta.name, value)
        elif not limit.allows(value):
            yield _beyond(delta.name, measure, limit, value)


def _is_tiny(delta: TensorDelta, limit: Limit) -> bool:
    """Whether no element moved by more than the floor of the limit."""
    if limit.floor is None or came_or_went(delta):
        return False
    if delta.kind in SAME_VALUES or not delta.change.bytes_differ:
        return True
    most = delta.numbers.max_abs if delta.numbers else None
    return most is not None and most <= limit.floor


def _measured(delta: TensorDelta, measure: Measure) -> float | str:
    """The number of a tensor that both versions have, or why there is none."""
    if delta.kind in SAME_VALUES or not delta.change.bytes_differ:
        return 1.0 if measure is Measure.COSINE else 0.0
    numbers = delta.numbers
    if numbers is None:
        return _reason(delta)
    if broken := came_or_went(delta):
        return broken
    if measure is Measure.CHANGED:
        return numbers.changed / numbers.elements if numbers.elements else 0.0
    if numbers.max_abs is None:
        return "has no finite value" if numbers.elements else 0.0
    if measure is Measure.COSINE:
        if numbers.cosine is None:
            return "has no cosine: all is 0 in one version" if numbers.max_abs else 1.0
        return numbers.cosine
    found = {
        Measure.RELATIVE: numbers.relative,
        Measure.MAX: numbers.max_abs,
        Measure.MEAN: numbers.mean_abs,
    }[measure]
    return "has no finite value" if found is None else float(found)


def _beyond(name: str, measure: Measure, limit: Limit, value: float) -> Fault:
    off = value if limit.order.startswith("<") else -value
    return Fault(name, f"{measure} {number(value, limit, percent=measure is Measure.CHANGED)}", off)


def number(value: float, limit: Limit, *, percent: bool = False) -> str:
    """``value`` in few digits, but in so many that it is seen to be beyond the limit."""
    scale = 100 if percent else 1
    for digits in (3, 6, 9):
        text = f"{value * scale:.{digits}g}"
        if not limit.allows(float(text) / scale):
            break
    else:
        text = repr(value * scale)
    return f"{text} %" if percent else text


def distance(check: Check, span: Span) -> Iterator[Fault]:
    assert check.limit is not None
    ends = check.limit.allows(span.low), check.limit.allows(span.high)
    if all(ends):
        return
    if any(ends):
        between = f"distance between {span.low:.3g} and {span.high:.3g}: some values are not here"
        yield Fault("", f"{between}; {_GET}")
    elif span.low == span.high:
        yield Fault("", f"distance {number(span.low, check.limit)}", span.low)
    else:
        yield Fault("", f"distance {span.low:.3g} or more", span.low)


def _reason(delta: TensorDelta) -> str:
    """Why a tensor has no numbers."""
    if delta.unread.startswith("values are not here"):
        return f"{delta.unread}; {_GET}"
    return delta.unread or f"{delta.kind}, so there is no number"
