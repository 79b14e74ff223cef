"""checks: whether a comparison is as somebody said that it must be (docs/checks.md).

1. What is not known does not pass: values that are not here, a tensor that has no such number,
   NaN and infinities that came or went under a limit.
2. A check that is about no tensor fails: a name that is mistyped must not pass.
3. Each failed check names the tensor that is furthest off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from git_nn.differences import check_faults
from git_nn.differences.changes import Kind
from git_nn.differences.check_faults import SAME_VALUES, Fault, came_or_went
from git_nn.differences.check_language import Check, Question
from git_nn.differences.distance import Span
from git_nn.differences.result import ModelDiff, Readable, Relation, TensorDelta, Word
from git_nn.objects.names import escape, natural_key


@dataclass(frozen=True, slots=True)
class Outcome:
    """A check of one model: how many tensors it is about, and those that fail it."""

    about: int
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """A check of all models; ``path`` and ``tensor`` are of the worst fault, if there is one."""

    check: Check
    about: int
    failing: int
    message: str = ""
    path: str = ""
    tensor: str = ""

    @property
    def passed(self) -> bool:
        return not self.message


# --- change points ------------------------------------------------------------------------


def is_change_point(delta: TensorDelta, threshold: float) -> bool | None:
    """Whether D, the mean absolute difference, exceeds ``threshold``; None where it is not known.

    A tensor with more or fewer NaN or infinities than before is one: no number says how far it
    went. None also for tensors that only one version has.
    """
    if delta.kind in SAME_VALUES or not delta.change.bytes_differ:
        return False
    numbers = delta.numbers
    if numbers is None:
        return None
    if came_or_went(delta):
        return True
    return None if numbers.mean_abs is None else numbers.mean_abs > threshold


def change_points(diff: ModelDiff, threshold: float) -> tuple[TensorDelta, ...]:
    """The tensors whose D exceeds ``threshold``, in the order of the comparison."""
    return tuple(delta for delta in diff.tensors if is_change_point(delta, threshold))


def marked(diff: ModelDiff, threshold: float) -> ModelDiff:
    """``diff`` with a word at each change point, and a sentence that counts them."""
    points = set(map(id, change_points(diff, threshold)))
    word = Relation(Word.CHANGE_POINT)
    deltas = [
        replace(delta, relations=(word, *delta.relations)) if id(delta) in points else delta
        for delta in diff.tensors
    ]
    what = f"change points (mean absolute difference above {threshold:g})"
    said = f"{what}: {len(points)} of {diff.total}"
    return replace(diff, tensors=tuple(deltas), headlines=(*diff.headlines, said))


# --- one model ----------------------------------------------------------------------------


def evaluate(
    check: Check, diff: ModelDiff, new: Readable | None, distance: Callable[[], Span]
) -> Outcome:
    """Hold a comparison against a check.

    Values are read from ``new`` only for "no nan" and "no inf", of tensors that are new or have
    new elements. ``distance`` is asked for where the check is about it.
    """
    match check.question:
        case Question.DISTANCE:
            return Outcome(1, tuple(check_faults.distance(check, distance())))
        case Question.NO_ADDED | Question.NO_REMOVED:
            kind = Kind.ADDED if check.question is Question.NO_ADDED else Kind.REMOVED
            return _outcome(1, (Fault(d.name, kind) for d in diff.tensors if d.kind is kind))
        case Question.ONLY:
            others = [delta for delta in diff.tensors if not _is_about(check, delta)]
            return _outcome(len(_names(check, diff)), check_faults.unchanged(others))
    deltas = [delta for delta in diff.tensors if _is_about(check, delta)]
    names = _names(check, diff)
    both = len(names) - sum(d.change.old is None or d.change.new is None for d in deltas)
    match check.question:
        case Question.UNCHANGED:
            return _outcome(len(names), check_faults.unchanged(deltas))
        case Question.CHANGED:
            return _outcome(len(names), check_faults.changed(names, deltas))
        case Question.DTYPE | Question.SHAPE:
            return _outcome(both, check_faults.specs(check.question, deltas))
        case Question.NO_NAN | Question.NO_INF:
            gone = sum(delta.change.new is None for delta in deltas)
            return _outcome(len(names) - gone, check_faults.finite(check.question, deltas, new))
    still = both - sum(d.change.old is not None and d.change.new is not None for d in deltas)
    return _outcome(both, check_faults.limits(check, deltas, names if still else ()))


def _outcome(about: int, faults: Iterable[Fault]) -> Outcome:
    return Outcome(about, tuple(faults))


def _entry_names(delta: TensorDelta) -> set[str]:
    return {entry.name for entry in (delta.change.old, delta.change.new) if entry is not None}


def _is_about(check: Check, delta: TensorDelta) -> bool:
    return any(_fits(check, name) for name in _entry_names(delta))


def _fits(check: Check, name: str) -> bool:
    text = escape(name)
    return not check.patterns or any(
        text == pattern or fnmatchcase(text, pattern) for pattern in check.patterns
    )


def _names(check: Check, diff: ModelDiff) -> list[str]:
    """The tensors that a check is about, those renamed once, in natural order."""
    renamed = {
        delta.change.old.name: delta.name
        for delta in diff.tensors
        if delta.kind is Kind.RENAMED and delta.change.old is not None
    }
    pointers = [pointer for pointer in (diff.old, diff.new) if pointer is not None]
    found = {entry.name for pointer in pointers for entry in pointer.entries}
    fitting = {renamed.get(name, name) for name in found if _fits(check, name)}
    return sorted(fitting, key=natural_key)


# --- all models ---------------------------------------------------------------------------


_OF_OTHERS = (Question.ONLY, Question.NO_ADDED, Question.NO_REMOVED)


def verdict(check: Check, outcomes: Sequence[tuple[str, Outcome]]) -> Verdict:
    """What a check came to over all models, by their paths."""
    about = sum(outcome.about for _, outcome in outcomes)
    faults = [(path, fault) for path, outcome in outcomes for fault in outcome.faults]
    if faults:
        path, worst = max(faults, key=lambda pair: pair[1].off)
        place = f"{escape(worst.tensor)}: " if worst.tensor else ""
        total = "" if check.question in _OF_OTHERS else f" of {about}"
        others = f" (and {len(faults) - 1} more{total})" if len(faults) > 1 else ""
        message = f"{place}{worst.said}{others}"
        return Verdict(check, about, len(faults), message, path, worst.tensor)
    if not about:
        return Verdict(check, 0, 0, _about_nothing(check, len(outcomes)))
    return Verdict(check, about, 0)


def _about_nothing(check: Check, models: int) -> str:
    where = "the model" if models == 1 else f"the {models} models"
    if not models:
        return "there is no model that could be checked"
    both = check.question in (Question.LIMIT, Question.DTYPE, Question.SHAPE)
    kind = "tensor that both versions have" if both else "tensor"
    if not check.patterns:
        return f"{where} have no {kind}" if models > 1 else f"{where} has no {kind}"
    return f"no {kind} of {where} is called {' or '.join(map(repr, check.patterns))}"
