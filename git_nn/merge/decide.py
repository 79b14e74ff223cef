"""decide: three pointers -> what becomes of each tensor. Pure; no weight is read.

Rules:
1. Changed on one side, or the same on both: that side's tensor, taken by content id and
   never computed.
2. Removed on one side and unchanged on the other: removed; changed on the other: a
   conflict, as Git does for files.
3. Changed on both sides: to be woven, where the sides may have changed different rows
   (merge.rows); the weights have to be read to know. Else what the rules choose, else a
   conflict. Only tensors of one dtype and shape are computed, and only floating or complex
   ones of 16 bits and more: integers, booleans and 8-bit floats are codes, and the mean of
   two codes is no code.
4. Where the container compresses a tensor, its value counts and not its bytes.
5. A view (tied weights) that is the same view on both sides follows its payload. Where
   the kinds differ, a view's value is its window *and* its payload's content.
6. The result is whole: a view whose payload would be gone or resized is a conflict.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from git_nn.merge.rows import VALUES, Rung, Way, way
from git_nn.merge.rules import Choice
from git_nn.merge.strategies import table
from git_nn.objects.names import natural_key
from git_nn.objects.oid import Oid
from git_nn.objects.pointer import Entry, Pointer, Stored, Window
from git_nn.objects.tensor import nbytes

Side = Literal["base", "ours", "theirs"]
From = Literal["unchanged", "both", "ours", "theirs"]
Choose = Callable[[str], Choice | None]
Ladder = Callable[[str], Rung]
Decode = Callable[[Pointer, Stored], Oid | None]


@dataclass(frozen=True, slots=True)
class Take:
    """The tensor as one side has it; ``entry`` is None where that side removed it.

    ``why`` is told, where it needs a word that this side's is taken.
    """

    name: str
    source: From
    entry: Entry | None
    by: Choice | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Combine:
    """A tensor to be computed; ``base`` is None where the strategy does not use it."""

    name: str
    base: Stored | None
    ours: Stored
    theirs: Stored
    choice: Choice


@dataclass(frozen=True, slots=True)
class Conflict:
    """A tensor that a person has to settle; a side without it is None.

    The result has ours meanwhile; or, where it is ``placed``, what it will have if the rows
    are where they are thought to be.
    """

    name: str
    base: Entry | None
    ours: Entry | None
    theirs: Entry | None
    why: str
    placed: bool = False


@dataclass(frozen=True, slots=True)
class Weave:
    """A tensor to be woven from the rows (elements) that each side changed.

    ``otherwise`` is the decision where the weights do not allow it. ``note`` says what was
    done, once it is.
    """

    name: str
    base: Stored
    ours: Stored
    theirs: Stored
    way: Way
    otherwise: Take | Combine | Conflict
    note: str = ""


Decision = Take | Combine | Weave | Conflict
_Value = tuple[Entry, Oid | None]


def no_choice(_: str) -> Choice | None:
    """Every tensor that changed on both sides is a conflict."""
    return None


def whole_tensors(_: str) -> Rung:
    """No tensor is taken apart."""
    return Rung("tensor")


def no_decoder(_: Pointer, __: Stored) -> Oid | None:
    """No payload is decoded: two stored forms are two values."""
    return None


def decide(  # noqa: PLR0913 - three versions, three questions
    base: Pointer | None,
    ours: Pointer,
    theirs: Pointer,
    choose: Choose = no_choice,
    decode: Decode = no_decoder,
    *,
    ladder: Ladder = whole_tensors,
) -> tuple[Decision, ...]:
    """A decision for every tensor of the three versions, in natural order.

    ``ladder`` says how finely a tensor that both sides changed may be taken apart.
    ``decode`` gives the oid of a payload's packed array; it is asked only where both sides
    changed a tensor that its container keeps in a form of its own (compressed chunks).
    """
    sides = (base.by_name if base else {}, ours.by_name, theirs.by_name)
    names = sorted({name for side in sides for name in side}, key=natural_key)
    decisions: dict[str, Decision] = {
        name: _decide(name, (base, ours, theirs), choose, decode, ladder) for name in names
    }
    while broken := _broken_views(decisions):
        for name in broken:
            b, o, t = (side.get(name) for side in sides)
            decisions[name] = Conflict(name, b, o, t, "a view and its payload changed apart")
    return tuple(decisions.values())


def _decide(
    name: str,
    sides: tuple[Pointer | None, Pointer, Pointer],
    choose: Choose,
    decode: Decode,
    ladder: Ladder,
) -> Decision:
    base, ours, theirs = (side.by_name.get(name) if side else None for side in sides)
    if ours == theirs:
        return Take(name, "unchanged" if ours == base else "both", ours)
    taken = _one_sided(name, ours, theirs, [_value(side, name) for side in sides])
    if taken is None and any(isinstance(e, Stored) and e.form for e in (base, ours, theirs)):
        packed = [_packed_value(side, name, decode) for side in sides]
        taken = _one_sided(name, ours, theirs, packed)
    if taken is not None:
        return taken
    why = _why(base, ours, theirs)
    settled = settle(Conflict(name, base, ours, theirs, why), choose(name))
    return _woven(settled, (base, ours, theirs), ladder(name))


def _woven(
    settled: Take | Combine | Conflict, entries: Sequence[Entry | None], rung: Rung
) -> Decision:
    """To be woven from the rows of both sides, where their kind allows to look at that."""
    base, ours, theirs = entries
    if not (isinstance(base, Stored) and isinstance(ours, Stored) and isinstance(theirs, Stored)):
        return settled
    shapes = (base.shape, ours.shape, theirs.shape)
    found = way(settled.name, base.dtype, shapes, rung)
    if found is None or not base.dtype == ours.dtype == theirs.dtype:
        return settled
    return Weave(settled.name, base, ours, theirs, found, settled)


def resized_view(conflict: Conflict) -> Take | None:
    """What to take of a view in conflict whose payload was woven, if only one side changed the
    view itself, and of that the number of rows."""
    base, ours, theirs = conflict.base, conflict.ours, conflict.theirs
    if not (isinstance(base, Window) and isinstance(ours, Window) and isinstance(theirs, Window)):
        return None
    if base not in (ours, theirs):
        return None
    source: From = "ours" if theirs == base else "theirs"
    entry = ours if theirs == base else theirs
    same = replace(entry, shape=base.shape) == base and entry.shape[1:] == base.shape[1:]
    return Take(conflict.name, source, entry) if same else None


def _one_sided(
    name: str, ours: Entry | None, theirs: Entry | None, values: Sequence[_Value | None]
) -> Take | None:
    """What to take where not both sides changed the tensor, by its three values."""
    base_value, our_value, their_value = values
    if our_value == base_value:
        return Take(name, "theirs", theirs)
    if their_value == base_value:
        return Take(name, "ours", ours)
    return Take(name, "both", ours) if our_value == their_value else None


def _value(side: Pointer | None, name: str) -> _Value | None:
    """What tells two tensors apart: a view's payload is part of its value."""
    if side is None or name not in side.by_name:
        return None
    entry = side.by_name[name]
    return entry, side.stored[entry.of].oid if isinstance(entry, Window) else None


def _packed_value(side: Pointer | None, name: str, decode: Decode) -> _Value | None:
    """The same, where the form in which a container keeps a tensor does not count."""
    entry = side.by_name.get(name) if side else None
    if side is None or not isinstance(entry, Stored) or not entry.form:
        return _value(side, name)
    oid = decode(side, entry)
    if oid is None:
        return entry, None
    length = nbytes(entry.dtype, entry.shape)
    return Stored(name, entry.dtype, entry.shape, oid, length), None


def settle(conflict: Conflict, choice: Choice | None) -> Take | Combine | Conflict:
    """The conflict as ``choice`` settles it; still a conflict, with the reason, where it cannot."""
    if choice is None:
        return conflict
    strategy = table.by_name(choice.strategy)
    if strategy.side is not None:
        entry = conflict.ours if strategy.side == "ours" else conflict.theirs
        return Take(conflict.name, strategy.side, entry, by=choice)
    base, ours, theirs = conflict.base, conflict.ours, conflict.theirs
    why = _refusal(conflict, strategy)
    if why:
        return Conflict(conflict.name, base, ours, theirs, f"{conflict.why}; {why}")
    assert isinstance(ours, Stored)
    assert isinstance(theirs, Stored)
    used = base if strategy.needs_base and isinstance(base, Stored) else None
    return Combine(conflict.name, used, ours, theirs, choice)


def _refusal(conflict: Conflict, strategy: table.Strategy) -> str:
    """Why a computing strategy cannot give this tensor; empty where it can."""
    base, ours, theirs = conflict.base, conflict.ours, conflict.theirs
    if not isinstance(ours, Stored) or not isinstance(theirs, Stored):
        return f"{strategy.name} needs the tensor on both sides"
    if _spec(ours) != _spec(theirs):
        return f"{strategy.name} needs one dtype and shape"
    if ours.dtype.removesuffix("be") not in VALUES:
        return f"{ours.dtype} values are never computed with"
    if strategy.needs_base and (not isinstance(base, Stored) or _spec(base) != _spec(ours)):
        return f"{strategy.name} needs a base of the same dtype and shape"
    return ""


def _spec(entry: Entry) -> tuple[str, tuple[int, ...]]:
    return entry.dtype, entry.shape


def _why(base: Entry | None, ours: Entry | None, theirs: Entry | None) -> str:
    if ours is None:
        return "removed by ours, changed by theirs"
    if theirs is None:
        return "changed by ours, removed by theirs"
    if isinstance(ours, Window) != isinstance(theirs, Window):
        return "a view on one side, changed on the other"
    if base is not None and _both_grew(base, ours, theirs):
        return "rows added on both sides, and nothing says which token each is"
    if _spec(ours) != _spec(theirs):
        return "another dtype or shape on each side"
    return "added on both sides" if base is None else "changed on both sides"


def _both_grew(base: Entry, ours: Entry, theirs: Entry) -> bool:
    """Whether both sides have more rows than the base, and the tensors differ in nothing else."""
    entries = (base, ours, theirs)
    kinds = {(entry.dtype, entry.shape[1:], bool(entry.shape)) for entry in entries}
    if len(kinds) > 1 or not base.shape:
        return False
    return base.shape[0] < min(ours.shape[0], theirs.shape[0])


def _broken_views(decisions: dict[str, Decision]) -> set[str]:
    """Tensors that have to be conflicts too, for every view of the result to have its payload.

    A conflict stands for our tensor and our pointer is whole: so in the end all views are.
    """
    broken: set[str] = set()
    for name, decision in decisions.items():
        if _is_broken(name, decisions):
            entry = outcome(decision)
            assert isinstance(entry, Window)
            broken.add(entry.of if isinstance(decision, Conflict) else name)
    return {name for name in broken if not isinstance(decisions.get(name), Conflict | None)}


def _is_broken(name: str, decisions: dict[str, Decision]) -> bool:
    entry = outcome(decisions[name])
    if not isinstance(entry, Window):
        return False
    payload = outcome(decisions[entry.of]) if entry.of in decisions else None
    return not isinstance(payload, Stored) or not covers(payload, entry)


def outcome(decision: Decision) -> Entry | None:
    """The tensor that the result has for now: ours where it is a conflict or computed.

    What is to be woven has the shape of the side that changed the number of rows.
    """
    if isinstance(decision, Weave) and decision.ours.shape == decision.base.shape:
        return decision.ours if decision.theirs.shape == decision.ours.shape else decision.theirs
    return decision.entry if isinstance(decision, Take) else decision.ours


def covers(payload: Stored, view: Window) -> bool:
    """Whether ``view`` lies inside of ``payload``."""
    if payload.form:
        return False
    steps = zip(view.shape, view.strides, strict=True)
    last = view.offset + sum((dim - 1) * step for dim, step in steps if dim)
    try:
        return nbytes(view.dtype, (0 if 0 in view.shape else last + 1,)) <= payload.length
    except ValueError:  # packed types are viewed in whole bytes, block types in whole blocks
        return False
