"""result: a merge that has not happened, as data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from git_nn.merge.decide import Combine, Conflict, Decision, Take, Weave
from git_nn.merge.overlap import Apart, Overlap
from git_nn.merge.rules import Choice
from git_nn.model import StoredModel
from git_nn.objects.pointer import Entry, Pointer
from git_nn.objects.tensor import nbytes

Kind = Literal["merge", "fast-forward", "up-to-date", "unrelated"]
Becomes = Literal["merged", "ours", "theirs", "both", "removed", "conflict"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a strategy would make of a tensor that both changed.

    ``strategy`` is its name, with the parameters where they are not the default ones.

    Each version has how far the result is from it; ``base`` is None where there is none of the
    same shape. ``strange`` counts values that the strategy made and that are NaN or infinite.
    All are estimates where ``is_estimated``: of a sample, times what an element of it stands for.
    ``skipped`` says why nothing was computed; then all are None.
    """

    strategy: str
    base: Apart | None = None
    ours: Apart | None = None
    theirs: Apart | None = None
    strange: int = 0
    skipped: str = ""
    is_estimated: bool = False


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor that a side changed, and what becomes of it; a side without it is None.

    ``overlap`` is None where there is nothing to measure, or ``unread`` says why it was not.
    """

    decision: Decision
    base: Entry | None
    ours: Entry | None
    theirs: Entry | None
    overlap: Overlap | None = None
    outcomes: tuple[Outcome, ...] = ()
    unread: str = ""

    @property
    def name(self) -> str:
        return self.decision.name

    @property
    def entry(self) -> Entry:
        """A version of it that there is."""
        found = self.ours or self.theirs or self.base
        assert found is not None
        return found

    @property
    def is_conflict(self) -> bool:
        return isinstance(self.decision, Conflict)

    @property
    def changed_by_both(self) -> bool:
        """Whether both sides changed it, and not in the same way."""
        decision = self.decision
        return not isinstance(decision, Take) or decision.by is not None

    @property
    def changed(self) -> tuple[bool, bool]:
        """Whether ours changed it, and whether theirs did."""
        if self.changed_by_both or not isinstance(self.decision, Take):
            return True, True
        return self.decision.source != "theirs", self.decision.source != "ours"

    @property
    def becomes(self) -> str:
        """``ours``, ``theirs``, ``both`` (the same change), ``conflict``, or what was chosen."""
        decision = self.decision
        if isinstance(decision, Conflict):
            return "conflict"
        if isinstance(decision, Weave):
            return f"{decision.way.unit}s of both"
        if isinstance(decision, Take) and decision.by is None:
            return decision.source if decision.entry else f"removed by {decision.source}"
        return str(self.choice)

    @property
    def choice(self) -> Choice | None:
        """The strategy that was chosen for it; None where none is needed, or none was."""
        match self.decision:
            case Take():
                return self.decision.by
            case Combine():
                return self.decision.choice
        return None

    @property
    def why(self) -> str:
        """The reason of a conflict."""
        return self.decision.why if isinstance(self.decision, Conflict) else ""

    @property
    def length(self) -> int:
        """Bytes of one version, packed."""
        return nbytes(self.entry.dtype, self.entry.shape)


@dataclass(frozen=True, slots=True)
class File:
    """A model that a side changed. ``paths`` are its names in base, ours and theirs, '' where it
    is not; ``path`` is where the result stands.

    ``why`` says why the file as a whole is a conflict. ``tensors`` are those that a side changed,
    in natural order, where both versions or more could be read; ``same`` counts the others.
    """

    path: bytes
    paths: tuple[bytes, bytes, bytes]
    becomes: Becomes
    why: str = ""
    notes: tuple[str, ...] = ()
    tensors: tuple[Tensor, ...] = ()
    same: int = 0
    models: tuple[StoredModel | None, StoredModel | None, StoredModel | None] = (None, None, None)

    @property
    def conflicts(self) -> tuple[Tensor, ...]:
        return tuple(tensor for tensor in self.tensors if tensor.is_conflict)

    @property
    def is_clean(self) -> bool:
        return not self.why and not self.conflicts


@dataclass(frozen=True, slots=True)
class Preview:
    """What merging the commit ``theirs``, called ``name``, into ``ours`` would do.

    ``bases`` are the merge bases; where there are several the first was compared with.
    """

    name: str
    ours: str
    theirs: str
    bases: tuple[str, ...]
    files: tuple[File, ...]

    @property
    def kind(self) -> Kind:
        if self.theirs in self.bases:
            return "up-to-date"
        if self.ours in self.bases:
            return "fast-forward"
        return "merge" if self.bases else "unrelated"

    @property
    def is_clean(self) -> bool:
        return all(file.is_clean for file in self.files)

    @property
    def needs(self) -> list[Pointer]:
        """The versions of what both sides changed: with these tensors only, which are read."""
        return [version for file in self.files for version in _read(file)]


def _read(file: File) -> Iterator[Pointer]:
    names = {tensor.name for tensor in file.tensors if tensor.changed_by_both}
    for model in file.models if names else ():
        if model is not None:
            kept = tuple(entry for entry in model.pointer.entries if entry.name in names)
            yield replace(model.pointer, entries=kept)
