"""soup: merge many branches with one strategy, in one step, from the base of all.

1. Models are merged tensor by tensor (``merge.many``). Everything else is merged by git, one
   branch after the other. Where either conflicts nothing is done, and the reason is told.
2. Nothing is touched until the tree of the result is written; weights before pointers,
   pointers before the tree.
3. The sides are the branches and HEAD; HEAD is none where it is an ancestor of all others,
   for then it is where they started and not one more fine-tune.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from git_nn import __version__
from git_nn.adopt import adopt
from git_nn.assemble import Decoder, Sides, assemble
from git_nn.container import Known
from git_nn.earlier import pointer_at
from git_nn.errors import MergeError, MissingObjectError, UsageError
from git_nn.gitio import octopus, revisions
from git_nn.gitio.merging import commit as commit_of
from git_nn.gitio.objects import open_batch
from git_nn.gitio.octopus import Placed, common_base
from git_nn.gitio.repository import Repository
from git_nn.gitio.revisions import Entry as TreeEntry
from git_nn.gitio.whence import Place
from git_nn.merge import rows, trailers
from git_nn.merge.many import Clash, Mixed, Outcome, Taken, decide
from git_nn.merge.rules import Rules, parse
from git_nn.merge.strategies import table
from git_nn.merge.trailers import Line, Plan
from git_nn.model import open_pointer
from git_nn.objects.names import escape
from git_nn.objects.pointer import Entry, Pointer, Stored, render
from git_nn.statistics import is_statistics, of_places, of_tensors
from git_nn.store.base import Batch, Buffer, Store
from git_nn.store.local import LocalStore

RulesFor = Callable[[bytes], Rules]
How = tuple[Rules, Known]

AVERAGED = Rules(parse("mean", "statistics"))
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Pot:
    """What is to be merged: commits, and for each side the name that a person gave it."""

    base: str
    sides: dict[str, str]
    parents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """A model that several branches changed; ``outcomes`` say where its tensors are from."""

    path: bytes
    outcomes: tuple[Outcome, ...]
    notes: tuple[str, ...] = ()

    @property
    def mixed(self) -> tuple[Mixed, ...]:
        return tuple(outcome for outcome in self.outcomes if isinstance(outcome, Mixed))


@dataclass(frozen=True, slots=True)
class Soup:
    """A tree that holds the merge, and its models that several branches changed."""

    tree: str
    models: tuple[Model, ...]


def pot(repo: Repository, names: Sequence[str], *, with_head: bool) -> Pot:
    """The branches, with HEAD if asked; UsageError where they have no base or are too few."""
    named = {commit_of(repo, name): name for name in reversed(names)}
    order = [*(["HEAD"] if with_head else []), *names]
    parents = tuple(dict.fromkeys(commit_of(repo, name) for name in order))
    base = common_base(repo, parents)
    sides = {side: named.get(side, "HEAD") for side in parents if side in named or side != base}
    if len(sides) < 2:
        raise UsageError("a soup is of two branches or more", hint="run 'git merge' for one")
    return Pot(base, sides, parents)


def cook(repo: Repository, store: LocalStore, pot: Pot, rules_for: RulesFor) -> Soup:
    """The merge; MergeError, and nothing written that a ref names, where it conflicts."""
    files: list[Placed] = []
    models: list[Model] = []
    with open_batch(repo) as reader:
        for path, versions in _versions(repo, pot).items():
            pointers = [pointer_at(reader, v.oid) if v else None for v in versions]
            if any(pointers):
                rules = AVERAGED if is_statistics(path) else rules_for(path)
                known = of_places(repo, store, _having(pot, versions, path))
                file, model = _model(repo, store, path, versions, pointers, (rules, known))
                files.append(file)
                models += [model] if model else []
    rest = octopus.merged(repo, pot.base, [*pot.sides], [file.path for file in files])
    if isinstance(rest, octopus.Clash):
        name = [*pot.sides.values()][rest.side]
        raise MergeError(
            f"{', '.join(map(escape, rest.paths[:_SHOWN]))}: Git cannot merge what {name} and the "
            "branches before it changed; nothing was done",
            hint="merge one branch after the other: git merge BRANCH",
        )
    tree = octopus.placed(repo, rest, [file for file in files if file.oid])
    return Soup(tree, tuple(models))


def _versions(repo: Repository, pot: Pot) -> dict[bytes, list[TreeEntry | None]]:
    """What stands at each path that a side changed: in the base, then on every side."""
    changes = [{c.path: c for c in revisions.changed(repo, pot.base, side)} for side in pot.sides]
    found: dict[bytes, list[TreeEntry | None]] = {}
    for path in sorted({path for side in changes for path in side}):
        base = next(side[path].old for side in changes if path in side)
        found[path] = [base, *(side[path].new if path in side else base for side in changes)]
    return found


# --- models -----------------------------------------------------------------------------


def _model(  # noqa: PLR0913, PLR0917 - one path on several sides
    repo: Repository,
    store: LocalStore,
    path: bytes,
    versions: Sequence[TreeEntry | None],
    pointers: Sequence[Pointer | None],
    how: How,
) -> tuple[Placed, Model | None]:
    """The merged file, and what was done where several sides changed it."""
    origin, *sides = (Placed(path, v.mode, v.oid) if v else Placed(path) for v in versions)
    changed = [*dict.fromkeys(side for side in sides if side != origin)]
    if not origin.oid:  # what some added, the others do not have
        sides = [side for side in sides if side.oid]
    if len(changed) == 1:
        return changed[0], None
    base, *there = pointers
    models = [pointer for pointer in there if pointer is not None]
    if len(models) < len(sides):
        raise _refused(path, ["some branches changed it, others removed or replaced it"])

    def work() -> tuple[Pointer, Model]:
        return _merge(path, base, models, how, store, repo.nn_dir / "tmp")

    try:
        pointer, model = work()
    except MissingObjectError:
        adopt(repo, store, [*models, *([base] if base else [])])
        pointer, model = work()
    oid = repo.git("hash-object", "-w", "--stdin", "--no-filters", stdin=render(pointer))
    return Placed(path, changed[0].mode, oid.decode().strip()), model


def _merge(  # noqa: PLR0913, PLR0917 - see _model
    path: bytes,
    base: Pointer | None,
    sides: Sequence[Pointer],
    how: How,
    store: Store,
    scratch: Path,
) -> tuple[Pointer, Model]:
    if len({side.format for side in sides}) > 1:
        raise _refused(path, ["it has several formats"])
    rules, known = how
    outcomes = decide(base, sides, rules.choose, Decoder(store))
    clashes = [f"{escape(o.name)}: {o.why}" for o in outcomes if isinstance(o, Clash)]
    if clashes:
        raise _refused(path, clashes)
    pointer = sides[0]
    try:
        wanted, notes = _computed(outcomes, base, sides, known, store)
        for side in sides[1:]:
            pointer, told = assemble(
                Sides(base, pointer, side), wanted, store, scratch, rules.skeleton
            )
            notes += told
    except MergeError as error:
        raise _refused(path, [error.message]) from error
    return pointer, Model(path, outcomes, tuple(dict.fromkeys(notes)))


def _having(pot: Pot, versions: Sequence[TreeEntry | None], path: bytes) -> list[Place]:
    """The sides that have a file: a side never had what another one added."""
    origin, *there = versions
    pairs = zip(pot.sides.items(), there, strict=True)
    return [
        Place(commit, name, path)
        for (commit, name), version in pairs
        if version is not None or origin is not None
    ]


def _computed(
    outcomes: Sequence[Outcome],
    base: Pointer | None,
    sides: Sequence[Pointer],
    known: Known,
    store: Store,
) -> tuple[dict[str, Entry], list[str]]:
    """The tensors of the result, stored; and what is to be told of them."""
    wanted: dict[str, Entry] = {}
    notes = []
    with store.batch() as batch:
        for outcome in outcomes:
            if isinstance(outcome, Taken) and outcome.entry is not None:
                wanted[outcome.name] = outcome.entry
            elif isinstance(outcome, Mixed):
                wanted[outcome.name], strange = _mix(outcome, base, sides, known, store, batch)
                if strange:
                    name, how = escape(outcome.name), outcome.choice.strategy
                    notes.append(f"tensor {name}: {how} gave NaN or infinity {strange} times")
    return wanted, notes


def _mix(  # noqa: PLR0913, PLR0917 - see _model
    mixed: Mixed,
    base: Pointer | None,
    sides: Sequence[Pointer],
    known: Known,
    store: Store,
    batch: Batch,
) -> tuple[Stored, int]:
    """The tensor that a strategy gives, and how many computed values are not finite."""
    from git_nn.merge.arithmetic import Version, Versions, merge_tensor

    def version(side: Pointer, entry: Stored) -> Version:
        return Version(entry.oid, lambda: _packed(side, entry, store))

    first = mixed.sides[0]
    origin = version(base, mixed.base) if base and mixed.base else None
    versions = tuple(version(*pair) for pair in zip(sides, mixed.sides, strict=True))
    strategy = table.by_name(mixed.choice.strategy)
    try:
        statistics = of_tensors(known, mixed.sides, strategy, store)
    except MergeError as error:
        raise MergeError(f"tensor {escape(mixed.name)}: {error.message}") from error
    strange = 0

    def pieces() -> Iterator[bytes]:
        nonlocal strange
        tensor = Versions(first.dtype, first.shape, origin, versions, statistics)
        for data, count in merge_tensor(mixed.choice, tensor):
            strange += count
            yield data

    near = mixed.base or first
    oid, length = batch.put(pieces(), dtype=first.dtype, base=near.oid)
    return Stored(mixed.name, first.dtype, first.shape, oid, length), strange


def _packed(side: Pointer, entry: Stored, store: Store) -> Iterator[Buffer]:
    if not entry.form:
        yield from store.read(entry.oid)
        return
    data = open_pointer(side, store).read(entry.name)
    if data is None:
        raise MergeError(f"tensor {escape(entry.name)}: the form {entry.form} cannot be decoded")
    yield data


def _refused(path: bytes, reasons: Sequence[str]) -> MergeError:
    name = escape(path.decode("utf-8", "surrogateescape"))
    shown = "; ".join(reasons[:_SHOWN])
    more = f" and {len(reasons) - _SHOWN} more" if len(reasons) > _SHOWN else ""
    return MergeError(
        f"{name} cannot be merged: {shown}{more}; nothing was changed",
        hint="choose another strategy, or merge one branch after the other: git nn merge BRANCH",
    )


# --- the commit -------------------------------------------------------------------------


def message(pot: Pot, soup: Soup, words: str = "") -> str:
    """``words``, else which branches these are; and how each model was merged, as trailers."""
    *names, last = (f"'{name}'" for name in pot.sides.values())
    text = words or f"Merge branches {', '.join(names)} and {last} in one"
    told = {
        model.path.decode("utf-8", "surrogateescape"): _lines(model)
        for model in soup.models
        if model.mixed
    }
    if not told:
        return f"{text}\n"
    settings = {rows.SETTING: "tensor"}  # a soup takes no tensor apart
    plan = Plan(trailers.grouped(told), settings, __version__)
    return "\n".join([text, "", *trailers.write(plan), ""])


def _lines(model: Model) -> tuple[Line, ...]:
    """Which strategy which tensors got; without their names where there was only one."""
    names: dict[str, list[str]] = {}
    for outcome in model.mixed:
        names.setdefault(str(outcome.choice), []).append(outcome.name)
    if len(names) == 1:
        return tuple(Line("NN-Merge", "", how) for how in names)
    every = [outcome.name for outcome in model.outcomes]
    return tuple(
        Line("NN-Merge", "", how, trailers.patterns(some, set(every) - set(some)))
        for how, some in names.items()
    )
