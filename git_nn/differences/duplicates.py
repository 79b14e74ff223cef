"""duplicates: added tensors that are copies of another one, told from the pointer alone."""

from __future__ import annotations

from dataclasses import replace

from git_nn.differences.changes import Content, Kind, content
from git_nn.differences.result import Relation, TensorDelta, Word
from git_nn.objects.pointer import Pointer


def named(deltas: list[TensorDelta], new: Pointer | None) -> list[TensorDelta]:
    """``deltas`` of a new version, the copies among them with a relation that says of what."""
    if new is None or not any(delta.kind is Kind.ADDED for delta in deltas):
        return deltas
    fresh = {delta.name for delta in deltas if delta.kind is Kind.ADDED}
    first: dict[Content, str] = {}
    for entry in sorted(new.entries, key=lambda entry: entry.name in fresh):
        first.setdefault(content(new, entry), entry.name)

    def told(delta: TensorDelta) -> TensorDelta:
        entry = delta.change.new
        if delta.kind is not Kind.ADDED or entry is None or 0 in entry.shape:
            return delta
        of = first[content(new, entry)]
        if of == delta.name:
            return delta
        return replace(delta, relations=(*delta.relations, Relation(Word.DUPLICATE, of)))

    return [told(delta) for delta in deltas]
