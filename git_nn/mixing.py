"""mixing: one model of several branches -> the merged one; ``combine`` for more than two sides.

1. Rows that different sides changed are woven two sides at a time, as in a merge of two.
2. What one side renamed has the new name on all (``merge.many``), as in a merge of two.
3. There is nothing to settle later: what cannot be merged is a MergeError with all reasons.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from git_nn.assemble import Decoder, Sides, assemble
from git_nn.combine import Progress, unheard
from git_nn.container import Known, nothing_known
from git_nn.errors import MergeError
from git_nn.merge.decide import Conflict, Weave
from git_nn.merge.follow import with_names
from git_nn.merge.many import Clash, Followed, Mixed, Outcome, Rows, Taken, decide, follow_all
from git_nn.merge.rows import Ladder, Rung, way
from git_nn.merge.rules import Choice, Rules
from git_nn.merge.strategies import table
from git_nn.model import open_pointer
from git_nn.objects.names import escape
from git_nn.objects.pointer import Entry, Pointer, Stored
from git_nn.statistics import of_tensors
from git_nn.store.base import Batch, Buffer, Store
from git_nn.weave import weave

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Versions:
    """A model in the base, None where it was added, and on every side; a name for each side.

    ``known`` gives what was measured of each side's.
    """

    base: Pointer | None
    sides: tuple[Pointer, ...]
    names: tuple[str, ...]
    known: Known = nothing_known


@dataclass(frozen=True, slots=True)
class Mixture:
    """The merged model; ``outcomes`` say where its tensors are from.

    ``asked`` are the tensors for which the rules had to be asked.
    """

    pointer: Pointer
    outcomes: tuple[Outcome, ...]
    asked: frozenset[str]
    notes: tuple[str, ...] = ()

    @property
    def mixed(self) -> tuple[Mixed, ...]:
        return tuple(outcome for outcome in self.outcomes if isinstance(outcome, Mixed))


def mix(
    versions: Versions, chosen: Rules, store: Store, scratch: Path, progress: Progress = unheard
) -> Mixture:
    """Merge all ``versions``; ``scratch`` is a folder with room for whole files.

    ``progress`` is told of bytes of tensors that were read.
    """
    if len({side.format for side in versions.sides}) > 1:
        raise refused(["it has several formats"])
    found, asked = follow_all(versions.base, versions.sides, versions.names), set[str]()

    def choose(name: str) -> Choice | None:
        asked.add(name)
        return chosen.choose(name)

    decided = decide(found, choose, Decoder(store))
    woven = _woven(decided, found, chosen.ladder, store, progress)
    outcomes = tuple(_outcome(each, woven) for each in decided)
    clashes = [f"{escape(o.name)}: {o.why}" for o in outcomes if isinstance(o, Clash)]
    if clashes:
        raise refused(clashes)
    wanted, notes = _computed(outcomes, found, versions.known, store, progress)
    notes += [f"tensor {escape(name)}: the rows of several branches" for name in woven]
    pointer = versions.sides[0]
    for side in versions.sides[1:]:
        sides = Sides(versions.base, pointer, side)
        pointer, told = assemble(sides, wanted, store, scratch, chosen.skeleton)
        wanted, notes = pointer.by_name, [*notes, *told]
    notes = [*found.notes, *dict.fromkeys(notes)]
    return Mixture(pointer, outcomes, frozenset(asked - woven.keys()), tuple(notes))


def refused(reasons: Sequence[str]) -> MergeError:
    """Why it cannot be merged, of very many reasons the first ones."""
    more = f" and {len(reasons) - _SHOWN} more" if len(reasons) > _SHOWN else ""
    return MergeError("; ".join(reasons[:_SHOWN]) + more)


def _outcome(decided: Outcome, woven: Mapping[str, Stored]) -> Outcome:
    if not isinstance(decided, Rows):
        return decided
    entry = woven.get(decided.name)
    return decided.otherwise if entry is None else Taken(decided.name, entry)


def _woven(
    decided: Sequence[Outcome], found: Followed, ladder: Ladder, store: Store, progress: Progress
) -> dict[str, Stored]:
    """The tensors that have the rows of all sides, one side after the other woven into them."""
    made: dict[str, Stored] = {}
    for rows in decided:
        if isinstance(rows, Rows):
            entry = _woven_one(rows, found, ladder(rows.name), store, progress)
            made |= {rows.name: entry} if entry is not None else {}
    return made


def _woven_one(
    rows: Rows, found: Followed, rung: Rung, store: Store, progress: Progress
) -> Stored | None:
    """The tensor; None where two sides changed the same rows, or it is not to be taken apart."""
    first, *rest = [found.sides[number] for number in rows.changed]
    made = first.stored[rows.name]
    for side in rest:
        other = side.stored[rows.name]
        how = way(rows.name, other.dtype, (rows.base.shape, made.shape, other.shape), rung)
        if how is None:
            return None
        refusal = Conflict(rows.name, rows.base, made, other, "")
        decision = Weave(rows.name, rows.base, made, other, how, refusal)
        with store.batch() as batch:
            done = weave(decision, Sides(found.base, first, side), store, batch, progress)[1]
        if done is None:
            return None
        made = done
    return made


def _computed(
    outcomes: Sequence[Outcome], found: Followed, known: Known, store: Store, progress: Progress
) -> tuple[dict[str, Entry], list[str]]:
    """The tensors of the result, stored; and what is to be told of them."""

    def renamed(kind: str) -> list[Pointer]:
        return [*map(with_names, known(kind), found.renamed)]

    versions = Versions(found.base, found.sides, (), renamed)
    wanted: dict[str, Entry] = {}
    notes = []
    with store.batch() as batch:
        for outcome in outcomes:
            if isinstance(outcome, Taken) and outcome.entry is not None:
                wanted[outcome.name] = _at_home(outcome.entry, versions, store, batch)
            elif isinstance(outcome, Mixed):
                entry, strange = _mix(outcome, versions, store, batch, progress)
                wanted[outcome.name] = entry
                if strange:
                    name, how = escape(outcome.name), outcome.choice.strategy
                    notes.append(f"tensor {name}: {how} gave NaN or infinity {strange} times")
    return wanted, notes


def _at_home(entry: Entry, versions: Versions, store: Store, batch: Batch) -> Entry:
    """The tensor; packed, where its form is that of another file than the first side's."""
    first, *others = versions.sides
    if not isinstance(entry, Stored) or not entry.form or first.by_name.get(entry.name) == entry:
        return entry
    homes = [*others, *([versions.base] if versions.base else [])]
    home = next(side for side in homes if side.by_name.get(entry.name) == entry)
    oid, length = batch.put(_packed(home, entry, store, unheard), dtype=entry.dtype)
    return replace(entry, oid=oid, length=length, form="")


def _mix(
    mixed: Mixed, versions: Versions, store: Store, batch: Batch, progress: Progress
) -> tuple[Stored, int]:
    """The tensor that a strategy gives, and how many computed values are not finite."""
    from git_nn.merge.arithmetic import Version, merge_tensor
    from git_nn.merge.arithmetic import Versions as Tensors

    def version(side: Pointer, entry: Stored) -> Version:
        return Version(entry.oid, lambda: _packed(side, entry, store, progress))

    base, first = versions.base, mixed.sides[0]
    strategy = table.by_name(mixed.choice.strategy)
    try:
        statistics = of_tensors(versions.known, mixed.sides, strategy, store)
    except MergeError as error:
        raise MergeError(f"{escape(mixed.name)}: {error.message}") from error
    origin = version(base, mixed.base) if base and mixed.base else None
    sides = tuple(version(*pair) for pair in zip(versions.sides, mixed.sides, strict=True))
    strange = 0

    def pieces() -> Iterator[bytes]:
        nonlocal strange
        tensor = Tensors(first.dtype, first.shape, origin, sides, statistics)
        for data, count in merge_tensor(mixed.choice, tensor):
            strange += count
            yield data

    near = mixed.base or first
    oid, length = batch.put(pieces(), dtype=first.dtype, base=near.oid)
    return replace(first, name=mixed.name, oid=oid, length=length, form=""), strange


def _packed(side: Pointer, entry: Stored, store: Store, progress: Progress) -> Iterator[Buffer]:
    if entry.form:
        data = open_pointer(side, store).read(entry.name)
        if data is None:
            raise MergeError(f"{escape(entry.name)}: the form {entry.form} cannot be decoded")
        pieces: Iterator[Buffer] = iter([data])
    else:
        pieces = iter(store.read(entry.oid))
    for piece in pieces:
        progress(len(piece))
        yield piece
