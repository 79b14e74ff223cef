"""blocks: tensors of a preview as rows, as the grouped view of a diff has them.

A block is what has names that differ in their indices only, the same dtype and shape, and
becomes the same for the same reason: ``model.layers.[0-31].mlp.up_proj.weight``. Its numbers are
those of its tensors as one vector.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from git_nn.differences.groups import Indices, Key, cut, pattern
from git_nn.merge.overlap import Apart, Overlap, sum_of
from git_nn.objects.names import escape
from git_nn.preview.result import Outcome, Tensor


@dataclass(frozen=True, slots=True)
class Block:
    """``tensors`` are one or more, in natural order; ``name`` is escaped."""

    name: str
    tensors: tuple[Tensor, ...]

    @property
    def first(self) -> Tensor:
        return self.tensors[0]

    @property
    def overlap(self) -> Overlap | None:
        """None where nothing of it was measured."""
        return overlap_of(self.tensors)


def blocks(tensors: Sequence[Tensor]) -> list[Block]:
    """``tensors`` as blocks, in the order in which the first of each stands."""
    found: dict[tuple[Key, object], list[tuple[Indices, Tensor]]] = defaultdict(list)
    for tensor in tensors:
        key, indices = cut(escape(tensor.name))
        alike = (tensor.becomes, tensor.why, tensor.entry.dtype, tensor.entry.shape, tensor.changed)
        found[key, alike].append((indices, tensor))
    return [
        Block(pattern(key, [indices for indices, _ in held]), tuple(tensor for _, tensor in held))
        for (key, _), held in found.items()
    ]


def overlap_of(tensors: Sequence[Tensor]) -> Overlap | None:
    found = [tensor.overlap for tensor in tensors if tensor.overlap is not None]
    return sum_of(found, Overlap()) if found else None


def outcomes_of(tensors: Sequence[Tensor]) -> list[tuple[Outcome, int]]:
    """Each strategy over all tensors that it was computed for, and how many these are.

    One that was computed for none is there with the reason.
    """
    found: dict[str, list[Outcome]] = defaultdict(list)
    for tensor in tensors:
        for outcome in tensor.outcomes:
            found[outcome.strategy].append(outcome)
    return [_joined(name, outcomes) for name, outcomes in found.items()]


def _joined(name: str, outcomes: Sequence[Outcome]) -> tuple[Outcome, int]:
    done = [outcome for outcome in outcomes if not outcome.skipped]
    if not done:
        return outcomes[0], 0
    base, ours, theirs = (
        _sum([side for outcome in done if (side := getattr(outcome, version)) is not None])
        for version in ("base", "ours", "theirs")
    )
    strange, is_estimated = sum(o.strange for o in done), any(o.is_estimated for o in done)
    return Outcome(name, base, ours, theirs, strange, is_estimated=is_estimated), len(done)


def _sum(parts: Sequence[Apart]) -> Apart | None:
    return sum_of(parts, Apart()) if parts else None
