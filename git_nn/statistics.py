"""statistics: what was measured of a model, versioned beside it, for strategies that need it.

Beside ``models/m.safetensors`` (or ``m.h5`` ...) stand ``models/m.fisher.safetensors``, the
diagonal Fisher information of each tensor under the tensor's name and in its shape, and
``models/m.gram.safetensors``, the Gram matrix X'X of the inputs of a linear layer under the
name of its weight. They are those of the model in the same commit; nothing checks that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from git_nn.container import Known
from git_nn.earlier import pointer_at
from git_nn.errors import MergeError
from git_nn.gitio.objects import open_batch
from git_nn.gitio.repository import Repository
from git_nn.gitio.whence import Place, places, tips
from git_nn.merge.strategies import table
from git_nn.objects.names import escape
from git_nn.objects.pointer import Pointer, Stored
from git_nn.store.base import Store
from git_nn.store.local import LocalStore
from git_nn.transfer.obtain import obtain

if TYPE_CHECKING:
    from git_nn.merge.arithmetic import Statistic

_REAL = frozenset({"f64", "f32", "f16", "bf16"})
_KINDS = ("fisher", "gram")


def beside(path: bytes, kind: str) -> str:
    """The file with the statistics of the model at ``path``, from the top of the tree."""
    model = PurePosixPath(path.decode("utf-8", "surrogateescape"))
    return str(model.with_name(f"{model.stem}.{kind}.safetensors"))


def is_statistics(path: bytes) -> bool:
    """Whether a file is no model but what was measured of one."""
    return any(path.endswith(f".{kind}.safetensors".encode()) for kind in _KINDS)


# --- files ------------------------------------------------------------------------------


def of_places(repo: Repository, store: LocalStore | None, sides: Sequence[Place]) -> Known:
    """The statistics of each side's model, a side being where it has the model.

    What ``store`` lacks of them is fetched, as that of models is; without a store it is not.
    """

    def known(kind: str) -> Iterator[Pointer]:
        for side in sides:
            yield _the_one(repo, store, _there(repo, [side], kind), [side], kind)

    return _once(known)


def of_blobs(
    repo: Repository,
    store: LocalStore,
    path: bytes,
    blobs: Callable[[], Sequence[str]],
    likely: Mapping[str, str],
) -> Known:
    """The same of a model that Git merges to ``path``: ``blobs`` are Git's names of it on each
    side, and ``likely`` commits that these may be from, with their names. Where the file is not
    in a side's commit, branches count that have that very model: it may have been measured later.
    But not in a merge of two, which can be made again only from what its parents have.
    Nothing is looked up before it is asked for."""
    is_merge = bool(likely) or (repo.git_dir / "MERGE_HEAD").exists()

    def known(kind: str) -> Iterator[Pointer]:
        for who, blob in zip(("ours", "theirs"), blobs(), strict=True):
            side = places(repo, blob, path, likely)
            if not side:
                file = escape(beside(path, kind))
                raise MergeError(f"Git has no commit that {who} is from, to look for {file}")
            there = _there(repo, side, kind)
            if not there and not is_merge:
                there = _there(repo, tips(repo, blob, path), kind)
            yield _the_one(repo, store, there, side, kind)

    return _once(known)


def _once(work: Callable[[str], Iterator[Pointer]]) -> Known:
    """The same, looked up once, also where it is missing: every tensor asks."""

    @cache
    def tried(kind: str) -> Sequence[Pointer] | MergeError:
        try:
            return tuple(work(kind))
        except MergeError as error:
            return error

    def known(kind: str) -> Sequence[Pointer]:
        found = tried(kind)
        if isinstance(found, MergeError):
            raise found
        return found

    return known


def _there(repo: Repository, side: Sequence[Place], kind: str) -> set[Pointer]:
    """What the places have."""
    specs = [f"{place.commit}:{beside(place.path, kind)}" for place in side]
    with open_batch(repo) as reader:
        return {pointer for spec in specs if (pointer := pointer_at(reader, spec)) is not None}


def _the_one(
    repo: Repository,
    store: LocalStore | None,
    there: set[Pointer],
    side: Sequence[Place],
    kind: str,
) -> Pointer:
    """What was found for a side; MergeError that names the file where that is none, or several."""
    file = escape(beside(side[0].path, kind))
    if len(there) != 1:
        what = f"more than one {file}" if there else f"no {file}"
        hint = f"commit it there, tracked by git-nn (see docs/merge.md, {kind})"
        raise MergeError(f"{_named(side)} {what}, which this strategy needs", hint=hint)
    (pointer,) = there
    if store is not None:
        obtain(repo, store, [pointer])
    return pointer


def _named(side: Sequence[Place]) -> str:
    if len(side) == 1:
        return f"{side[0].name} has"
    return f"{', '.join(place.name for place in side[:3])}, which have this model, have"


# --- tensors ----------------------------------------------------------------------------


def of_tensors(
    known: Known, tensors: Sequence[Stored], strategy: table.Strategy, store: Store
) -> tuple[Statistic, ...]:
    """What ``strategy`` needs to know of each side's tensor; nothing where it needs nothing, or
    a side has none and it can do without. MergeError where it cannot."""
    if not strategy.needs:
        return ()
    pairs = zip(known(strategy.needs), tensors, strict=True)
    found = [_of_tensor(pointer, tensor, strategy, store) for pointer, tensor in pairs]
    there = tuple(each for each in found if each is not None)
    return there if len(there) == len(found) else ()


def _of_tensor(
    pointer: Pointer, tensor: Stored, strategy: table.Strategy, store: Store
) -> Statistic | None:
    from git_nn.merge.arithmetic import Statistic

    entry = pointer.by_name.get(tensor.name)
    if entry is None and strategy.needs == "gram":
        return None
    if not isinstance(entry, Stored) or entry.form or entry.dtype not in _REAL:
        raise MergeError(f"there is no {strategy.needs} of it on every side")
    square = len(tensor.shape) == 2 and any(entry.shape == (n, n) for n in tensor.shape)
    fits = square if strategy.needs == "gram" else entry.shape == tensor.shape
    if not fits or tensor.dtype.removesuffix("be") not in _REAL:
        raise MergeError(f"its {strategy.needs} has another shape or dtype")
    return Statistic(entry.dtype, entry.shape, lambda: store.read(entry.oid))
