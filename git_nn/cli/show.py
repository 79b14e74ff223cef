"""``git nn show``: the models of one commit, in short, and what it changed in them."""

from __future__ import annotations

import os
from dataclasses import dataclass

import click

from git_nn.cli.past import date
from git_nn.cli.summary import summary
from git_nn.cli.words import in_revision
from git_nn.compare import compare
from git_nn.differences.render import totals
from git_nn.differences.structure import describe
from git_nn.drivers.open import open_repository, store_of
from git_nn.drivers.side import Sides
from git_nn.drivers.terminal import quoted, write
from git_nn.errors import GitNNError, UsageError
from git_nn.gitio import revisions
from git_nn.gitio.follow import Past
from git_nn.gitio.objects import open_reader
from git_nn.gitio.repository import Repository
from git_nn.model import Model

_STRUCTURE = 40  # lines


@click.command("show")
@click.argument("what", default="HEAD", metavar="[REV[:PATH]]")
def command(what: str) -> None:
    """Show the models of a commit: totals, structure, and what changed from its parent.

    No tensor is read; for numbers: git nn diff REV^ REV; for the last commit of each tensor:
    git nn blame REV -- PATH. PATH is taken from the top, or
    from here when it is written ./PATH. Exit codes: 0 shown, 2 no such commit or file.
    """
    repo = open_repository()
    rev, _, path = what.partition(":")
    commit = revisions.resolve(repo, f"{rev or 'HEAD'}^{{commit}}")
    if commit is None:
        there = os.path.lexists(what)
        hint = f"git nn show HEAD:./{what}" if there else "git log --oneline"
        raise UsageError(f"{rev!r} is not a commit", hint=f"try '{hint}'")
    entries = revisions.tree(repo, commit, [in_revision(repo, path)] if path else [])
    if path and not entries:
        hint = f"try '{rev}:./{path}'" if os.path.lexists(path) else ""
        raise UsageError(f"there is no {path} in {rev or 'HEAD'}", hint=hint)
    with open_reader(repo) as reader:
        sides = Sides(repo, reader, store_of(repo))
        parent = _parent(repo, commit)
        shown = [entry for entry in entries if path or sides.is_pointer(entry.oid)]
        last = _Last(Past(repo, reader), commit)
        reports = [_report(sides, entry, parent.get(entry.path, ""), last) for entry in shown]
    write("\n".join(reports) or f"no models in {rev or 'HEAD'}\n")


@dataclass(frozen=True, slots=True)
class _Last:
    """Where to look for the commit that last changed a file."""

    past: Past
    commit: str

    def of(self, path: bytes) -> str:
        step = self.past.last_change(self.commit, path)
        if step is None:
            return ""
        found = step.commit
        return f"; last changed {date(found)} in {found.id[:10]} {found.subject}"


def _parent(repo: Repository, commit: str) -> dict[bytes, str]:
    """The blobs of the first parent by path; none where there is no parent."""
    parent = revisions.resolve(repo, f"{commit}^1")
    return {e.path: e.oid for e in revisions.tree(repo, parent)} if parent else {}


def _report(sides: Sides, entry: revisions.Entry, before: str, last: _Last) -> str:
    label = quoted(entry.path)
    try:
        model = sides.of_blob(entry.oid)
        change = _change(sides, before, entry.oid, model)
        if before == entry.oid:
            change += last.of(entry.path)
    except GitNNError as error:
        return f"{label}   cannot be read: {error}\n"
    lines = [f"{label}   {summary(model.pointer)}", f"  from the parent: {change}"]
    lines += (f"  {line}" for line in _structure(model))
    return "".join(f"{line}\n" for line in lines)


def _change(sides: Sides, before: str, after: str, model: Model) -> str:
    if not before:
        return "new file"
    if before == after:
        return "no change"
    return totals(compare(sides.of_blob(before), model, numbers=False))


def _structure(model: Model) -> list[str]:
    try:
        lines = describe(model.structure())
    except GitNNError as error:
        return [f"structure cannot be read: {error.message}"]
    rest = len(lines) - _STRUCTURE
    return [*lines[:_STRUCTURE], f"... and {rest} more lines"] if rest > 0 else lines
