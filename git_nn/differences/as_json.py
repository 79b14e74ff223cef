"""as_json: a ModelDiff as plain JSON values, by the schema ``git-nn diff 1`` in docs/diff.md."""

from __future__ import annotations

from collections.abc import Sequence
from math import isinf, isnan
from typing import TYPE_CHECKING, Any

from git_nn.differences.checks import Verdict, is_change_point
from git_nn.differences.result import ModelDiff, Relation, TensorDelta
from git_nn.objects.names import escape
from git_nn.objects.pointer import Entry, Pointer, Window

if TYPE_CHECKING:
    from git_nn.differences.numbers import Numbers
    from git_nn.differences.summary import Summary

SCHEMA = "git-nn diff 1"


def document(
    files: Sequence[dict[str, Any]],
    problems: Sequence[dict[str, str]] = (),
    checks: Sequence[Verdict] | None = None,
) -> dict[str, Any]:
    """The whole document around what ``file`` gives, and files that cannot be compared."""
    found = {"schema": SCHEMA, "files": list(files), "problems": list(problems)}
    return found if checks is None else {**found, "checks": [_verdict(one) for one in checks]}


def file(
    diff: ModelDiff,
    path: str,
    tensors: Sequence[TensorDelta] | None = None,
    *,
    threshold: float | None = None,
) -> dict[str, Any]:
    """One file, with those ``tensors`` of it that are asked for, in the order of the text form.

    ``threshold`` is what mean |Δ| has to exceed at a change point.
    """
    shown = diff.tensors if tensors is None else tensors
    return {
        "path": path,
        "old": _version(diff.old),
        "new": _version(diff.new),
        "counts": {"same": diff.same, **{str(kind): n for kind, n in diff.counts.items()}},
        "container_changed": diff.container_changed,
        "headlines": list(diff.headlines),
        "structure": list(diff.structure),
        "notes": list(diff.notes),
        "threshold": threshold,
        "tensors": [
            {**_tensor(delta), "change_point": _change_point(delta, threshold)} for delta in shown
        ],
    }


def _version(pointer: Pointer | None) -> dict[str, Any] | None:
    if pointer is None:
        return None
    return {
        "format": pointer.format,
        "format_version": pointer.format_version,
        "skeleton": str(pointer.skeleton),
        "tensors": len(pointer.entries),
    }


def _tensor(delta: TensorDelta) -> dict[str, Any]:
    return {
        "kind": str(delta.kind),
        "name": escape(delta.name),
        "old": _entry(delta.change.old),
        "new": _entry(delta.change.new),
        "numbers": _numbers(delta.numbers) if delta.numbers else None,
        "unread": delta.unread,
        "relations": [_relation(one) for one in delta.relations],
        "summary": _alone(delta.summary) if delta.summary else None,
    }


def _change_point(delta: TensorDelta, threshold: float | None) -> bool | None:
    return None if threshold is None else is_change_point(delta, threshold)


def _verdict(one: Verdict) -> dict[str, Any]:
    return {
        "check": one.check.text,
        "passed": one.passed,
        "tensors": one.about,
        "failing": one.failing,
        "path": one.path,
        "tensor": escape(one.tensor) if one.tensor else "",
        "message": one.message,
    }


def _relation(one: Relation) -> dict[str, Any]:
    return {"word": str(one.word), "of": escape(one.of) if one.of else None, "value": one.value}


def _entry(entry: Entry | None) -> dict[str, Any] | None:
    if entry is None:
        return None
    view = escape(entry.of) if isinstance(entry, Window) else None
    return {
        "name": escape(entry.name),
        "dtype": entry.dtype,
        "shape": list(entry.shape),
        "oid": None if isinstance(entry, Window) else str(entry.oid),
        "view_of": view,
    }


def _numbers(numbers: Numbers) -> dict[str, Any]:
    return {
        "elements": numbers.elements,
        "changed": numbers.changed,
        "relative": _sum(numbers.relative),
        "cosine": _sum(numbers.cosine),
        "max_abs": _plain(numbers.max_abs),
        "max_at": None if numbers.max_at is None else list(numbers.max_at),
        "mean_abs": _sum(numbers.mean_abs),
        "flips": numbers.flips,
        "rows": None if numbers.rows is None else list(numbers.rows),
        "ulps": numbers.ulps,
        "nan": list(numbers.nan),
        "inf": list(numbers.inf),
        "before": _summary(numbers.before),
        "after": _summary(numbers.after),
    }


def _alone(one: Summary) -> dict[str, Any]:
    return {"elements": one.elements, "nan": one.nan, "inf": one.inf, **_summary(one)}


def _summary(one: Summary) -> dict[str, Any]:
    return {
        "zero": one.zero,
        "mean": _sum(one.mean),
        "std": _sum(one.std),
        "low": _plain(one.low),
        "high": _plain(one.high),
    }


def _sum(value: float | None) -> float | str | None:
    """Nine digits of a sum: the last ones depend on the order in which it was added."""
    plain = _plain(value)
    return float(f"{plain:.9g}") if isinstance(plain, float) else plain


def _plain(value: float | None) -> float | str | None:
    """JSON has no infinities and no NaN."""
    if isinstance(value, float) and (isinf(value) or isnan(value)):
        return str(value)
    return value
