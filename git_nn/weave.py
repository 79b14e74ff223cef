"""weave: carry out with the store what ``merge.rows`` says about rows of a tensor.

1. First the versions are compared, by the ids of their segments, and by their bytes only
   where these differ. So a tensor that cannot be woven costs no more than that.
2. The result is written a segment at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from git_nn.assemble import Sides
from git_nn.merge.decide import Combine, Conflict, Take, Weave
from git_nn.merge.tokens import quoted
from git_nn.merge.woven import Buffer, Survey, Version, Versions, survey, woven
from git_nn.model import open_pointer
from git_nn.objects.names import escape
from git_nn.objects.pointer import Pointer, Stored
from git_nn.objects.tensor import nbytes
from git_nn.store.base import SEGMENT, Batch, Store

Other = Take | Combine | Conflict
Progress = Callable[[int], object]


def weave(
    decision: Weave, sides: Sides, store: Store, batch: Batch, progress: Progress
) -> tuple[Weave | Other, Stored | None]:
    """The decision with its note, and the tensor; where it cannot be, what is decided instead.

    ``progress`` is told of bytes that were read. Raises MissingObjectError and DamagedObjectError.
    """
    assert sides.base is not None
    pairs = (
        (sides.base, decision.base), (sides.ours, decision.ours), (sides.theirs, decision.theirs),
    )  # fmt: skip
    found = [_version(side, entry, store, progress) for side, entry in pairs]
    base, ours, theirs = found
    if base is None or ours is None or theirs is None:
        return decision.otherwise, None
    unit_shape = decision.base.shape[1:] if decision.way.unit == "row" else ()
    tensor = Versions(base, ours, theirs, nbytes(decision.base.dtype, unit_shape))
    seen = survey(tensor)
    if not seen.allows(decision.way.ground):
        return _refused(decision, seen, _tokens(decision, seen, sides)), None
    oid, length = batch.put(woven(tensor), dtype=decision.ours.dtype, base=decision.ours.oid)
    resized = decision.ours if decision.ours.shape != decision.base.shape else decision.theirs
    entry = Stored(decision.name, resized.dtype, resized.shape, oid, length)
    return replace(decision, note=_told(decision, seen)), entry


def _version(side: Pointer, entry: Stored, store: Store, progress: Progress) -> Version | None:
    """The packed array in segments; None where the stored form cannot be decoded."""
    data = open_pointer(side, store).read(entry.name) if entry.form else b""
    if data is None:
        return None

    def read(index: int) -> Buffer:
        start = index * SEGMENT
        stop = start + SEGMENT
        found = data[start:stop] if entry.form else store.read_range(entry.oid, start, stop)
        progress(len(found))
        return found

    length = nbytes(entry.dtype, entry.shape)
    ids = () if entry.form else tuple(store.parts(entry.oid))
    return Version(length, SEGMENT, ids, read)


# --- in words ---------------------------------------------------------------------------


def _told(decision: Weave, seen: Survey) -> str:
    """``tensor embed.weight: 12 rows from ours, 1 from theirs, 4 added``."""
    unit = decision.way.unit
    counts = ((seen.ours, "from ours"), (seen.theirs, "from theirs"), (seen.alike, "from both"))
    parts = [f"{count} {whose}" for count, whose in counts if count]
    if seen.added:
        parts.append(f"{abs(seen.added)} {'added' if seen.added > 0 else 'removed'}")
    first, _, rest = (parts or ["0 changed"])[0].partition(" ")
    parts[:1] = [f"{first} {unit}{'' if first == '1' else 's'} {rest}"]
    return f"tensor {escape(decision.name)}: {', '.join(parts)}"


def _tokens(decision: Weave, seen: Survey, sides: Sides) -> Mapping[int, str]:
    """The tokens of the first rows that both changed, where rows are those of tokens."""
    rows = sides.rows
    if rows is None or decision.name not in rows.names:
        return {}
    return {at: token for token, at in rows.placement.result.items() if at in seen.first}


def _refused(decision: Weave, seen: Survey, tokens: Mapping[int, str]) -> Other:
    """What is decided instead; a conflict says what stood in the way."""
    other = decision.otherwise
    if not isinstance(other, Conflict) or seen.cut:
        return other
    return replace(other, why=f"{other.why}; {_reason(decision, seen, tokens)}")


def _reason(decision: Weave, seen: Survey, tokens: Mapping[int, str]) -> str:
    unit = decision.way.unit
    if seen.both:
        shown = ", ".join(_place(decision, index, tokens) for index in seen.first)
        more = ", ..." if seen.both > len(seen.first) else ""
        return f"both changed {seen.both} of {seen.total} {unit}s: {shown}{more}"
    if seen.ends:
        return f"the {unit}s that were added or removed at the end differ"
    if seen.added:
        return "the side with another number of rows changed others, too"
    return f"different rows; to take both: git config nn.merge.{escape(decision.name)}.ladder row"


def _place(decision: Weave, index: int, tokens: Mapping[int, str]) -> str:
    """A row by its number, and its token if it has one; an element by its indexes."""
    if decision.way.unit == "row" or len(decision.base.shape) == 1:
        return f"{index} {quoted(tokens[index])}" if index in tokens else str(index)
    indexes = []
    for dim in reversed(decision.base.shape[1:]):
        index, at = divmod(index, dim)
        indexes.append(at)
    return f"[{', '.join(map(str, (index, *reversed(indexes))))}]"
