"""measure: how far each side changed the tensors of a merge, and what strategies would give.

Only tensors that a side changed are read, each once. Strategies are computed, with their default
parameters and as they were chosen, for those that both changed; results are measured block by
block and dropped. Where these have more elements than was asked for, strategies get samples of
the larger ones, and what they give is an estimate; what the sides changed is exact.

Memory is bounded: of a version HELD bytes are kept for all strategies, a larger tensor is read
anew for each, and one of more than MOST elements is not given to strategies that take it whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import ceil, prod
from typing import TYPE_CHECKING

from git_nn.errors import DamagedObjectError, MissingObjectError
from git_nn.merge.decide import Combine, Conflict, Take, settle
from git_nn.merge.rules import Choice
from git_nn.merge.strategies import table
from git_nn.model import Model
from git_nn.objects.pointer import Entry, Stored
from git_nn.objects.tensor import Shape, dtype_bits, nbytes
from git_nn.preview.result import File, Outcome, Preview, Tensor
from git_nn.preview.sample import Sample, sample, taking

if TYPE_CHECKING:
    from git_nn.arrays import Array
    from git_nn.merge.arithmetic import Version
    from git_nn.merge.overlap import Blocks

HELD = 1 << 25
MOST = 1 << 20
ENOUGH = 1 << 22  # elements of all tensors that strategies are tried on
LEAST = 1 << 15  # of one tensor, where it has as many
NOT_HERE = "values are not here"

Advance = Callable[[int], None]


def work(preview: Preview, enough: float = ENOUGH) -> int:
    """What ``measure`` tells ``advance`` of, all together."""
    most = _most(preview, enough)
    return sum(_work(tensor, most) for file in preview.files for tensor in file.tensors)


def _work(tensor: Tensor, most: int) -> int:
    tried = _length(tensor, sample(tensor.entry.shape, most)) * len(_settled(tensor))
    return tensor.length * _is_comparable(tensor) + tried


def _length(tensor: Tensor, part: Sample | None) -> int:
    """Bytes that a strategy is tried on."""
    return nbytes(tensor.entry.dtype, part.shape) if part else tensor.length


def measure(preview: Preview, advance: Advance, enough: float = ENOUGH) -> Preview:
    """The preview with its numbers; ``advance`` is told of bytes of a tensor that are done.

    Strategies are tried on about ``enough`` elements; where that is infinite, on all. Where a
    tensor cannot be read its ``unread`` says why.
    """
    most = _most(preview, enough)
    files = [replace(file, tensors=tuple(_tensors(file, most, advance))) for file in preview.files]
    return replace(preview, files=tuple(files))


def _most(preview: Preview, enough: float) -> int:
    """How many elements of a tensor strategies are tried on."""
    tensors = [tensor for file in preview.files for tensor in file.tensors if _settled(tensor)]
    sizes = [prod(tensor.entry.shape) for tensor in tensors]
    most = sum(sizes) if sum(sizes) <= enough else int(enough) // len(sizes)
    return max(most, LEAST)


def _tensors(file: File, most: int, advance: Advance) -> Iterator[Tensor]:
    for tensor in file.tensors:
        try:
            yield _measured(tensor, file, most, advance)
        except MissingObjectError:
            yield replace(tensor, unread=NOT_HERE)
        except DamagedObjectError as error:
            yield replace(tensor, unread=error.message)


# --- a tensor ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Versions:
    """How to read the versions; None is a version that is not there, or not needed."""

    base: Blocks | None
    ours: Blocks | None
    theirs: Blocks | None


def _measured(tensor: Tensor, file: File, most: int, advance: Advance) -> Tensor:
    from git_nn.merge.overlap import overlap

    settled, comparable = _settled(tensor), _is_comparable(tensor)
    if not settled and not comparable:
        both = tensor.base is not None and tensor.ours is not None and tensor.theirs is not None
        return replace(tensor, unread="another shape" if both else "")
    entries = (tensor.base, tensor.ours, tensor.theirs)
    wanted = (comparable, *tensor.changed)
    part = sample(tensor.entry.shape, most) if settled else None
    is_held = bool(settled) and part is None
    read = [
        _blocks(model, entry, is_held=is_held) if model and entry and is_wanted else None
        for model, entry, is_wanted in zip(file.models, entries, wanted, strict=True)
    ]
    for entry, blocks, is_wanted in zip(entries, read, wanted, strict=True):
        if entry is not None and is_wanted and blocks is None:
            return replace(tensor, unread=_form(entry))
    found: list[list[Array]] = [[], [], []]
    if part is not None:
        pairs = zip(read, found, strict=True)
        read = [blocks and taking(blocks, part, some) for blocks, some in pairs]
    base, ours, theirs = read
    if base is not None:
        tensor = replace(tensor, overlap=overlap(base, ours, theirs))
        advance(tensor.length)
    if part is not None:
        read = [blocks and _taken(blocks, some) for blocks, some in zip(read, found, strict=True)]
    outcomes = []
    for decision in settled:
        outcomes.append(_outcome(tensor, _Versions(*read), decision, part))
        advance(_length(tensor, part))
    return replace(tensor, outcomes=tuple(outcomes))


def _taken(read: Blocks, found: list[Array]) -> Blocks:
    """The sample that reading puts into ``found``; it is read now, if it was not before."""
    import numpy as np

    from git_nn.differences.numbers import BLOCK, blocks_of

    if not found:
        for _ in read(BLOCK):
            pass
    return blocks_of(np.concatenate(found))


def _is_comparable(tensor: Tensor) -> bool:
    """Whether what the sides changed can be told element by element."""
    base = tensor.base
    sides = zip((tensor.ours, tensor.theirs), tensor.changed, strict=True)
    return base is not None and all(
        side is not None and side.shape == base.shape for side, changed in sides if changed
    )


def _settled(tensor: Tensor) -> list[Take | Combine]:
    """The tensor as each strategy that applies would settle it."""
    ours, theirs = tensor.ours, tensor.theirs
    if not tensor.changed_by_both or ours is None or theirs is None or ours.shape != theirs.shape:
        return []
    conflict = Conflict(tensor.name, tensor.base, ours, theirs, "")
    choices = [default(name) for name in table.NAMES]
    if tensor.choice is not None and tensor.choice not in choices:
        choices.append(tensor.choice)
    found = [settle(conflict, c) for c in choices if not table.by_name(c.strategy).needs]
    return [decision for decision in found if isinstance(decision, Take | Combine)]


def default(strategy: str) -> Choice:
    """A strategy with the values that its parameters have where nobody says another."""
    return Choice(strategy, tuple(table.by_name(strategy).parameters.items()))


def _blocks(model: Model, entry: Entry, *, is_held: bool) -> Blocks | None:
    """Reads a version, from memory where it ``is_held``; None where it cannot be decoded."""
    blocks = model.blocks(entry.name)
    if blocks is None or not is_held or nbytes(entry.dtype, entry.shape) > HELD:
        return blocks
    import numpy as np

    from git_nn.differences.numbers import BLOCK, blocks_of

    arrays = list(blocks(BLOCK))
    return blocks_of(np.concatenate(arrays)) if arrays else blocks


def _form(entry: Entry) -> str:
    kind = entry.form if isinstance(entry, Stored) and entry.form else entry.dtype
    return f"stored as {kind}, which git-nn does not decode"


# --- a strategy -------------------------------------------------------------------------


def _outcome(
    tensor: Tensor, versions: _Versions, decision: Take | Combine, part: Sample | None
) -> Outcome:
    from git_nn.merge.overlap import Apart, distances

    choice = decision.by if isinstance(decision, Take) else decision.choice
    assert choice is not None
    strategy, shape = table.by_name(choice.strategy), tensor.entry.shape
    name = strategy.name if choice == default(strategy.name) else str(choice)
    at_once = strategy.unit(shape) if strategy.unit is not None else 1
    if at_once > MOST:
        return Outcome(name, skipped=f"more than {MOST} elements")
    if part is not None:
        if at_once > prod(part.shape):
            return Outcome(name, skipped="takes tensors whole (--exact)")
        shape = part.shape
    assert versions.ours is not None
    assert versions.theirs is not None
    found, strange = [versions.ours, versions.theirs], [0]
    if versions.base is not None:
        found.append(versions.base)
    if isinstance(decision, Combine):
        result = _computed(decision, versions, shape, strange)
    else:
        result = versions.ours if decision.source == "ours" else versions.theirs
    apart = distances(result, found)
    scale = part.scale if part else 1.0
    ours, theirs, *base = (Apart(each.step * scale, each.norm * scale) for each in apart)
    count = ceil(strange[0] * scale)
    return Outcome(
        name, base[0] if base else None, ours, theirs, count, is_estimated=part is not None
    )


def _computed(decision: Combine, versions: _Versions, shape: Shape, strange: list[int]) -> Blocks:
    """The result in blocks; ``strange[0]`` counts the values that the strategy made not finite."""
    from git_nn.arrays import as_array
    from git_nn.merge.arithmetic import Versions, blocks, merge_tensor

    if decision.base is not None and table.by_name(decision.choice.strategy).copies_base:
        assert versions.base is not None
        return versions.base
    base = _version(decision.base, versions.base)
    ours, theirs = (
        _version(decision.ours, versions.ours), _version(decision.theirs, versions.theirs),
    )  # fmt: skip
    assert ours is not None
    assert theirs is not None
    dtype = decision.ours.dtype
    whole = Versions(dtype, shape, base, (ours, theirs))
    size = dtype_bits(dtype) // 8

    def merged() -> Iterator[bytes]:
        for data, count in merge_tensor(decision.choice, whole):
            strange[0] += count
            yield data

    def read(count: int) -> Iterator[Array]:
        for data in blocks(merged(), count * size):
            yield as_array(data, dtype, (len(data) // size,))

    return read


def _version(entry: Stored | None, read: Blocks | None) -> Version | None:
    """What a strategy reads; None where it needs no base."""
    from git_nn.merge.arithmetic import Version
    from git_nn.merge.overlap import BLOCK

    if entry is None or read is None:
        return None
    return Version(entry.oid, lambda: (block.tobytes() for block in read(BLOCK)))
