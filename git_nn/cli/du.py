"""``git nn du``: where the bytes go, per file, version and tensor."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import click

from git_nn.cli.amounts import count
from git_nn.cli.words import from_top
from git_nn.drivers.open import open_repository, store_of
from git_nn.drivers.progress import human
from git_nn.drivers.terminal import quoted, write
from git_nn.du import CONTAINER, FileUsage, TensorUsage, Usage, VersionUsage, usage

_SUBJECT = 50


@click.command("du")
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("--versions", is_flag=True, help="List the versions of each file, oldest first.")
@click.option("--tensors", is_flag=True, help="List the tensors of each file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(paths: tuple[str, ...], *, versions: bool, tensors: bool, as_json: bool) -> None:
    """Show the size of models and what they take in the store.

    'stored' is what the version in the index takes, 'shared' the part of it that other
    versions use, too, and 'in history' what all versions in branches and tags take.

    Exit code: 0.
    """
    repo = open_repository()
    names = [from_top(repo, path) for path in paths]
    found = usage(repo, store_of(repo), names, tensors=tensors)
    if as_json:
        click.echo(json.dumps(_as_json(found), indent=2))
        return
    lines = list(_files(found))
    for file in found.files:
        if versions:
            lines += ["", quoted(file.path), *_versions(file.versions)]
        if tensors:
            lines += ["", quoted(file.path), *_tensors(file.tensors)]
    write("".join(f"{line}\n" for line in (*lines, "", *_store(found))))


def _files(found: Usage) -> Iterator[str]:
    rows = [
        (
            quoted(file.path), human(file.size),
            "raw in Git" if file.in_git else human(file.stored.stored), human(file.shared),
            human(file.history.stored), str(len(file.versions)),
        )
        for file in found.files
    ]  # fmt: skip
    size = sum(file.size for file in found.files)
    total = ("total", human(size), human(found.current.stored), "", human(found.total.stored), "")
    head = ("path", "size", "stored", "shared", "in history", "versions")
    yield from _table([head, *rows, total])
    for file in found.files:
        if file.absent:
            yield f"{quoted(file.path)}: {count(file.absent, 'object')} not in this store"


def _versions(versions: Sequence[VersionUsage]) -> list[str]:
    rows = [
        (
            version.commit[:10] or "index", human(version.size), human(version.added.stored),
            human(version.added.by_compression), human(version.added.by_deltas),
        )
        for version in versions
    ]  # fmt: skip
    head = ("first in", "size", "added", "compression saved", "deltas saved")
    lines = _table([head, *rows])
    subjects = ["", *(quoted(version.subject[:_SUBJECT].encode()) for version in versions)]
    return [f"  {line}  {text}".rstrip() for line, text in zip(lines, subjects, strict=True)]


def _tensors(tensors: Sequence[TensorUsage]) -> list[str]:
    rows = [
        (
            "(container)" if tensor.name == CONTAINER else tensor.name, human(tensor.size),
            human(tensor.stored.stored), human(tensor.stored.by_deltas),
            human(tensor.history.stored), str(tensor.versions),
        )
        for tensor in tensors
    ]  # fmt: skip
    head = ("tensor", "size", "stored", "deltas saved", "in history", "versions")
    return [f"  {line}" for line in _table([head, *rows])]


def _store(found: Usage) -> Iterator[str]:
    total, store = found.total, found.store
    sharing = sum(file.by_sharing for file in found.files)
    yield (
        f"saved in history: {human(sharing)} by sharing, "
        f"{human(total.by_compression)} by compression, {human(total.by_deltas)} by deltas"
    )
    yield f"store: {count(store.packs, 'pack')}, {human(store.size)}; {human(store.needed)} needed"
    if store.unneeded:
        bound = "" if store.complete else "at most "
        yield f"{bound}{human(store.unneeded)} unneeded (to free them: 'git nn gc')"
    if store.copies:
        yield f"{human(store.copies)} in second copies ('git nn gc' drops them)"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """The first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join((row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:]))).rstrip()
        for row in rows
    ]


def _as_json(found: Usage) -> dict[str, Any]:
    return {
        "version": 1,
        "files": [_file(file) for file in found.files],
        "current": asdict(found.current),
        "total": asdict(found.total),
        "store": asdict(found.store),
    }


def _file(file: FileUsage) -> dict[str, Any]:
    return {**asdict(file), "path": os.fsdecode(file.path)}
