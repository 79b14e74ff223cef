"""``git nn merge --preview``: what a merge would do, before anything happens (docs/merge.md)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import inf

import click

from git_nn.adopt import lacks
from git_nn.drivers.diff_view import style
from git_nn.drivers.open import store_of
from git_nn.drivers.process import keep_freed_buffers
from git_nn.drivers.progress import Meter, metered
from git_nn.drivers.terminal import write
from git_nn.gitio.objects import open_reader
from git_nn.gitio.repository import Repository
from git_nn.merge.rules import VARIABLE
from git_nn.objects.pointer import Pointer
from git_nn.preview.as_json import document
from git_nn.preview.dry import DryStore
from git_nn.preview.foresee import Where, foresee
from git_nn.preview.measure import ENOUGH, measure, work
from git_nn.preview.text import text
from git_nn.store.local import LocalStore
from git_nn.transfer.obtain import obtain

CLEAN, CONFLICTS = 0, 1


def show(
    repo: Repository,
    branch: str,
    *,
    as_json: bool,
    exact: bool = False,
    override: str | None = None,
) -> int:
    """Print what 'git merge branch' would do; 1 where it would leave conflicts, else 0.

    ``override`` is what GIT_NN_MERGE would be for the merge; without it that counts.
    """
    enough = inf if exact else ENOUGH
    keep_freed_buffers()
    with open_reader(repo) as reader:
        store, chosen = store_of(repo), override or os.environ.get(VARIABLE)
        with _told("Comparing rows", 0) as advance:
            where = Where(repo, DryStore(store), reader, chosen, advance)
            foreseen = foresee(where, branch)
            if _fetched(repo, store, foreseen.needs):
                foreseen = foresee(where, branch)
        with _told("Trying strategies", work(foreseen, enough)) as advance:
            found = measure(foreseen, advance, enough)
    if as_json:
        click.echo(json.dumps(document(found), indent=2))
    else:
        write(text(found, style(repo)))
    return CLEAN if found.is_clean else CONFLICTS


def _fetched(repo: Repository, store: LocalStore, needed: Sequence[Pointer]) -> bool:
    """Bring what is not here; whether anything came."""
    missing = [oid for pointer in needed for oid in lacks(store, pointer)]
    with metered("Fetching weights") as begin:
        for failure in obtain(repo, store, needed, begin):
            click.echo(f"git-nn: {failure}", err=True)
    return len(store.missing(missing)) < len(set(missing))


@contextmanager
def _told(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """What takes time tells of bytes that are done."""
    meter = Meter(title, total)
    try:
        yield meter.advance
    finally:
        meter.clear()
