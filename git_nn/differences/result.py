"""result: what a comparison found, as data; render and as_json give it a form.

A Readable is one version of a weight file that can be compared: its pointer, and its
tensors and structure where somebody asks for them.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from git_nn.differences.changes import Change, Kind
from git_nn.objects.names import natural_key
from git_nn.objects.pointer import Pointer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from git_nn.differences.numbers import Blocks, Numbers
    from git_nn.differences.summary import Summary


class Readable(Protocol):
    """One version of a weight file; model.Model is one."""

    @property
    def pointer(self) -> Pointer: ...

    def array(self, name: str) -> NDArray[Any] | None:
        """A tensor; None where its stored form cannot be decoded.

        Raises MissingObjectError or DamagedObjectError.
        """
        ...

    def blocks(self, name: str) -> Blocks | None:
        """A tensor in flat arrays, in C order; None and errors as for ``array``."""
        ...

    def structure(self) -> dict[str, Any]:
        """What the file says about the model; raises as ``array`` does."""
        ...


class Word(StrEnum):
    """What relates a tensor to another one or to its own earlier values (docs/diff.md)."""

    DUPLICATE = "duplicate"  # equal to the tensor ``of`` in the new version
    TRANSPOSED = "transposed"  # the old values with the axes reversed
    PERMUTED = "permuted"  # the old rows in another order
    ROWS = "rows"  # ``value`` rows more or fewer, the others as they were, wherever they went in
    SCALED = "scaled"  # the old values times ``value``, rounded once
    LOW_RANK = "low-rank"  # the difference is a matrix of rank ``value``, but for rounding
    EFFECTIVE_RANK = "effective rank"  # of the difference: ``value``
    REROUNDED = "re-rounded"  # no element moved by more than one representable value
    CHANGE_POINT = "change point"  # it moved by more than the threshold that was asked for


@dataclass(frozen=True, slots=True)
class Relation:
    word: Word
    of: str = ""
    value: float | int | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """What reading the values of one tensor gave: of two versions, or of the new one alone."""

    numbers: Numbers | None
    relations: tuple[Relation, ...] = ()
    summary: Summary | None = None


@dataclass(frozen=True, slots=True)
class TensorDelta:
    """One tensor that is not the same, and how far it moved where that could be measured.

    ``summary`` describes an added tensor. ``unread`` says why there is neither although there
    are bytes to read.
    """

    kind: Kind
    change: Change
    numbers: Numbers | None = None
    unread: str = ""
    relations: tuple[Relation, ...] = ()
    summary: Summary | None = None

    @property
    def name(self) -> str:
        return self.change.name


@dataclass(frozen=True, slots=True)
class ModelDiff:
    """All that differs between two versions; ``old`` or ``new`` is None where there is none.

    ``tensors`` are in the order in which they are shown; ``same`` counts the others.
    ``headlines`` say in words what happened to the model as a whole.
    """

    old: Pointer | None
    new: Pointer | None
    tensors: tuple[TensorDelta, ...]
    same: int
    structure: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    headlines: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        return self.same + len(self.tensors)

    @property
    def counts(self) -> dict[Kind, int]:
        """How many tensors are of each kind, in the order of Kind, without zeros."""
        found = Counter(delta.kind for delta in self.tensors)
        return {kind: found[kind] for kind in Kind if found[kind]}

    @property
    def container_changed(self) -> bool:
        """Whether the bytes around the tensors differ, or their order or format does."""
        if self.old is None or self.new is None:
            return False
        before = (self.old.layout, self.old.skeleton, self.old.skeleton_size)
        return before != (self.new.layout, self.new.skeleton, self.new.skeleton_size)

    @property
    def is_empty(self) -> bool:
        return self.old == self.new


_RANKS = {Kind.RENAMED: 3, Kind.RECODED: 2, Kind.ADDED: 4, Kind.REMOVED: 5}


def shown_order(deltas: list[TensorDelta]) -> tuple[TensorDelta, ...]:
    """The largest relative change first, then what has no number, then moves and the rest."""
    return tuple(sorted(deltas, key=_order))


def _order(delta: TensorDelta) -> tuple[int, float, Any]:
    relative = delta.numbers.relative if delta.numbers else None
    rank = _RANKS.get(delta.kind, 0 if relative is not None else 1)
    size = 0.0 if relative is None or math.isnan(relative) else -relative
    return rank, size if rank == 0 else 0.0, natural_key(delta.name)
