"""fetch: what a store lacks of some objects, from one remote.

1. A pack of which more than half is wanted comes whole, into a file that the next try goes on
   with; of others just the frames, neighbours together.
2. Each pack and each frame is in the store as soon as it has come, so nothing comes twice.
3. What comes is compared with what was asked for before it is taken in (store/receiving.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from git_nn.errors import GitNNError, RemoteError, StoreError
from git_nn.objects.oid import Oid
from git_nn.remote.base import Advance, Begin, Remote, no_meter
from git_nn.store import frame
from git_nn.store.frame import HEADER_SIZE, DamageError
from git_nn.store.index import Entry
from git_nn.store.local import LocalStore
from git_nn.transfer import partial
from git_nn.transfer.holdings import Holdings

if TYPE_CHECKING:
    from git_nn.store.receiving import Arrivals

_GAP = 64 * 1024  # bytes between two frames that are cheaper to read than to skip
_RANGE = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Piece:
    """Frames of one pack that are asked for together, in the order in which they stand."""

    pack: str
    entries: tuple[Entry, ...]
    whole: bool = False

    @property
    def span(self) -> tuple[int, int]:
        """The bytes of the pack from the first frame to the last."""
        last = self.entries[-1]
        return self.entries[0].offset, last.offset + HEADER_SIZE + last.header.clen

    def size(self, holdings: Holdings) -> int:
        """The bytes that will come."""
        start, stop = self.span
        return holdings.packs[self.pack].pack_size if self.whole else stop - start


def fetch(
    store: LocalStore, holdings: Holdings, oids: Iterable[Oid], begin: Begin = no_meter
) -> None:
    """Bring what ``store`` lacks of ``oids``, as far as the remote has it.

    ``begin`` is told how many bytes will come, more than once, and gives what counts them.
    Raises RemoteError, after everything else has come, for what was there and did not come.
    """
    wanted = store.missing(oids)
    lists = [oid for oid in wanted if _kind(holdings, oid) == frame.LIST]
    _bring(store, holdings, [oid for oid in lists if not store.has_frame(oid)], begin)
    segments = dict.fromkeys(part for oid in wanted for part in _parts(store, oid))
    _bring(store, holdings, _with_bases(store, holdings, segments), begin)


def fetch_range(store: LocalStore, holdings: Holdings, oid: Oid, start: int, stop: int) -> None:
    """Bring the segments that hold bytes [start, stop) of an object, and nothing else of it."""
    fetch_list(store, holdings, oid)
    wanted = store.parts_within(oid, start, stop) if store.has_frame(oid) else [oid]
    _bring(store, holdings, _with_bases(store, holdings, wanted), no_meter)


def fetch_list(store: LocalStore, holdings: Holdings, oid: Oid) -> None:
    """Bring what says of which segments an object is made, where it is of more than one."""
    if _kind(holdings, oid) == frame.LIST and not store.has_frame(oid):
        _bring(store, holdings, [oid], no_meter)


def _kind(holdings: Holdings, oid: Oid) -> int | None:
    header = holdings.header(oid)
    return header.kind if header else None


def _parts(store: LocalStore, oid: Oid) -> list[Oid]:
    """The segments of an object; itself where it is one, or where nobody has its list."""
    try:
        return store.parts(oid)
    except GitNNError:
        return [oid]


def _with_bases(store: LocalStore, holdings: Holdings, oids: Iterable[Oid]) -> list[Oid]:
    """``oids`` that are not here, and the bases that they need from the remote."""
    found: dict[Oid, None] = {}
    waiting = [(oid, frame.NO_LIMIT) for oid in oids if not store.has_frame(oid)]
    while waiting:
        oid, below = waiting.pop()
        header = holdings.header(oid)
        if header is None or header.depth >= below or oid in found:
            continue
        found[oid] = None
        if header.depth and not store.has_frame(header.base, below=header.depth):
            waiting.append((header.base, header.depth))
    return list(found)


# --- bringing ---------------------------------------------------------------------------


def _bring(store: LocalStore, holdings: Holdings, oids: Collection[Oid], begin: Begin) -> None:
    pieces = list(_pieces(holdings, oids))
    if not pieces:
        return
    advance = begin(sum(piece.size(holdings) for piece in pieces))
    holdings.remote.expect([piece.pack for piece in pieces])
    folder = store.folders.partial
    failures: list[RemoteError] = []

    def load(piece: Piece) -> Path | bytes:
        if piece.whole:
            return _whole(holdings, piece.pack, folder, advance)
        start, stop = piece.span
        return b"".join(_counted(holdings.remote.read(piece.pack, start, stop), advance))

    with store.arrivals() as arrivals:
        for piece, future in _ahead(load, pieces):
            try:
                _take_in(arrivals, piece, future.result())
            except RemoteError as error:
                failures.append(error)
            except DamageError as error:
                failures.append(_wrong(holdings.remote, piece.pack, error))
    if failures:
        raise failures[0]


def _pieces(holdings: Holdings, oids: Iterable[Oid]) -> Iterator[Piece]:
    by_pack: dict[str, list[Entry]] = defaultdict(list)
    for oid in oids:
        found = holdings.find(oid)
        if found is not None:
            by_pack[found[0]].append(found[1])
    for name, entries in by_pack.items():
        entries.sort(key=lambda entry: entry.offset)
        length = sum(HEADER_SIZE + entry.header.clen for entry in entries)
        if 2 * length > holdings.packs[name].pack_size:
            yield Piece(name, tuple(entries), whole=True)
        else:
            yield from _ranges(name, entries)


def _ranges(name: str, entries: Sequence[Entry]) -> Iterator[Piece]:
    run: list[Entry] = []
    for entry in entries:
        piece = Piece(name, (*run, entry))
        start, stop = piece.span
        gap = entry.offset - (Piece(name, tuple(run)).span[1] if run else entry.offset)
        if run and (gap > _GAP or stop - start > _RANGE):
            yield Piece(name, tuple(run))
            run = []
        run.append(entry)
    yield Piece(name, tuple(run))


def _ahead(
    load: Callable[[Piece], Path | bytes], pieces: Sequence[Piece]
) -> Iterator[tuple[Piece, Future[Path | bytes]]]:
    """Each piece with its bytes, as they come; a few are under way at once."""
    count = 8
    left = iter(pieces)
    with ThreadPoolExecutor(count, "git-nn-fetch") as pool:
        running: dict[Future[Path | bytes], Piece] = {}
        try:
            while True:
                while len(running) < count and (piece := next(left, None)) is not None:
                    running[pool.submit(load, piece)] = piece
                if not running:
                    return
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield running.pop(future), future
        finally:
            pool.shutdown(cancel_futures=True)


def _whole(holdings: Holdings, name: str, folder: Path, advance: Advance) -> Path:
    """The pack in a file; what an earlier try has brought is not asked for again."""
    size = holdings.packs[name].pack_size
    try:
        path = partial.claim(folder, name)
        there = path.stat().st_size if path.exists() else 0
        if there > size:
            path.unlink()
            there = 0
        advance(there)
        with path.open("ab") as file:
            for piece in _counted(holdings.remote.read(name, there, size), advance):
                file.write(piece)
    except OSError as error:
        raise StoreError(f"cannot write into {folder}: {error.strerror}") from error
    return path


def _counted(pieces: Iterable[bytes], advance: Advance) -> Iterator[bytes]:
    for piece in pieces:
        advance(len(piece))
        yield piece


def _take_in(arrivals: Arrivals, piece: Piece, got: Path | bytes) -> None:
    if isinstance(got, Path):
        try:
            arrivals.add_pack(piece.pack, got)
        except DamageError:
            with suppress(OSError):
                got.unlink()
            raise
        return
    start = piece.span[0]
    for entry in piece.entries:
        at = entry.offset - start
        arrivals.add_frame(got[at : at + HEADER_SIZE + entry.header.clen], entry)


def _wrong(remote: Remote, pack: str, error: DamageError) -> RemoteError:
    return RemoteError(
        f"{remote.label} gave wrong bytes for pack {pack[:12]}: {error}",
        hint="run 'git nn fsck --remote' in a clone that has the weights",
    )
