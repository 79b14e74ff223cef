"""combine: three versions of a model -> the merged one, tensor by tensor.

``merge.decide`` says what becomes of each tensor; here that is done with the store.

1. A tensor that one side changed is taken by its content id: nothing is read or copied.
2. Where both changed it and a strategy is chosen, the tensors are read, computed a block
   at a time, and stored before a pointer names the result.
3. A conflict leaves our tensor in a model that is whole. Where no file can hold the result
   the file as a whole is a conflict and ours stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from git_nn import recipes
from git_nn.assemble import Decoder, Sides, Wanted, assemble, seat
from git_nn.errors import MergeError
from git_nn.gitio.attributes import lookup
from git_nn.gitio.config import load
from git_nn.gitio.repository import Repository
from git_nn.merge import keys, state, tokens
from git_nn.merge.decide import Combine, Conflict, Decision, Weave, decide, outcome, resized_view
from git_nn.merge.follow import Followed, follow, refuse, with_names
from git_nn.merge.groups import together
from git_nn.merge.keys import preference
from git_nn.merge.report import SHOWN, told
from git_nn.merge.rows import WHOLE, ladder
from git_nn.merge.rules import ATTRIBUTE, Choice, Rules, averaged, rules
from git_nn.merge.strategies import table as strategies
from git_nn.model import open_pointer
from git_nn.objects.names import escape
from git_nn.objects.pointer import Pointer, Stored, Window
from git_nn.recast import recast
from git_nn.reorder import held, rungs
from git_nn.statistics import is_statistics, of_tensors
from git_nn.store.base import Batch, Buffer, Store

Progress = Callable[[int], object]


def unheard(_: int) -> None:
    """Nobody waits to hear of progress."""


@dataclass(frozen=True, slots=True)
class Merged:
    """A merge as data. ``pointer`` is of a whole model, with ours where there is a conflict.

    ``whole`` says why the file as a whole is a conflict; then ``pointer`` is ours.
    """

    pointer: Pointer
    decisions: tuple[Decision, ...] = ()
    whole: str = ""
    notes: tuple[str, ...] = ()

    @property
    def conflicts(self) -> tuple[Conflict, ...]:
        return tuple(d for d in self.decisions if isinstance(d, Conflict))

    @property
    def is_clean(self) -> bool:
        return not self.whole and not self.conflicts


def rules_for(repo: Repository, path: bytes, override: str | None) -> Rules:
    """What the person chose for ``path``; ``override`` is the value of GIT_NN_MERGE."""
    attribute = lookup(repo, [path], [ATTRIBUTE])[path].get(ATTRIBUTE)
    name = path.decode("utf-8", "surrogateescape")
    recipe = () if override else recipes.load(repo).for_path(name)
    settings = load(repo).section("nn.merge")
    found = ruled(rules(attribute, settings, override, escape(name), recipe), settings)
    return averaged(found) if is_statistics(path) else found


def ruled(found: Rules, settings: Mapping[str, str]) -> Rules:
    """``found`` with all that ``settings`` say beside strategies (``origins`` records them)."""
    return replace(found, skeleton=preference(settings.get(keys.SETTING)), ladder=ladder(settings))


def merge(
    sides: Sides, chosen: Rules, store: Store, scratch: Path, progress: Progress = unheard
) -> Merged:
    """Merge ``sides``; ``scratch`` is a folder with room for whole files.

    ``progress`` is told of bytes of tensors that were read.
    """
    made = merge_tensors(sides, chosen, store, progress)
    if isinstance(made, Merged):
        return made
    try:
        pointer, notes = assemble(sides, made.wanted, store, scratch, chosen.skeleton)
    except MergeError as error:
        return Merged(sides.ours, made.decisions, whole=error.message)
    return Merged(pointer, made.decisions, notes=(*made.notes, *notes))


def merge_tensors(
    sides: Sides, chosen: Rules, store: Store, progress: Progress = unheard
) -> Merged | Made:
    """All but the file around them; the merge itself where one side is taken whole."""
    planned = plan(sides, chosen, store)
    if isinstance(planned, Merged):
        return planned
    names = named(sides)
    if chosen.ladder is not WHOLE:
        planned = recast(planned, names, store, progress)
    made = carry_out(planned, names, store, progress)
    notes = (*followed(sides).notes, *made.notes, *told(made.decisions))
    return replace(made, decisions=held(made.decisions, sides.rows), notes=notes)


def plan(sides: Sides, chosen: Rules, store: Store) -> Merged | tuple[Decision, ...]:
    """What is to be done with each tensor; the merge itself where one side is taken whole.

    Nothing is written, and no tensor is read but those in a form of their container. The
    tensors of the decisions are those of ``named``.
    """
    ours, theirs, base = sides.ours, sides.theirs, sides.base
    if theirs in (ours, base):
        return Merged(ours)
    if ours == base:
        return Merged(theirs)
    if why := _incomparable(sides):
        return _whole(sides, chosen.default, why)
    found = followed(sides)
    base, ours, theirs = found.base, found.ours, found.theirs
    decoder = Decoder(store)
    ladder = rungs(chosen.ladder, sides.rows)
    decisions = decide(base, ours, theirs, chosen.choose, decoder, ladder=ladder)
    return in_company(decisions, sides, chosen)


def in_company(decisions: Sequence[Decision], sides: Sides, chosen: Rules) -> tuple[Decision, ...]:
    """The decisions after a look at what the tensors are and which belong together."""
    found = followed(sides)
    decisions = state.settled(refuse(decisions, found, chosen.choose), chosen)
    return together(decisions, (found.base, found.ours, found.theirs), chosen.choose)


def followed(sides: Sides) -> Followed:
    """The three versions with one set of names, and rows in one order, and what there is to tell
    about that."""
    found, rows = follow(sides.base, sides.ours, sides.theirs), sides.rows
    if rows is None:
        return found
    notes = (*found.notes, *tokens.told(rows.placement))
    return replace(found, base=rows.base, ours=rows.ours, theirs=rows.theirs, notes=notes)


def named(sides: Sides) -> Sides:
    """The same versions, their tensors under the names that the result has: what one side renamed
    has the new name everywhere. For looking at single tensors only, not at the container."""
    found = followed(sides)

    def known(kind: str) -> list[Pointer]:
        return [*map(with_names, sides.known(kind), found.renamed)]

    return replace(sides, base=found.base, ours=found.ours, theirs=found.theirs, known=known)


def _incomparable(sides: Sides) -> str:
    """Why these cannot be merged tensor by tensor; empty where they can."""
    ours, theirs = sides.ours, sides.theirs
    if ours.format != theirs.format:
        return f"ours is a {ours.format} file and theirs a {theirs.format} file"
    if not ours.entries and not theirs.entries:
        return "both sides changed it, and git-nn sees no tensors in it"
    return ""


def _whole(sides: Sides, default: Choice | None, why: str) -> Merged:
    side = strategies.by_name(default.strategy).side if default else None
    if side is None:
        return Merged(sides.ours, whole=why)
    return Merged(sides.of(side) or sides.ours, notes=(f"{why}; {side} is taken whole",))


def virtual(sides: Sides, merged: Merged, store: Store) -> Pointer:
    """The merge of two merge bases: what is unsettled has the value that both started from."""
    fallback = sides.base or sides.ours
    if merged.is_clean or sides.base is None:
        return merged.pointer
    wanted = dict(merged.pointer.by_name)
    for conflict in merged.conflicts:
        wanted.pop(conflict.name, None)
        if conflict.base is not None:
            wanted[conflict.name] = conflict.base
    found = None if merged.whole else seat(sides, wanted, store, merged.pointer)
    return found or fallback


# --- computing --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Made:
    """Decisions after computing, the tensors of the result, and what is worth telling."""

    decisions: tuple[Decision, ...]
    wanted: Wanted
    notes: tuple[str, ...]


def carry_out(
    decisions: Sequence[Decision], sides: Sides, store: Store, progress: Progress = unheard
) -> Made:
    """Weave and compute what is to be; what cannot be, as its stored form cannot be decoded or
    its rows do not allow it, becomes what is decided otherwise."""
    done = list(decisions)
    made: dict[str, Stored] = {}
    notes: list[str] = []
    if any(isinstance(decision, Combine | Weave) for decision in decisions):
        with store.batch() as batch:
            for i, decision in enumerate(decisions):
                done[i], new, note = _made(decision, sides, store, batch, progress)
                made |= {decision.name: new} if new is not None else {}
                notes += [note] if note else []
    done = [_followed(decision, made) for decision in done]
    kept = {d.name: entry for d in done if (entry := outcome(d)) is not None}
    return Made(tuple(done), kept | made, (*_woven(done), *notes))


def _made(
    decision: Decision, sides: Sides, store: Store, batch: Batch, progress: Progress
) -> tuple[Decision, Stored | None, str]:
    """The decision, the tensor where it was made anew, and what to tell."""
    if isinstance(decision, Weave):
        from git_nn.weave import weave

        decision, woven = weave(decision, sides, store, batch, progress)
        if isinstance(decision, Weave):
            return decision, woven, ""
    if not isinstance(decision, Combine):
        return decision, None, ""
    found, entry, strange = _combine(decision, sides, store, batch, progress)
    return found, entry, _warning(decision, strange) if strange else ""


def _woven(decisions: Iterable[Decision]) -> list[str]:
    """What to tell of the tensors that were woven: each is a line, but not hundreds of them."""
    notes = [decision.note for decision in decisions if isinstance(decision, Weave)]
    rest = len(notes) - SHOWN
    return [*notes[:SHOWN], f"... and {rest} more by rows"] if rest > 0 else notes


def _followed(decision: Decision, made: Mapping[str, Stored]) -> Decision:
    """A view goes with its payload, where that got another number of rows from one side."""
    if isinstance(decision, Conflict) and isinstance(decision.ours, Window):
        return (decision.ours.of in made and resized_view(decision)) or decision
    return decision


def _warning(decision: Combine, strange: int) -> str:
    name, strategy = escape(decision.name), decision.choice.strategy
    return f"tensor {name}: {strategy} gave NaN or infinity for {strange} of its values"


def _combine(
    decision: Combine, sides: Sides, store: Store, batch: Batch, progress: Progress
) -> tuple[Decision, Stored, int]:
    """The decision, the tensor that it gives, and how many computed values are not finite."""
    from git_nn.merge.arithmetic import Version, Versions, merge_tensor

    name, base, ours, theirs = decision.name, decision.base, decision.ours, decision.theirs
    if base is not None and strategies.by_name(decision.choice.strategy).copies_base:
        return decision, base, 0
    versions = [(sides.ours, ours), (sides.theirs, theirs)]
    if base is not None and sides.base is not None:
        versions.append((sides.base, base))
    reads = [_packed(side, entry, store, progress) for side, entry in versions]
    readable = [
        Version(entry.oid, read)
        for (_, entry), read in zip(versions, reads, strict=True)
        if read is not None
    ]
    if len(readable) < len(reads):
        return _refused(decision, sides, f"the form {ours.form} cannot be decoded"), ours, 0
    try:
        strategy = strategies.by_name(decision.choice.strategy)
        statistics = of_tensors(sides.known, (ours, theirs), strategy, store)
    except MergeError as error:
        return _refused(decision, sides, error.message), ours, 0
    strange = 0
    a, b, *o = readable

    def merged() -> Iterator[bytes]:
        nonlocal strange
        origin = o[0] if o else None
        tensor = Versions(ours.dtype, ours.shape, origin, (a, b), statistics)
        for data, count in merge_tensor(decision.choice, tensor):
            strange += count
            yield data

    near = o[0] if o else a  # what a strategy trims or thins stays as in the base
    oid, length = batch.put(merged(), dtype=ours.dtype, base=near.oid)
    return decision, Stored(name, ours.dtype, ours.shape, oid, length), strange


def _refused(decision: Combine, sides: Sides, why: str) -> Conflict:
    base = sides.base.by_name.get(decision.name) if sides.base else None
    told = f"changed on both sides; {why}"
    return Conflict(decision.name, base, decision.ours, decision.theirs, told)


def _packed(
    side: Pointer, entry: Stored, store: Store, progress: Progress
) -> Callable[[], Iterable[Buffer]] | None:
    """Reads the packed array in pieces; None where the stored form cannot be decoded."""
    if not entry.form:
        return lambda: _counted(store.read(entry.oid), progress)
    data = open_pointer(side, store).read(entry.name)
    return None if data is None else lambda: _counted([data], progress)


def _counted(pieces: Iterable[Buffer], progress: Progress) -> Iterator[Buffer]:
    for piece in pieces:
        yield piece
        progress(len(piece))
