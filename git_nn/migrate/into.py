"""into: 'git nn migrate import' - survey, rewrite, swap."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import BinaryIO, cast

from git_nn.gitio.new_pack import NewPack
from git_nn.gitio.objects import open_reader
from git_nn.gitio.repository import Repository
from git_nn.gitio.rewriting import Rewriter
from git_nn.migrate import lfs, swap
from git_nn.migrate.blobs import Blobs
from git_nn.migrate.inward import Inward, check_present
from git_nn.migrate.rewrite import Rewritten, exact, rewrite, take
from git_nn.migrate.survey import Chosen, history, lfs_rules, named, recognised
from git_nn.store import folders as places
from git_nn.store.local import LocalStore, open_store

ABOVE = 100_000

Begin = Callable[[int], Callable[[int], object]]


@dataclass(frozen=True, slots=True)
class Request:
    """What to import: ``refs`` and what they name; files by ``include``, or by content.

    Then from ``above`` bytes on.
    """

    refs: Mapping[str, str]
    include: tuple[str, ...] = ()
    above: int = ABOVE
    writes_attributes: bool = True


@dataclass(slots=True)
class Row:
    """Files of one pattern: distinct blobs, their bytes, what they take now and in the store."""

    pattern: bytes
    files: int = 0
    blobs: int = 0
    size: int = 0
    now: int = 0
    stored: int = 0


@dataclass(frozen=True, slots=True)
class Imported:
    rows: tuple[Row, ...]
    rewritten: Rewritten


def import_(repo: Repository, store: LocalStore, request: Request, begin: Begin) -> Imported:
    """Rewrite refs so that weights are pointers; nothing moves where this raises.

    UsageError where the repository is not ready for it, or Git LFS lacks objects.
    """
    swap.check_ready(repo, list(request.refs))
    if request.writes_attributes:
        swap.check_filter(repo, "nn")
    with store.shared(), _begun(repo, store, store, request, begin) as (rewriter, rows):
        done = rewrite(exact(repo), rewriter, request.refs)
        take(repo, rewriter, done, "git nn migrate import")
        return Imported(tuple(rows()), done)


def preview(repo: Repository, store: LocalStore, request: Request, begin: Begin) -> Imported:
    """The same, into a temporary store that is gone when this returns."""
    with store.scratch() as scratch:
        known = [store.root] if store.root.is_dir() else []
        with TemporaryDirectory(dir=scratch) as folder:
            trial = open_store(Path(folder), alternates=known, settings=store.folders.settings)
            with _begun(repo, store, trial, request, begin) as (rewriter, rows):
                done = rewrite(exact(repo), rewriter, request.refs)
                return Imported(tuple(rows()), done)


@contextmanager
def _begun(
    repo: Repository,
    store: LocalStore,
    into: LocalStore,
    request: Request,
    begin: Begin,
) -> Iterator[tuple[Rewriter, Callable[[], Iterable[Row]]]]:
    """A rewriter, and what tells the rows when it has run."""
    repo = exact(repo)
    with ExitStack() as stack:
        scratch = stack.enter_context(store.scratch())
        reader = stack.enter_context(open_reader(repo))
        blobs = Blobs(repo, reader, scratch, lfs.objects_folder(repo))
        files = history(repo, list(request.refs.values()))
        chosen = _chosen(repo, blobs, files, request)
        check_present(blobs, chosen, files)
        pack = stack.enter_context(new_pack(repo, scratch))
        count = Count(blobs, into, chosen, begin(_total(blobs, chosen, files)))
        rules: dict[bytes, set[bytes]] = {}
        for (folder, pattern), paths in lfs_rules(repo, reader, files).items():
            if paths and paths <= chosen.paths.keys():
                rules.setdefault(folder, set()).add(pattern)
        edit = Inward(blobs, pack, into, chosen, rules, request.writes_attributes, count.add)
        yield Rewriter(reader, pack, edit), count.rows


def new_pack(repo: Repository, scratch: Path) -> NewPack:
    return NewPack(repo, cast("BinaryIO", TemporaryFile(dir=scratch)))


def _chosen(
    repo: Repository, blobs: Blobs, files: dict[bytes, list[str]], request: Request
) -> Chosen:
    if request.include:
        return named(repo, files, request.include)
    return recognised(repo, blobs, files, request.above)


def _total(blobs: Blobs, chosen: Chosen, files: dict[bytes, list[str]]) -> int:
    distinct = {blob for path in chosen.paths for blob in files[path]}
    return sum(blobs.size(blob) for blob in distinct)


@dataclass(slots=True)
class Count:
    """Adds up what is cleaned, by pattern."""

    blobs: Blobs
    store: LocalStore
    chosen: Chosen
    advance: Callable[[int], object]
    _rows: dict[bytes, Row] = field(default_factory=dict)
    _by_blob: dict[str, Row] = field(default_factory=dict)
    _packs: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._rows = {pattern: Row(pattern) for pattern in self.chosen.patterns}
        for pattern in self.chosen.paths.values():
            self._rows[pattern].files += 1
        self._new_bytes()

    def add(self, pattern: bytes, blob: str, size: int) -> None:
        row = self._rows[pattern]
        row.blobs += 1
        row.size += size
        row.stored += self._new_bytes()
        item = self.blobs.item(blob)
        if item is not None:
            row.now += item.size
        else:
            self._by_blob[blob] = row
        self.advance(size)

    def _new_bytes(self) -> int:
        """Bytes of packs that came since this was asked."""
        found = dict(places.list_packs(self.store.folders.packs))
        new = found.keys() - self._packs
        self._packs |= new
        return sum(found[name].stat().st_size for name in new)

    def rows(self) -> Sequence[Row]:
        """With what Git's own compressed objects take on disk."""
        stdin = "".join(f"{blob}\n" for blob in self._by_blob).encode()
        what = "--batch-check=%(objectname) %(objectsize:disk)"
        for line in self.blobs.repo.git("cat-file", what, stdin=stdin).decode().splitlines():
            blob, _, size = line.partition(" ")
            self._by_blob[blob].now += int(size)
        self._by_blob.clear()
        return [row for row in self._rows.values() if row.files]
