"""tokenizers: what the tokenizers beside a model say about a merge of its rows.

The tokenizer of a side is that of the commit in which the side's version of the model stands,
in the same folder. That of the result is known where Git's own merge of its text is: where only
one side changed the file, or ``git merge-file`` finds no conflict. While a person has it open,
``confirmed`` takes what the work tree has.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from git_nn.beside import LARGEST, Folder
from git_nn.combine import named
from git_nn.container import Rows, Sides
from git_nn.errors import MissingObjectError, UsageError
from git_nn.gitio.attributes import lookup
from git_nn.gitio.config import load
from git_nn.gitio.objects import Reader, open_batch
from git_nn.gitio.repository import Repository
from git_nn.gitio.revisions import resolve
from git_nn.gitio.whence import Place, places
from git_nn.merge.rows import Ladder, Rung, ladder
from git_nn.merge.tokens import FAMILIES, Placement, Tokens, has_all, quoted, read, union
from git_nn.reorder import reorder
from git_nn.store.base import Store
from git_nn.store.local import LocalStore
from git_nn.supply import needs, supplied

Blobs = Sequence[str | None]  # Git's names of base, ours and theirs
_NAMES = sorted({name for family in FAMILIES for name in family})
_AS_TEXT = {None: (), "set": (), "text": (), "union": ("--union",)}


def of_places(repo: Repository, path: bytes, sides: Sequence[Place]) -> Tokens:
    """Asks, once and when it is called, where the tokens of the model at ``path`` are.

    ``sides`` are where base, ours and theirs have it. None where not both changed the tokenizer,
    or a side has none that can be read.
    """
    return cache(lambda: _placement(repo, path, [[side] for side in sides]))


def of_blobs(
    repo: Repository, path: bytes, blobs: Callable[[], Blobs], likely: Mapping[str, str]
) -> Tokens:
    """The same of a model that Git merges to ``path``, by the names of its three versions.

    ``likely`` are commits that these may be from (see gitio.whence).
    """
    return cache(lambda: _placement(repo, path, _found(repo, path, blobs(), likely)))


def confirmed(repo: Repository, path: bytes, tokens: Tokens) -> Placement | None:
    """The placement by the tokenizer that is in the work tree; ``open`` where that cannot be."""
    known = tokens()
    if known is None or repo.work_tree is None:
        return known
    folder = Folder(repo.work_tree / path.decode("utf-8", "surrogateescape"))
    family = next(family for family in FAMILIES if family[0] == known.file)
    there = {name: source.read(0, source.size) for name in family if (source := folder.read(name))}
    result = read(there) if known.file in there else None
    if result is None:
        return replace(known, open=f"{known.file} cannot be read as a tokenizer")
    placement = replace(known, result=result, open="")
    if strangers := placement.strangers:
        why = f"{known.file} has {quoted(strangers[0])}, and no side has a row of it"
        return replace(known, open=why)
    return placement


def matched(repo: Repository, sides: Sides, tokens: Tokens, store: Store, into: Store) -> Sides:
    """``sides`` with rows in one order by ``tokens``, put ``into`` a store, where there is need;
    as they are where some weights cannot be had."""

    @cache
    def rungs() -> Ladder:
        return ladder(load(repo).section("nn.merge"))

    def rung(name: str) -> Rung:
        return rungs()(name)

    def work() -> Rows | None:
        return reorder(named(sides), tokens, rung, store, into)

    try:
        if isinstance(store, LocalStore):
            rows = supplied(repo, store, needs(sides), work)
        else:
            rows = work()
    except (MissingObjectError, UsageError):  # what makes no sense is told by who asks for rules
        return sides
    return sides if rows is None else replace(sides, rows=rows)


# --- where they stand -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Files:
    """One family of files on the three sides, by name; and the folder, from the top."""

    folder: bytes
    names: tuple[str, ...]
    sides: tuple[Mapping[str, bytes], Mapping[str, bytes], Mapping[str, bytes]]


def _found(
    repo: Repository, path: bytes, blobs: Blobs, likely: Mapping[str, str]
) -> list[list[Place]]:
    """Where base, ours and theirs are; the base likely where the histories of both part."""
    base, ours, theirs = blobs
    if base is None or ours is None or theirs is None:
        return []
    mine, other = places(repo, ours, path, likely), places(repo, theirs, path, likely)
    if not mine or not other:
        return []
    near = repo.git("merge-base", "--all", mine[0].commit, other[0].commit, check=False).decode()
    parent = resolve(repo, f"{other[0].commit}^")
    below = {commit: commit for commit in (*near.split(), parent) if commit is not None}
    return [places(repo, base, path, below), mine, other]


def _families(repo: Repository, path: bytes, sides: Sequence[Sequence[Place]]) -> _Files | None:
    """The best family that all three sides have, if both changed that."""
    with open_batch(repo) as reader:
        found = [_beside(reader, side) for side in sides]
        for names in FAMILIES:
            files = [{n: side[n] for n in names if n in side} for side in found if side]
            if len(files) < 3 or not all(names[0] in side for side in files):
                continue
            if files[0] in files[1:]:
                return None
            texts = [{n: reader.read(oid) or b"" for n, oid in side.items()} for side in files]
            return _Files(path.rpartition(b"/")[0], names, (texts[0], texts[1], texts[2]))
    return None


def _beside(reader: Reader, side: Sequence[Place]) -> dict[str, str] | None:
    """The tokenizer files beside a version of a model, as Git names their content; None where that
    is in several commits that do not have the same."""
    first: dict[str, str] | None = None
    for place in side:
        folder = place.path.rpartition(b"/")[0].decode("utf-8", "surrogateescape")
        start = f"{place.commit}:{folder}/" if folder else f"{place.commit}:"
        infos = {name: reader.info(f"{start}{name}") for name in _NAMES}
        files = {n: i[0] for n, i in infos.items() if i and i[1] == "blob" and i[2] <= LARGEST}
        if first is not None and first != files:
            return None
        first = files
    return first


# --- what they say ----------------------------------------------------------------------


def _placement(repo: Repository, path: bytes, sides: Sequence[Sequence[Place]]) -> Placement | None:
    files = _families(repo, path, sides)
    if files is None:
        return None
    base, ours, theirs = (read(side) for side in files.sides)
    if base is None or ours is None or theirs is None:
        return None
    wanted, result = union(base, ours, theirs), _result(repo, files)
    proposed = Placement(files.names[0], base, ours, theirs, wanted)
    if result is None:
        return replace(proposed, open=f"Git leaves {files.names[0]} in conflict")
    known = replace(proposed, result=result)
    if not has_all(result, wanted) or known.strangers:
        return replace(proposed, open=f"Git merges {files.names[0]} to what has other tokens")
    return known


def _result(repo: Repository, files: _Files) -> Mapping[str, int] | None:
    """The vocabulary that Git's merge of the text will have; None where that is a conflict."""
    merged: dict[str, bytes] = {}
    for name in files.names:
        base, ours, theirs = (side.get(name) for side in files.sides)
        text = _one_sided(base, ours, theirs)
        if text is None and None not in (base, ours, theirs):
            text = _merged(repo, files.folder, name, [base or b"", ours or b"", theirs or b""])
        if text is not None:
            merged[name] = text
        elif (base, ours, theirs) != (None, None, None):
            return None
    return read(merged)


def _one_sided(base: bytes | None, ours: bytes | None, theirs: bytes | None) -> bytes | None:
    return ours if theirs in (base, ours) else theirs if ours == base else None


def _merged(repo: Repository, folder: bytes, name: str, texts: Sequence[bytes]) -> bytes | None:
    """The three texts merged as Git merges that file; None where it would not, or another way."""
    path = folder + b"/" * bool(folder) + name.encode()
    attribute = lookup(repo, [path], ["merge"])[path].get("merge")
    if attribute not in _AS_TEXT or (attribute is None and load(repo).get("merge.default")):
        return None
    with tempfile.TemporaryDirectory() as scratch:
        paths = [Path(scratch) / side for side in ("ours", "base", "theirs")]
        for file, text in zip(paths, (texts[1], texts[0], texts[2]), strict=True):
            file.write_bytes(text)
        argv = ("merge-file", "-q", *_AS_TEXT[attribute], *map(str, paths))
        done = repo.start(*argv).wait()
        return paths[0].read_bytes() if done == 0 else None
