"""as_json: a preview as plain JSON values, by the schema ``git-nn preview 1`` in docs/merge.md."""

from __future__ import annotations

from collections.abc import Sequence
from math import isinf
from typing import Any

from git_nn.merge.overlap import Apart, Overlap
from git_nn.objects.names import escape
from git_nn.objects.pointer import Entry, Window
from git_nn.preview.blocks import Block, blocks, outcomes_of, overlap_of
from git_nn.preview.result import File, Outcome, Preview, Tensor

SCHEMA = "git-nn preview 1"


def document(preview: Preview) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "branch": preview.name,
        "ours": preview.ours,
        "theirs": preview.theirs,
        "bases": list(preview.bases),
        "kind": preview.kind,
        "clean": preview.is_clean,
        "files": [_file(file) for file in preview.files],
    }


def _file(file: File) -> dict[str, Any]:
    base, ours, theirs = (_path(path) for path in file.paths)
    return {
        "path": _path(file.path),
        "paths": {"base": base, "ours": ours, "theirs": theirs},
        "becomes": file.becomes,
        "why": file.why,
        "notes": list(file.notes),
        "same": file.same,
        "conflicts": len(file.conflicts),
        "numbers": _numbers(overlap_of(file.tensors)),
        "strategies": _strategies(file.tensors),
        "blocks": [_block(block) for block in blocks(file.tensors)],
        "tensors": [_tensor(tensor) for tensor in file.tensors],
    }


def _path(path: bytes) -> str | None:
    return path.decode("utf-8", "surrogateescape") or None


def _block(block: Block) -> dict[str, Any]:
    return {
        "name": block.name,
        "tensors": [escape(tensor.name) for tensor in block.tensors],
        "becomes": block.first.becomes,
        "why": block.first.why,
        "numbers": _numbers(block.overlap),
        "strategies": _strategies(block.tensors),
    }


def _tensor(tensor: Tensor) -> dict[str, Any]:
    ours, theirs = tensor.changed
    return {
        "name": escape(tensor.name),
        "base": _entry(tensor.base),
        "ours": _entry(tensor.ours),
        "theirs": _entry(tensor.theirs),
        "changed_by": [side for side, changed in (("ours", ours), ("theirs", theirs)) if changed],
        "becomes": tensor.becomes,
        "why": tensor.why,
        "unread": tensor.unread,
        "numbers": _numbers(tensor.overlap),
        "strategies": _strategies((tensor,)),
    }


def _entry(entry: Entry | None) -> dict[str, Any] | None:
    if entry is None:
        return None
    view = escape(entry.of) if isinstance(entry, Window) else None
    return {
        "dtype": entry.dtype,
        "shape": list(entry.shape),
        "oid": None if isinstance(entry, Window) else str(entry.oid),
        "view_of": view,
    }


def _numbers(found: Overlap | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "elements": found.elements,
        "ours": {"changed": found.ours, "relative": _number(found.ours_relative)},
        "theirs": {"changed": found.theirs, "relative": _number(found.theirs_relative)},
        "both_changed": found.both,
        "signs_agree": found.agreeing,
        "shared": found.shared,
        "sign_overlap": found.sign_overlap,
        "cosine": found.cosine,
    }


def _strategies(tensors: Sequence[Tensor]) -> list[dict[str, Any]]:
    return [_outcome(outcome, count) for outcome, count in outcomes_of(tensors)]


def _outcome(outcome: Outcome, count: int) -> dict[str, Any]:
    return {
        "strategy": outcome.strategy,
        "tensors": count,
        "from_base": _apart(outcome.base),
        "from_ours": _apart(outcome.ours),
        "from_theirs": _apart(outcome.theirs),
        "not_finite": outcome.strange,
        "estimated": outcome.is_estimated,
        "skipped": outcome.skipped,
    }


def _apart(apart: Apart | None) -> float | str | None:
    return None if apart is None else _number(apart.relative)


def _number(value: float | None) -> float | str | None:
    """JSON has no infinity."""
    return "inf" if value is not None and isinf(value) else value
