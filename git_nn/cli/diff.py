"""``git nn diff``: what changed in the models, between commits, index, work tree or files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from git_nn import changed_files
from git_nn.changed_files import ChangedFile, Version
from git_nn.cli.words import are_files, split
from git_nn.compare import compare
from git_nn.diff import as_json
from git_nn.diff.arrange import Form, Sort, View
from git_nn.diff.render import stat, text
from git_nn.diff.result import ModelDiff
from git_nn.diff.style import Style
from git_nn.drivers import diff_view
from git_nn.drivers.open import open_repository, store_of
from git_nn.drivers.side import Sides, opened_file, reading
from git_nn.drivers.terminal import quoted, write
from git_nn.errors import GitNNError, UsageError
from git_nn.gitio.objects import open_reader
from git_nn.gitio.repository import Repository
from git_nn.model import Model


class _Separated(click.Command):
    """Keeps what stands after ``--`` apart, which click does not."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            cut = args.index("--")
            args, ctx.meta["paths"] = args[:cut], args[cut + 1 :]
        return super().parse_args(ctx, args)


@dataclass(frozen=True, slots=True)
class _Shown:
    """A file that differs: the comparison, or what is to be said in its place."""

    path: str
    diff: ModelDiff | None
    message: str = ""
    status: int = 0


@click.command("diff", cls=_Separated)
@click.argument("words", nargs=-1, metavar="[A [B]] [-- PATH…]")
@click.option("--cached", "--staged", is_flag=True, help="Compare with the index.")
@click.option("--no-index", is_flag=True, help="Compare two files anywhere.")
@click.option("--stat", "short", is_flag=True, help="Totals, and a bar for each layer.")
@click.option("--all", "everything", is_flag=True, help="Every tensor that changed, no groups.")
@click.option("--tree", is_flag=True, help="Below the modules that hold them.")
@click.option("--sort", type=click.Choice([*map(str, Sort)]), help="What comes first.")
@click.option("--top", type=click.IntRange(min=1), metavar="N", help="The first N rows.")
@click.option("--pattern", "patterns", multiple=True, metavar="GLOB", help="Tensors so named.")
@click.option("--json", "machine", is_flag=True, help="Print JSON (schema 'git-nn diff 1').")
@click.option("--exit-code", is_flag=True, help="Exit with 1 where something differs.")
@click.pass_context
def command(ctx: click.Context, /, words: tuple[str, ...], **options: Any) -> int:
    """Show what changed in the models, tensor by tensor.

    \b
    git nn diff                 index and work tree
    git nn diff --cached        HEAD and index
    git nn diff A               A and work tree
    git nn diff A B             two revisions; also A..B and A...B
    git nn diff OLD.h5 NEW.h5   two files

    Only tensors that differ are read. Exit codes: 0 shown; 1 with --exit-code, where
    something differs; 2 usage; 128 git failed.
    """
    names = ctx.meta.get("paths")
    repo, found = _compared(words, names, cached=options["cached"], plain=options["no_index"])
    shown = list(found)
    if options["machine"]:
        click.echo(json.dumps(_document(shown), indent=2))
    else:
        style, view = diff_view.style(repo), _view(repo, options)
        write("".join(_as_text(item, style, view, short=options["short"]) for item in shown))
    failed = max((item.status for item in shown), default=0)
    return failed or int(options["exit_code"] and bool(shown))


def _document(shown: list[_Shown]) -> dict[str, Any]:
    files = [as_json.file(item.diff, item.path) for item in shown if item.diff]
    problems = [{"path": item.path, "message": item.message} for item in shown if item.diff is None]
    return as_json.document(files, problems)


def _view(repo: Repository | None, options: dict[str, Any]) -> View:
    """What the command line asks for, else the settings."""
    view = diff_view.view(repo)
    return View(
        Form.ALL if options["everything"] else view.form,
        Sort(options["sort"] or view.sort),
        options["top"] or (None if options["everything"] else view.top),
        options["patterns"],
        tree=options["tree"] or (view.tree and not options["everything"]),
    )


def _as_text(item: _Shown, style: Style, view: View, *, short: bool) -> str:
    label = quoted(os.fsencode(item.path))
    if item.diff is None:
        return f"{label}   {item.message}\n"
    return stat(item.diff, label, style) if short else text(item.diff, label, style, view)


def _compared(
    words: tuple[str, ...], names: list[str] | None, *, cached: bool, plain: bool
) -> tuple[Repository | None, Iterator[_Shown]]:
    """The files that differ, each compared when it is asked for."""
    if plain:
        return None, _two_files(None, (*words, *(names or ())))
    repo = _repository(words)
    if repo is None or (names is None and not cached and are_files(repo, words)):
        return repo, _two_files(repo, words)
    a, b, paths = split(repo, words, names)
    if cached and b is not None:
        raise UsageError("--cached compares the index with one revision")
    changes = changed_files.between(repo, a, b, cached=cached, paths=paths)
    return repo, _in_repository(repo, changes, frozenset(paths))


def _repository(words: tuple[str, ...]) -> Repository | None:
    try:
        return open_repository()
    except UsageError:
        if len(words) == 2 and all(Path(word).is_file() for word in words):
            return None
        raise


def _two_files(repo: Repository | None, words: tuple[str, ...]) -> Iterator[_Shown]:
    if len(words) != 2:
        raise UsageError("--no-index compares two files", hint="git nn diff --no-index OLD NEW")
    store = None if repo is None else store_of(repo)
    with ExitStack() as stack:
        old, new = (stack.enter_context(opened_file(Path(word), store)) for word in words)
        diff = compare(old, new, reading=stack.enter_context(reading(repo)))
    if not diff.is_empty:
        yield _Shown(" → ".join(words), diff)


def _in_repository(
    repo: Repository, changes: list[ChangedFile], named: frozenset[bytes]
) -> Iterator[_Shown]:
    """Every change of a model; a file that is none only where it was named itself."""
    with open_reader(repo) as reader:
        sides = Sides(repo, reader, store_of(repo))
        wanted = sides.tracked([change.path for change in changes]) | named
        for change in changes:
            blobs = [side.blob for side in (change.old, change.new) if side]
            if change.path in wanted or any(map(sides.is_pointer, blobs)):
                yield from _changed(sides, change)


def _changed(sides: Sides, change: ChangedFile) -> Iterator[_Shown]:
    path = os.fsdecode(change.path)
    if change.unmerged:
        yield _Shown(path, None, "is unmerged (to settle it: git nn resolve)")
        return
    try:
        diff = _compare_sides(sides, change)
    except GitNNError as error:
        yield _Shown(path, None, f"cannot be compared: {error}", error.exit_code)
        return
    if not diff.is_empty:
        yield _Shown(path, diff)


def _compare_sides(sides: Sides, change: ChangedFile) -> ModelDiff:
    def opened(version: Version | None, stack: ExitStack) -> Model | None:
        if version is None:
            return None
        if version.blob:
            return sides.of_blob(version.blob)
        return stack.enter_context(sides.in_work_tree(change.path))

    with ExitStack() as stack:
        old, new = opened(change.old, stack), opened(change.new, stack)
        return compare(old, new, reading=stack.enter_context(reading(sides.repo)))
