"""supply: work on weights that may not be on this machine yet.

A merge takes most tensors by their ids and reads few. So nothing is fetched before something is
missed: then what both sides changed, and all of the versions only where that was not enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from git_nn.assemble import Sides
from git_nn.combine import Merged, Progress, merge, named, unheard
from git_nn.errors import GitNNError, MissingObjectError
from git_nn.gitio.repository import Repository
from git_nn.merge.rows import WHOLE
from git_nn.merge.rules import Rules
from git_nn.objects.pointer import Pointer
from git_nn.remote.base import Begin, no_meter
from git_nn.store.local import LocalStore
from git_nn.transfer.obtain import obtain

Result = TypeVar("Result")

NOT_HERE = "rows were not compared: some weights are not on this machine"


@dataclass(frozen=True, slots=True)
class Watch:
    """Who hears of bytes of tensors that were read, and of transfers (see ``obtain``)."""

    progress: Progress = unheard
    begin: Begin = no_meter


UNSEEN = Watch()


def merge_in(
    repo: Repository,
    store: LocalStore,
    sides: Sides,
    chosen: Rules,
    watch: Watch = UNSEEN,
) -> Merged:
    """Merge in ``repo``, whose store may have to fetch first.

    Where weights cannot be had no rows are compared; MissingObjectError where a strategy needs
    them.
    """

    def work(chosen: Rules) -> Merged:
        return merge(sides, chosen, store, repo.nn_dir / "tmp", watch.progress)

    try:
        return supplied(repo, store, needs(sides), lambda: work(chosen), watch.begin)
    except MissingObjectError as missing:
        try:
            merged = work(replace(chosen, ladder=WHOLE))
        except MissingObjectError:
            raise missing from None
        return replace(merged, notes=(*merged.notes, NOT_HERE))


def supplied(
    repo: Repository,
    store: LocalStore,
    needed: Iterator[Sequence[Pointer]],
    work: Callable[[], Result],
    begin: Begin = no_meter,
) -> Result:
    """Do ``work``, and again after fetching what is ``needed``, step by step, while it misses
    something; MissingObjectError, which says what went wrong with remotes, where it still does.
    """
    failures: list[GitNNError] = []
    while True:
        try:
            return work()
        except MissingObjectError as error:
            pointers = next(needed, None)
            if pointers is None:
                raise _explained(error, failures) from None
        failures = obtain(repo, store, pointers, begin)


def needs(sides: Sides) -> Iterator[Sequence[Pointer]]:
    """What a merge of ``sides`` may read: the tensors that both changed; if need be, everything."""
    alike = named(sides)
    versions = [side for side in (alike.base, alike.ours, alike.theirs) if side is not None]
    contested = set(_contested(alike))
    yield [
        replace(version, entries=tuple(e for e in version.entries if e.name in contested))
        for version in versions
    ]
    yield versions


def _contested(sides: Sides) -> Iterator[str]:
    base = sides.base.by_name if sides.base else {}
    theirs = sides.theirs.by_name
    for name, ours in sides.ours.by_name.items():
        if name in theirs and theirs[name] not in (ours, base.get(name)) and base.get(name) != ours:
            yield name


def _explained(error: MissingObjectError, failures: Sequence[GitNNError]) -> MissingObjectError:
    if not failures:
        return error
    why, hint = failures[0].message, failures[0].hint or error.hint
    return MissingObjectError(error.oid_hex, what=error.what, why=why, hint=hint)
