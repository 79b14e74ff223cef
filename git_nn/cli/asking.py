"""``git nn resolve --interactive``: a question for each block of tensors in conflict.

1. Only where stdin is a terminal; what a driver runs in never is one of ours.
2. What was answered is written down when the questions end, however they end.
3. A block is what one layer has in conflict for one reason.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby

import click

from git_nn import resolve, settled
from git_nn.cli.open_files import show, unmergeable
from git_nn.cli.supplied import supplied
from git_nn.cli.words import from_here
from git_nn.differences.layers import layer_of
from git_nn.errors import DamagedObjectError, GitNNError, MissingObjectError, UsageError
from git_nn.gitio.repository import Repository
from git_nn.merge.decide import Conflict, Side
from git_nn.merge.overlap import Overlap, overlap
from git_nn.merge.report import lines, plural
from git_nn.merge.rules import Choice, parse
from git_nn.merge.ways import choice_of
from git_nn.model import open_pointer
from git_nn.objects.names import escape
from git_nn.objects.pointer import Pointer
from git_nn.resolve import Settled, Unmergeable, Unsettled
from git_nn.store.local import LocalStore

_HOW: dict[str, Side | Choice] = {
    "o": "ours", "t": "theirs", "b": "base", "m": choice_of("mean"),
}  # fmt: skip
_HELP = """\
  o  ours          t  theirs        b  base, before both
  m  mean of ours and theirs       s  another strategy, such as ties:density=0.5
  e  each tensor by itself         k  keep it open         q  keep the rest open, and end
  O T B M S K: the same for all that is left of the file"""


@dataclass(frozen=True, slots=True)
class _Place:
    repo: Repository
    store: LocalStore


@dataclass(frozen=True, slots=True)
class _Answer:
    """The key in lower case, how to settle where it says so, and whether it is for the rest too."""

    key: str
    how: Side | Choice | None = None
    is_for_all: bool = False


def ask(repo: Repository, store: LocalStore, files: Sequence[Unsettled | Unmergeable]) -> int:
    """Go through the files; 1 where something is still open. UsageError without a terminal."""
    if not sys.stdin.isatty():
        raise UsageError(
            "--interactive needs a terminal to ask in",
            hint="run 'git nn resolve --theirs [TENSOR-PATTERN]' or another of its options",
        )
    place = _Place(repo, store)
    others = [file for file in files if isinstance(file, Unmergeable)]
    for other in others:
        click.echo(unmergeable(repo, other))
    models = [file for file in files if isinstance(file, Unsettled)]
    ended = [_ask_file(place, model) for model in models]
    return 0 if all(ended) and not others else 1


def _ask_file(place: _Place, file: Unsettled) -> bool:
    """Whether the file is settled in the end; what was answered is kept in any case."""
    show(place.repo, file)
    now = file
    try:
        for after in _whole(place, file) if file.whole else _blocks(place, file):
            now = after
    finally:
        if now is not file or now.is_settled:
            _finish(place, now)
    return now.is_settled


def _finish(place: _Place, file: Unsettled) -> None:
    supplied(
        place.repo,
        place.store,
        file.sides,
        lambda: resolve.finish(place.repo, place.store, file),
    )
    rest = f"{len(file.open)} {plural(len(file.open))} still in conflict"
    name = from_here(place.repo, file.path)
    click.echo(f"{name}: {'settled and staged' if file.is_settled else rest}")


def _whole(place: _Place, file: Unsettled) -> Iterator[Unsettled]:
    answer = _ask("the whole file", "otb" if file.sides.base else "ot")
    if answer.how is not None:
        yield _settle(place, file, answer.how, ()).file


def _blocks(place: _Place, file: Unsettled) -> Iterator[Unsettled]:
    """The file after each answer that settled something of it."""
    by_layer = groupby(file.open, key=lambda conflict: (layer_of(conflict.name), conflict.why))
    left = [list(block) for _, block in by_layer]
    while left:
        block = left.pop(0)
        _tell(place.store, file, block)
        answer = _ask(_title(block), "otbmse" if len(block) > 1 else "otbms")
        if answer.key == "e":
            left[:0] = [[conflict] for conflict in block]
            continue
        if answer.is_for_all:
            block, left = [*block, *chain.from_iterable(left)], []
        if answer.how is not None:
            after = _try(place, file, answer.how, block)
            if after is None:
                left.insert(0, block)
            elif after is not file:
                file = after
                yield file


def _ask(title: str, keys: str) -> _Answer:
    """Ask until the answer makes sense; ``q`` ends everything."""
    while True:
        typed = click.prompt(f"{title} [{','.join(keys)},k,q,?]", prompt_suffix=" ")
        key = typed.lower()
        if key == "q":
            raise click.exceptions.Exit(1)
        if key not in {*keys, "k"}:
            click.echo(_HELP)
            continue
        how = _ask_strategy() if key == "s" else _HOW.get(key)
        if how is not None or key in "ek":
            return _Answer(key, how, is_for_all=typed != key)


def _ask_strategy() -> Choice | None:
    try:
        return parse(click.prompt("strategy", prompt_suffix=": "), "the answer")
    except UsageError as error:
        click.echo(str(error))
        return None


def _try(
    place: _Place, file: Unsettled, how: Side | Choice, block: list[Conflict]
) -> Unsettled | None:
    """The file with a block settled; None, with the reason told, where that makes no sense."""
    try:
        done = _settle(place, file, how, [conflict.name for conflict in block])
        settled.remember(place.repo, file, done.file, how)
    except GitNNError as error:
        click.echo(f"  {error}")
        return None
    for note in done.notes:
        click.echo(f"  {note}")
    refused = [conflict for conflict in done.file.open if conflict.name in done.refused]
    for line in lines(refused):
        click.echo(f"  still open: {line}")
    return file if len(refused) == len(block) else done.file


def _settle(place: _Place, file: Unsettled, how: Side | Choice, names: Sequence[str]) -> Settled:
    """Settle these tensors, or a file that conflicts as a whole."""
    scratch = place.repo.nn_dir / "tmp"
    return supplied(
        place.repo,
        place.store,
        file.sides,
        lambda: settled.settle_named(file, how, names, place.store, scratch),
    )


# --- what the sides did -----------------------------------------------------------------


def _title(block: list[Conflict]) -> str:
    if len(block) == 1:
        return escape(block[0].name)
    return f"{escape(layer_of(block[0].name))}, {len(block)} tensors"


def _tell(store: LocalStore, file: Unsettled, block: list[Conflict]) -> None:
    for conflict, line in zip(block, lines(block, len(block)), strict=True):
        found = _measured(store, file, conflict)
        click.echo(f"{line}{_numbers(found) if found else ''}")


def _numbers(found: Overlap) -> str:
    """How far each side moved, by the size of the base, and the angle between the two changes."""
    parts = [
        f"{side} moved {relative:.3g}"
        for side, relative in (("ours", found.ours_relative), ("theirs", found.theirs_relative))
        if relative is not None
    ]
    if found.cosine is not None:
        parts.append(f"cosine {found.cosine:+.2f}")
    return f"  ({', '.join(parts)})" if parts else ""


def _measured(store: LocalStore, file: Unsettled, conflict: Conflict) -> Overlap | None:
    """The changes of both sides, where the tensor can be compared element by element."""
    entries = (conflict.base, conflict.ours, conflict.theirs)
    specs = {(entry.dtype, entry.shape) if entry else None for entry in entries}
    sides: tuple[Pointer | None, ...] = (file.sides.base, file.sides.ours, file.sides.theirs)
    if len(specs) > 1 or None in specs:
        return None
    try:
        read = [open_pointer(side, store).blocks(conflict.name) for side in sides if side]
    except (MissingObjectError, DamagedObjectError):
        return None
    base, ours, theirs = (*read, None, None, None)[:3]
    return overlap(base, ours, theirs) if base and ours and theirs else None
