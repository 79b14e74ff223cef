"""``git nn whereis``: which places have the weights of a model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click

from git_nn.cli.words import from_top, in_revision
from git_nn.drivers.open import open_repository, store_of
from git_nn.drivers.terminal import quoted
from git_nn.errors import MissingObjectError, RemoteError, UsageError
from git_nn.gitio import revisions
from git_nn.gitio.objects import open_reader
from git_nn.gitio.repository import Repository
from git_nn.objects import pointer as pointers
from git_nn.objects.names import escape
from git_nn.objects.oid import Oid
from git_nn.objects.pointer import Pointer, looks_like_pointer
from git_nn.store.local import LocalStore
from git_nn.transfer.whereis import Place, objects_of, whereis


@click.command("whereis")
@click.argument("path")
@click.argument("rev", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(path: str, rev: str | None, *, as_json: bool) -> int:
    """Say which places have the weights of PATH, a model or a folder, in the index or in REV.

    Asks this clone, the stores that it borrows from, and every remote. Exit codes: 0 each tensor
    is somewhere, 3 one is nowhere, 8 a remote does not answer.
    """
    repo = open_repository()
    store = store_of(repo)
    models = _models(repo, path, rev)
    places = whereis(repo, store, list(models.values()))
    if as_json:
        files = [_as_json(store, name, model, places) for name, model in models.items()]
        click.echo(json.dumps({"version": 1, "files": files}, indent=2))
    else:
        for name, model in models.items():
            click.echo("\n".join([quoted(name), *_lines(store, model, places)]))
    for place in places:
        if place.failure is not None:
            click.echo(f"git-nn: {place.failure}", err=True)
    if any(place.failure is not None for place in places):
        return RemoteError.exit_code
    nowhere = frozenset.intersection(*(place.missing for place in places))
    return MissingObjectError.exit_code if nowhere else 0


def _models(repo: Repository, path: str, rev: str | None) -> Mapping[bytes, Pointer]:
    """The models at a path, by theirs; UsageError where there are none."""
    if rev is None:
        entries = revisions.index(repo, [from_top(repo, path)])
    elif commit := revisions.resolve(repo, rev):
        entries = revisions.tree(repo, commit, [in_revision(repo, path)])
    else:
        raise UsageError(f"{rev!r} is no revision", hint="run 'git log'")
    found = {}
    with open_reader(repo) as reader:
        for entry in entries:
            info = reader.info(entry.oid) if entry.mode.startswith("100") else None
            if info is None or info[2] > pointers.MAX_SIZE:
                continue
            text = reader.read(entry.oid) or b""
            if looks_like_pointer(text[:4096]):
                found[entry.path] = pointers.parse(text)
    if not found:
        raise UsageError(f"there is no model at {path}", hint="run 'git nn ls-files'")
    return found


def _lines(store: LocalStore, model: Pointer, places: Sequence[Place]) -> list[str]:
    width = max(len(place.name) for place in places)
    return [f"  {place.name:{width}}  {_amount(store, model, place)}" for place in places]


def _amount(store: LocalStore, model: Pointer, place: Place) -> str:
    if place.failure is not None:
        return "does not answer"
    total = len(model.stored)
    held = total - len(_missing(model, place))
    text = f"all {total} tensors" if held == total else f"{held} of {total} tensors"
    others = set(objects_of(store, model)) - {entry.oid for entry in model.stored.values()}
    rest = "; lacks bytes between the tensors" if others & place.missing else ""
    return f"{text}{rest}   {place.label}"


def _missing(model: Pointer, place: Place) -> list[str]:
    return [name for name, entry in model.stored.items() if entry.oid in place.missing]


def _as_json(
    store: LocalStore, path: bytes, model: Pointer, places: Sequence[Place]
) -> dict[str, Any]:
    wanted: set[Oid] = set(objects_of(store, model))
    return {
        "path": path.decode("utf-8", "backslashreplace"),
        "tensors": len(model.stored),
        "places": [
            {
                "kind": place.kind,
                "name": place.name,
                "address": place.label,
                "error": place.failure.message if place.failure else None,
                "missing_tensors": [escape(name) for name in _missing(model, place)],
                "missing_objects": sorted(oid.hex() for oid in wanted & place.missing),
            }
            for place in places
        ],
    }
