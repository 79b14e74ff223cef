"""``git nn ls``: the tensors of one file, tracked or not, in any version."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from git_nn.cli.summary import summary
from git_nn.cli.words import from_top, in_revision
from git_nn.drivers.open import open_repository, store_of
from git_nn.drivers.progress import human
from git_nn.drivers.side import Sides, opened_file
from git_nn.drivers.terminal import quoted, write
from git_nn.errors import GitNNError, UsageError
from git_nn.gitio.objects import open_batch
from git_nn.gitio.repository import Repository
from git_nn.model import FileModel, Model
from git_nn.objects.names import escape
from git_nn.objects.pointer import Entry, Window
from git_nn.objects.tensor import format_shape

_REV = re.compile(r":[0-3]:|[^:]*:")


@click.command("ls")
@click.argument("what", metavar="FILE | [REV:]PATH")
@click.option("--json", "machine", is_flag=True, help="Print one JSON document.")
def command(what: str, *, machine: bool) -> None:
    """List the tensors of a file: name, dtype, shape, bytes and content id.

    FILE may be any file, in a repository or not. REV:PATH is a version in Git and :PATH
    the one in the index, from the top, or from here with ./PATH. Where no format could read
    the file, it says why. Exit codes: 0 listed, 2 no such file, 6 a broken pointer.
    """
    with opened(what) as model:
        if machine:
            click.echo(json.dumps(_as_json(what, model), indent=2))
        else:
            write(_as_text(what, model))


@contextmanager
def opened(what: str) -> Iterator[Model]:
    repo = _repository()
    if Path(what).is_file():
        with opened_file(Path(what), None if repo is None else store_of(repo)) as model:
            yield model
        return
    if repo is None:
        raise UsageError(f"there is no file {what}")
    with open_batch(repo) as reader:
        info = reader.info(_spec(repo, what))
        if info is None or info[1] != "blob":
            raise UsageError(
                f"{what!r} is neither a file here nor one in Git", hint="try 'git nn ls-files'"
            )
        yield Sides(repo, reader, store_of(repo)).of_blob(info[0])


def _spec(repo: Repository, what: str) -> str:
    """What Git is asked for, at the top; a path without a revision is looked up in the index."""
    rev = _REV.match(what)
    if rev is None:
        return f":{os.fsdecode(from_top(repo, what))}"
    return rev[0] + os.fsdecode(in_revision(repo, what[rev.end() :]))


def _repository() -> Repository | None:
    try:
        return open_repository()
    except UsageError:
        return None


def _as_text(what: str, model: Model) -> str:
    lines = [f"{quoted(os.fsencode(what))}   {summary(model.pointer)}"]
    lines += (f"  {note}" for note in _notes(model))
    rows = [_row(entry) for entry in model.pointer.entries]
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(4)]
    for name, dtype, shape, size, content in rows:
        lines.append(
            f"{name:{widths[0]}}  {dtype:{widths[1]}}  {shape:{widths[2]}}"
            f"  {size:>{widths[3]}}  {content}"
        )
    return "".join(f"{line}\n" for line in lines)


def _row(entry: Entry) -> tuple[str, str, str, str, str]:
    head = escape(entry.name), entry.dtype, format_shape(entry.shape)
    if isinstance(entry, Window):
        return *head, "", f"view of {escape(entry.of)}"
    form = f"  {entry.form}" if entry.form else ""
    return *head, human(entry.length), f"{entry.oid.hex()[:12]}{form}"


def _notes(model: Model) -> tuple[str, ...]:
    """Why a file is opaque: known only where the file itself is here."""
    if isinstance(model, FileModel):
        return model.layout.notes
    if model.pointer.format != "opaque":
        return ()
    return ("stored as opaque bytes; to see why: git nn ls FILE, in the work tree",)


def _as_json(what: str, model: Model) -> dict[str, Any]:
    pointer = model.pointer
    return {
        "version": 1,
        "path": what,
        "format": pointer.format,
        "format_version": pointer.format_version,
        "notes": list(_notes(model)),
        "structure": _structure(model),
        "tensors": [_tensor(entry) for entry in pointer.entries],
    }


def _structure(model: Model) -> dict[str, Any] | None:
    """None where it is not here: the list of tensors does not depend on it."""
    try:
        return model.structure()
    except GitNNError:
        return None


def _tensor(entry: Entry) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": escape(entry.name),
        "dtype": entry.dtype,
        "shape": list(entry.shape),
    }
    if isinstance(entry, Window):
        view = {"of": escape(entry.of), "offset": entry.offset, "strides": list(entry.strides)}
        return {**found, "view": view}
    return {**found, "bytes": entry.length, "oid": str(entry.oid), "form": entry.form}
