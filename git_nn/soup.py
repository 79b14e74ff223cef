"""soup: merge many branches with one strategy, in one step, from the base of all.

1. Models are merged tensor by tensor (``mixing``). Everything else is merged by git, one
   branch after the other. Where either conflicts nothing is done, and the reason is told.
2. Nothing is touched until the tree of the result is written; weights before pointers,
   pointers before the tree.
3. The sides are the branches and HEAD; HEAD is none where it is an ancestor of all others,
   for then it is where they started and not one more fine-tune.
4. A model that a side renamed has the new name, as git finds renames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from git_nn import __version__, origins
from git_nn.earlier import pointer_at
from git_nn.errors import MergeError, UsageError
from git_nn.gitio import octopus
from git_nn.gitio.merging import Changes, changes
from git_nn.gitio.merging import commit as commit_of
from git_nn.gitio.objects import Reader, open_batch
from git_nn.gitio.octopus import Placed, common_base
from git_nn.gitio.repository import Repository
from git_nn.gitio.revisions import Entry
from git_nn.gitio.whence import Place
from git_nn.merge import trailers
from git_nn.merge.rules import Rules
from git_nn.merge.trailers import Line, Plan
from git_nn.mixing import Mixture, Versions, mix, refused
from git_nn.objects.names import escape
from git_nn.objects.pointer import render
from git_nn.statistics import of_places
from git_nn.store.local import LocalStore
from git_nn.supply import UNSEEN, Watch, supplied

RulesFor = Callable[[bytes], Rules]

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Pot:
    """What is to be merged: commits, and for each side the name that a person gave it."""

    base: str
    sides: dict[str, str]
    parents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """A model that several branches changed, how it was merged, and by which rules."""

    path: bytes
    mixture: Mixture
    rules: Rules


@dataclass(frozen=True, slots=True)
class Soup:
    """A tree that holds the merge, and its models that several branches changed."""

    tree: str
    models: tuple[Model, ...]


@dataclass(frozen=True, slots=True)
class _Met:
    """A file in the base and on every side, each under its path there; None where it is not."""

    base: Entry | None
    sides: tuple[Entry | None, ...]

    @property
    def there(self) -> list[Entry]:
        return [entry for entry in (self.base, *self.sides) if entry is not None]


@dataclass(frozen=True, slots=True)
class _Kitchen:
    """What it takes to merge a model."""

    repo: Repository
    store: LocalStore
    reader: Reader
    pot: Pot
    rules_for: RulesFor
    watch: Watch


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


def pot_again(repo: Repository, parents: Sequence[str], numbers: Sequence[int]) -> Pot:
    """That of a commit with these parents, of which those with the ``numbers`` were the sides."""
    chosen = [parents[number - 1] for number in numbers if 0 < number <= len(parents)]
    if len(chosen) < len(numbers) or len(set(chosen)) < 2:
        raise UsageError(f"the trailer {trailers.SIDES} does not fit the commit's parents")
    return Pot(common_base(repo, parents), {side: side[:12] for side in chosen}, tuple(parents))


def cook(
    repo: Repository,
    store: LocalStore,
    pot: Pot,
    rules_for: RulesFor,
    watch: Watch = UNSEEN,
) -> Soup:
    """The merge; MergeError, and nothing written that a ref names, where it conflicts."""
    files: list[Placed] = []
    models: list[Model] = []
    with open_batch(repo) as reader:
        kitchen = _Kitchen(repo, store, reader, pot, rules_for, watch)
        for met in _met(repo, pot):
            if any(pointer_at(reader, entry.oid) for entry in met.there):
                file, model = _model(kitchen, met)
                files += [Placed(path) for path in {e.path for e in met.there} - {file.path}]
                files.append(file)
                models += [model] if model else []
    _check(files)
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


def _met(repo: Repository, pot: Pot) -> Iterator[_Met]:
    """Every file that a side changed, by its path in the base, then what was added."""
    sides = [changes(repo, pot.base, side) for side in pot.sides]
    for path in sorted({path for side in sides for path in side.base}):
        base = next(side.base[path] for side in sides if path in side.base)
        yield _Met(base, tuple(side.now.get(path, base) for side in sides))
    for path in sorted({path for side in sides for path in side.added}):
        yield _Met(None, tuple(_added(side, path) for side in sides))


def _added(side: Changes, path: bytes) -> Entry | None:
    return side.added.get(path)


def _check(files: Sequence[Placed]) -> None:
    """Raise MergeError where two models would stand in one place after a rename."""
    seen: set[bytes] = set()
    for file in files:
        if file.oid and file.path in seen:
            raise _named(file.path, refused(["two files would stand here after a rename"]))
        seen |= {file.path} if file.oid else set()


# --- models -----------------------------------------------------------------------------


def _model(kitchen: _Kitchen, met: _Met) -> tuple[Placed, Model | None]:
    """The merged file, and what was done where several sides changed it."""
    # What some sides added, the others do not have.
    sides = [side for side in met.sides if met.base is not None or side is not None]
    changed = [*dict.fromkeys(side for side in sides if side != met.base)]
    if len(changed) == 1:
        new, old = changed[0], met.there[0]
        return (Placed(new.path, new.mode, new.oid) if new else Placed(old.path)), None
    path = _place(met)
    try:
        versions = _versions(kitchen, met)
        rules = kitchen.rules_for(path)
        scratch, progress = kitchen.repo.nn_dir / "tmp", kitchen.watch.progress
        work = partial(mix, versions, rules, kitchen.store, scratch, progress)
        held = [versions.base] if versions.base else []
        needed = iter([[*versions.sides, *held]])
        mixture = supplied(kitchen.repo, kitchen.store, needed, work, kitchen.watch.begin)
    except MergeError as error:
        raise _named(path, error) from error
    text = render(mixture.pointer)
    oid = kitchen.repo.git("hash-object", "-w", "--stdin", "--no-filters", stdin=text)
    file = Placed(path, _mode(met), oid.decode().strip())
    return file, Model(path, mixture, rules)


def _place(met: _Met) -> bytes:
    """Where the result stands: under the new name, where sides renamed it alike."""
    first = met.there[0].path
    new = list(dict.fromkeys(entry.path for entry in met.there if entry.path != first))
    if len(new) > 1:
        shown = " and ".join(escape(path.decode("utf-8", "surrogateescape")) for path in new)
        raise _named(first, refused([f"it was renamed to {shown}"]))
    return new[0] if new else first


def _mode(met: _Met) -> str:
    modes = [entry.mode for entry in met.there]
    return next((mode for mode in modes if met.base and mode != met.base.mode), modes[0])


def _versions(kitchen: _Kitchen, met: _Met) -> Versions:
    """The pointers; MergeError where a side has none of a model that others changed."""
    found, places = [], []
    for (commit, name), entry in zip(kitchen.pot.sides.items(), met.sides, strict=True):
        if entry is None and met.base is None:
            continue
        pointer = pointer_at(kitchen.reader, entry.oid) if entry else None
        if entry is None or pointer is None:
            raise refused(["some branches changed it, others removed or replaced it"])
        found.append(pointer)
        places.append(Place(commit, name, entry.path))
    base = pointer_at(kitchen.reader, met.base.oid) if met.base else None
    known = of_places(kitchen.repo, kitchen.store, places)
    return Versions(base, tuple(found), tuple(place.name for place in places), known)


def _named(path: bytes, error: MergeError) -> MergeError:
    name = escape(path.decode("utf-8", "surrogateescape"))
    return MergeError(
        f"{name} cannot be merged: {error.message}; nothing was changed",
        hint="choose another strategy, or merge one branch after the other: git nn merge BRANCH",
    )


# --- the commit -------------------------------------------------------------------------


def message(repo: Repository, pot: Pot, soup: Soup, words: str = "") -> str:
    """``words``, else which branches these are; and how each model was merged, as trailers."""
    *names, last = (f"'{name}'" for name in pot.sides.values())
    text = words or f"Merge branches {', '.join(names)} and {last} in one"
    told = {
        model.path.decode("utf-8", "surrogateescape"): _lines(model)
        for model in soup.models
        if model.mixture.asked
    }
    if not told:
        return f"{text}\n"
    sides = tuple(pot.parents.index(side) + 1 for side in pot.sides)
    plan = Plan(trailers.grouped(told), origins.settings(repo), __version__, sides)
    return "\n".join([text, "", *trailers.write(plan), ""])


def _lines(model: Model) -> tuple[Line, ...]:
    """The rules that were asked for a tensor, in their order, after the one for all."""
    rules = model.rules
    deciding = {rules.deciding(name) for name in model.mixture.asked}
    found = [Line("NN-Merge", "", str(rules.default))] if None in deciding else []
    patterns = enumerate(rules.patterns)
    return (*found, *(
        Line("NN-Merge", "", str(choice), (glob,))
        for number, (glob, choice) in patterns if number in deciding
    ))  # fmt: skip
