"""drift: how far tensors, and the layers that they form, moved at each commit.

Every number is one of ``compare``. The drift of a layer is the relative L2 change of all its
tensors taken as one vector (docs/history.md); tensors of it that did not change are read
once, for their norm, and no other tensor is read.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from git_nn.compare import Reading, compare
from git_nn.differences.changes import Kind
from git_nn.differences.heatmap import Cell, Mark
from git_nn.differences.layers import layer_of
from git_nn.differences.result import ModelDiff, TensorDelta
from git_nn.errors import GitNNError
from git_nn.gitio.follow import Step
from git_nn.history.versions import Changed, Chosen, Versions
from git_nn.model import Model
from git_nn.objects.pointer import Entry, Pointer, Window
from git_nn.objects.tensor import nbytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from git_nn.differences.numbers import Blocks
    from git_nn.differences.summary import Summary

_BLOCK = 1 << 15  # elements widened to double at a time
_SAME_VALUES = {Kind.RENAMED, Kind.RECODED}


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A version of which only some tensors are compared, and never the structure."""

    model: Model
    pointer: Pointer

    def array(self, name: str) -> NDArray[Any] | None:
        return self.model.array(name)

    def blocks(self, name: str) -> Blocks | None:
        return self.model.blocks(name)

    def structure(self) -> dict[str, Any]:
        return {}


def measure(
    versions: Versions,
    step: Step,
    names: Collection[str] | None = None,
    reading: Reading | None = None,
) -> ModelDiff:
    """What ``step`` did against its first parent, to the tensors ``names``, old and new ones.

    Raises GitNNError where a version is no valid pointer.
    """
    found = compare(*_sides(versions, step, names), reading=reading)
    if names is None:
        return found
    wanted = tuple(delta for delta in found.tensors if _names(delta) & set(names))
    return replace(found, tensors=wanted)


def _sides(
    versions: Versions, step: Step, names: Collection[str] | None
) -> tuple[Excerpt | None, Excerpt | None]:
    blobs = (step.before, step.blob)
    old, new = (_excerpt(versions.model(blob), names) if blob else None for blob in blobs)
    return old, new


def to_read(versions: Versions, step: Step, names: Collection[str]) -> int:
    """Bytes of the tensors that ``measure`` would read, if none of its numbers are known."""
    if not step.before or not step.blob:
        return 0
    sides = (versions.model(blob).pointer for blob in (step.before, step.blob))
    return sum(
        nbytes(entry.dtype, entry.shape)
        for pointer in sides
        for name in names
        if (entry := pointer.by_name.get(name)) is not None
    )


def _excerpt(model: Model, names: Collection[str] | None) -> Excerpt:
    if names is None:
        return Excerpt(model, model.pointer)
    wanted = set(names)
    entries = [entry for entry in model.pointer.entries if entry.name in wanted]
    wanted |= {entry.of for entry in entries if isinstance(entry, Window)}
    entries = [entry for entry in model.pointer.entries if entry.name in wanted]
    return Excerpt(model, replace(model.pointer, entries=tuple(entries)))


def _names(delta: TensorDelta) -> set[str]:
    return {entry.name for entry in (delta.change.old, delta.change.new) if entry}


@dataclass(slots=True)
class Squares:
    """Sums of squares: of the differences, and of the values before."""

    moved: float = 0.0
    before: float = 0.0

    @property
    def relative(self) -> float:
        """√(Σ|Δ|²) / √(Σ|a|²); infinite where all values were 0 and some moved."""
        if not self.moved:
            return 0.0
        return math.sqrt(self.moved / self.before) if self.before else math.inf


def squares(delta: TensorDelta) -> Squares | None:
    """The sums of one tensor; None where it has no numbers."""
    numbers = delta.numbers
    if numbers is None:
        return None
    before, relative = _energy(numbers.before), numbers.relative or 0.0
    moved = _energy(numbers.after) if math.isinf(relative) else relative * relative * before
    return Squares(moved, before)


def whole(deltas: Iterable[TensorDelta]) -> float | None:
    """The relative L2 change of tensors taken as one; None where none of them has numbers.

    A view counts only where what it views does not.
    """
    listed = list(deltas)
    names = {delta.name for delta in listed}
    known = [
        found
        for delta in listed
        if getattr(delta.change.new, "of", None) not in names
        and (found := squares(delta)) is not None
    ]
    if not known:
        return None
    total = Squares(sum(one.moved for one in known), sum(one.before for one in known))
    return total.relative


def _energy(summary: Summary) -> float:
    """The sum of squares of the finite elements."""
    finite = summary.elements - summary.nan - summary.inf
    mean, spread = summary.mean or 0.0, summary.std or 0.0
    return finite * (mean * mean + spread * spread)


def heat(
    versions: Versions, history: Sequence[Changed], want: Chosen, reading: Reading | None
) -> dict[str, list[Cell]]:
    """What each commit of ``history`` did to each layer that any of them changed.

    ``reading`` None reads nothing: then cells only say whether a layer changed.
    """
    if reading is None:
        columns = [_marks(changed, want) for changed in history]
    else:
        columns = _drifts(versions, history, want, reading)
    layers = {layer for cells in columns for layer in cells}
    found: dict[str, list[Cell]] = {layer: [] for layer in layers}
    for changed, cells in zip(history, columns, strict=True):
        there = _layers_of(versions, changed, want)
        for layer, row in found.items():
            same = Cell(Mark.SAME if layer in there else Mark.ABSENT)
            row.append(cells.get(layer, same) if layer in there else same)
    return found


def _marks(changed: Changed, want: Chosen) -> dict[str, Cell]:
    """The layers that a commit changed, told from the pointers."""
    kinds: dict[str, set[Kind]] = defaultdict(set)
    for name in want.among(changed.moves):
        kinds[layer_of(name)].add(changed.moves.kinds[name])
    return {
        layer: Cell(Mark.SAME if found <= _SAME_VALUES else Mark.UNKNOWN)
        for layer, found in kinds.items()
    } | {layer: Cell(Mark.NEW) for layer, found in kinds.items() if found == {Kind.ADDED}}


def _drifts(
    versions: Versions, history: Sequence[Changed], want: Chosen, reading: Reading
) -> list[dict[str, Cell]]:
    """The layers that each commit changed, and how far."""
    norms: dict[bytes, float] = {}
    columns = []
    for changed in history:
        layers: dict[str, list[TensorDelta]] = defaultdict(list)
        for delta in _deltas(versions, changed, want, reading):
            layers[layer_of(delta.name)].append(delta)
            _keep_norms(norms, delta)
        columns.append(layers)
    found = []
    for changed, layers in zip(history, columns, strict=True):
        rest = _unchanged(versions, changed, layers, want, norms)
        found.append({layer: _cell(some, rest[layer]) for layer, some in layers.items()})
    return found


def _deltas(
    versions: Versions, changed: Changed, want: Chosen, reading: Reading
) -> tuple[TensorDelta, ...]:
    among = want.among(changed.moves)
    if changed.problem or not among:
        return ()
    names = {*among, *among.values()} if want.patterns else None
    return measure(versions, changed.step, names, reading).tensors


def _keep_norms(norms: dict[bytes, float], delta: TensorDelta) -> None:
    """The sums of squares of whole tensors that were measured on the way."""
    if delta.numbers is None or delta.kind is Kind.RESIZED:
        return
    sides = ((delta.change.old, delta.numbers.before), (delta.change.new, delta.numbers.after))
    for entry, summary in sides:
        if entry is not None and not isinstance(entry, Window):
            norms[_content(entry)] = _energy(summary)


def _content(entry: Entry) -> bytes:
    return b"" if isinstance(entry, Window) else bytes(entry.oid) + entry.dtype.encode()


def _unchanged(
    versions: Versions,
    changed: Changed,
    layers: Collection[str],
    want: Chosen,
    norms: dict[bytes, float],
) -> dict[str, float]:
    """The sum of squares of what did not change, for each of ``layers``; views count once."""
    found: dict[str, float] = defaultdict(float)
    if not changed.step.before or not changed.step.blob:
        return found
    model = versions.model(changed.step.before)
    was = set(changed.moves.was.values())
    for entry in model.pointer.stored.values():
        layer = layer_of(entry.name)
        other = changed.moves.kinds.get(entry.name)
        if layer in layers and other is None and entry.name in want and entry.name not in was:
            key = _content(entry)
            if key not in norms:
                norms[key] = _read_norm(model, entry.name)
            found[layer] += norms[key]
    return found


def _read_norm(model: Model, name: str) -> float:
    """0 where the tensor cannot be read: then it is left out."""
    from git_nn.differences.summary import summarise

    try:
        blocks = model.blocks(name)
    except GitNNError:
        return 0.0
    if blocks is None:
        return 0.0
    try:
        return _energy(summarise(lambda: blocks(_BLOCK)))
    except GitNNError:
        return 0.0


def _layers_of(versions: Versions, changed: Changed, want: Chosen) -> set[str]:
    if changed.problem:
        return set()
    return {layer_of(name) for name in versions.names(changed.step.blob) if name in want}


def _cell(deltas: Sequence[TensorDelta], rest: float) -> Cell:
    """One layer at one commit; ``rest`` is the sum of squares of its tensors that are the same."""
    if all(delta.kind in _SAME_VALUES for delta in deltas):
        return Cell(Mark.SAME)
    if all(delta.kind is Kind.ADDED for delta in deltas) and not rest:
        return Cell(Mark.NEW)
    measured = [found for delta in deltas if (found := squares(delta)) is not None]
    if not measured:
        return Cell(Mark.UNKNOWN)
    if any(any((*delta.numbers.nan, *delta.numbers.inf)) for delta in deltas if delta.numbers):
        return Cell(Mark.NOT_FINITE)
    moved, before = (sum(getattr(one, part) for one in measured) for part in ("moved", "before"))
    return Cell(Mark.MOVED, Squares(moved, before + rest).relative)
