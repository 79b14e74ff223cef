"""foresee: what becomes of each file and tensor in a merge, from commits and pointers.

1. Nothing is written: no object, record, index entry or reference, and nothing is fetched
   into the store.
2. What becomes of a tensor is what ``combine`` says, run on a store that keeps nothing.
3. No tensor is read but those that a merge has to look at: in a form of their container, or
   perhaps of rows that different sides changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from git_nn import tokenizers
from git_nn.assemble import Sides, Wanted, seat
from git_nn.clean import clean
from git_nn.combine import Merged, merge_tensors, named, rules_for, unheard
from git_nn.container import choose
from git_nn.errors import MergeError, MissingObjectError, PointerError, UsageError
from git_nn.formats import table
from git_nn.formats.base import BytesSource
from git_nn.gitio import merging
from git_nn.gitio.attributes import lookup
from git_nn.gitio.merging import Meeting
from git_nn.gitio.objects import Reader
from git_nn.gitio.repository import Repository
from git_nn.gitio.revisions import Entry as GitEntry
from git_nn.gitio.whence import Place
from git_nn.merge.decide import Decision, Take, decide
from git_nn.merge.rows import WHOLE
from git_nn.merge.rules import Rules
from git_nn.model import StoredModel, open_pointer
from git_nn.objects import pointer as pointers
from git_nn.objects.pointer import Entry, Pointer, Stored
from git_nn.objects.tensor import nbytes
from git_nn.preview.dry import NOBODY, DryStore
from git_nn.preview.result import Becomes, File, Preview, Tensor
from git_nn.statistics import of_places
from git_nn.store.base import Store
from git_nn.weave import Progress

NOT_HERE = "some values are not here and could not be fetched"
_HEAD = 4096


@dataclass(frozen=True, slots=True)
class Where:
    """What to merge in; ``override`` is the value of GIT_NN_MERGE.

    ``advance`` is told of bytes of tensors that were read. ``tips`` are the commits of base, ours
    and theirs, each with its name.
    """

    repo: Repository
    store: DryStore
    reader: Reader
    override: str | None = None
    advance: Progress = unheard
    tips: tuple[tuple[str, str], ...] = ()


def foresee(where: Where, branch: str) -> Preview:
    """What ``git merge branch`` would do now; UsageError where that is no commit."""
    repo, reader = where.repo, where.reader
    ours, theirs = merging.commit(repo, "HEAD"), merging.commit(repo, branch)
    bases = merging.merge_bases(repo, ours, theirs)
    empty = Preview(branch, ours, theirs, bases, ())
    if empty.kind == "up-to-date":
        return empty
    start = bases[0] if bases else ""
    where = replace(where, tips=((start, "the base"), (ours, "HEAD"), (theirs, branch)))
    met = merging.meetings(repo, bases[0] if bases else None, ours, theirs)
    attributes = lookup(repo, [meeting.path for meeting in met], ["filter", "merge"])
    files = [
        _file(where, meeting, attributes[meeting.path])
        for meeting in met
        if attributes[meeting.path].get("filter") == "nn" or _has_pointer(reader, meeting)
    ]
    return replace(empty, files=tuple(files))


def _has_pointer(reader: Reader, meeting: Meeting) -> bool:
    for entry in (meeting.ours, meeting.theirs):
        info = None if entry is None else reader.info(entry.oid)
        if info is not None and info[1] == "blob" and info[2] <= pointers.MAX_SIZE:
            return pointers.looks_like_pointer((reader.read(info[0]) or b"")[:_HEAD])
    return False


# --- a file -----------------------------------------------------------------------------


def _file(where: Where, meeting: Meeting, attributes: Mapping[str, str]) -> File:
    versions = (meeting.base, meeting.ours, meeting.theirs)
    base, ours, theirs = (b"" if entry is None else entry.path for entry in versions)
    file = File(meeting.path, (base, ours, theirs), _whole(meeting), meeting.clash)
    try:
        opened = [_model(where, entry) for entry in versions]
    except PointerError as error:
        told = f"one version cannot be read ({error.message})"
        return _conflict(file, told) if meeting.is_shared else replace(file, notes=(told,))
    file = replace(file, models=(opened[0], opened[1], opened[2]))
    if meeting.clash:
        return file
    if not meeting.is_shared:
        return _with_tensors(file, None)
    if attributes.get("merge") != "nn":
        told = "its attribute merge is not nn, so Git merges it in a way of its own"
        file = replace(file, notes=(told,))
    return _merged(where, file)


def _whole(meeting: Meeting) -> Becomes:
    """What becomes of a file that Git settles without a driver."""
    base, ours, theirs = meeting.base, meeting.ours, meeting.theirs
    if meeting.clash:
        return "conflict"
    if ours is None or theirs is None:
        removed: Becomes = "theirs" if ours is None else "ours"
        return removed if base is None else "removed"
    if (ours.mode, ours.oid) == (theirs.mode, theirs.oid):
        return "both"
    is_ours = base is None or (ours.mode, ours.oid) != (base.mode, base.oid)
    return "ours" if is_ours else "theirs"


def _conflict(file: File, why: str) -> File:
    return replace(file, becomes="conflict", why=why)


def _model(where: Where, entry: GitEntry | None) -> StoredModel | None:
    """A version of a file; None where there is none, it is no plain file, or it is empty."""
    if entry is None or not entry.mode.startswith("100"):
        return None
    data = where.reader.read(entry.oid)
    if data is None:
        raise UsageError(f"Git has no object {entry.oid}", hint="run 'git fsck'")
    if not data:
        return None
    is_pointer = pointers.looks_like_pointer(data[:_HEAD])
    pointer = pointers.parse(data) if is_pointer else _cleaned(data, where.store)
    return open_pointer(pointer, where.store)


def _cleaned(data: bytes, store: DryStore) -> Pointer:
    """The pointer of weights that are in Git as they are."""
    pointer = clean(BytesSource(data), store.raw).pointer
    if not pointer.entries:
        raise PointerError("it is neither a git-nn pointer nor a weight file")
    return pointer


# --- its tensors ------------------------------------------------------------------------


def _merged(where: Where, file: File) -> File:
    """A file that the merge driver gets."""
    sides = _sides(file, where)
    if sides is None:
        empty = "ours" if file.models[1] is None else "theirs"
        return _conflict(file, f"{empty} is an empty file")
    try:
        rules = rules_for(where.repo, file.path, where.override)
    except UsageError as error:
        return _conflict(file, error.message)
    try:
        return _planned(where, file, sides, rules)
    except MissingObjectError:
        file = _noted(file, NOT_HERE)
    try:
        return _planned(where, file, sides, replace(rules, ladder=WHOLE))
    except MissingObjectError:  # of tensors that only their container can tell apart
        names = named(sides)
        decisions = decide(names.base, names.ours, names.theirs, rules.choose)
        return _with_tensors(replace(file, becomes="merged"), decisions)


def _planned(where: Where, file: File, sides: Sides, rules: Rules) -> File:
    made = merge_tensors(sides, rules, where.store, where.advance)
    if not isinstance(made, Merged):
        file = _with_tensors(replace(file, becomes="merged"), made.decisions, sides)
        return _seated(_noted(file, *made.notes), sides, made.wanted, rules, where.store)
    if made.whole:
        return _conflict(file, made.whole)
    becomes: Becomes = "ours" if made.pointer == sides.ours else "theirs"
    return _with_tensors(_noted(replace(file, becomes=becomes), *made.notes), None)


def _noted(file: File, *notes: str) -> File:
    return replace(file, notes=tuple(dict.fromkeys((*file.notes, *notes))))


def _sides(file: File, where: Where | None = None) -> Sides | None:
    """The three versions; with what stands beside them where that may be asked for."""
    base, ours, theirs = file.models
    if ours is None or theirs is None:
        return None
    found = Sides(base.pointer if base else None, ours.pointer, theirs.pointer)
    if where is None:
        return found
    places = [Place(*tip, path) for tip, path in zip(where.tips, file.paths, strict=True)]
    found = replace(found, known=of_places(where.repo, None, places[1:]))
    tokens = tokenizers.of_places(where.repo, file.path, places)
    return tokenizers.matched(where.repo, found, tokens, where.store, where.store.raw)


def _with_tensors(
    file: File, decisions: Sequence[Decision] | None, sides: Sides | None = None
) -> File:
    """The tensors that a side changed; without ``decisions`` by what each side has.

    What a side renamed has the names of the result on every side, in ``models`` too, and rows that
    were matched are in one order.
    """
    sides = sides or _sides(file)
    if sides is None:
        return file
    sides = named(sides)
    if decisions is None:
        decisions = decide(sides.base, sides.ours, sides.theirs)
    changed = [d for d in decisions if not (isinstance(d, Take) and d.source == "unchanged")]
    base = sides.base.by_name if sides.base else {}
    ours, theirs = sides.ours.by_name, sides.theirs.by_name
    tensors = [Tensor(d, base.get(d.name), ours.get(d.name), theirs.get(d.name)) for d in changed]
    pointers = (sides.base, sides.ours, sides.theirs)
    before, mine, other = (
        replace(model, pointer=pointer) if model and pointer else None
        for model, pointer in zip(file.models, pointers, strict=True)
    )
    same = len(decisions) - len(changed)
    return replace(file, tensors=tuple(tensors), same=same, models=(before, mine, other))


def _seated(file: File, sides: Sides, wanted: Wanted, rules: Rules, store: Store) -> File:
    """Whose container the result has, and whether there is a file that holds it."""
    sized = {name: _sized(entry) for name, entry in wanted.items()}
    try:
        chosen = choose(sides, store, rules.skeleton)
        found = seat(sides, sized, store, None, None if chosen.keyed else chosen.owner)
    except MissingObjectError:
        return _noted(file, NOT_HERE)
    except MergeError as error:
        return _conflict(file, error.message)
    if chosen.keyed or found is not None:
        return _noted(file, *chosen.notes(found if found and not chosen.keyed else sides.ours))
    fits = "the merged tensors fit neither side's file"
    module = table.by_name(sides.ours.format)
    if not hasattr(module, "compose") and not hasattr(module, "arrange"):
        return _conflict(file, f"{fits}, and git-nn cannot write new {sides.ours.format} files")
    return _noted(file, *chosen.notes(chosen.owner), f"{fits}, so a new one is written")


def _sized(entry: Entry) -> Entry:
    """A tensor that was not computed has the length that it would have."""
    if isinstance(entry, Stored) and entry.oid == NOBODY:
        return replace(entry, length=nbytes(entry.dtype, entry.shape))
    return entry
