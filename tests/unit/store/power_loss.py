"""A disk that keeps only what was synced: the calls of a store, recorded and replayed.

Every file is an inode with what was written and what of it was synced; every folder has
entries as they are and entries as they were synced. ``Disk.survivors`` says what a power
cut may leave: no unsynced change at all, or every change of folders but no unsynced
data, or any one unsynced change of a folder more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Entries = dict[str, "Inode | None"]  # None is a folder


@dataclass(eq=False)
class Inode:
    data: bytes = b""
    synced: bytes = b""


@dataclass
class Disk:
    """The model; paths are relative to the folder above the store."""

    above: Path
    now: Entries = field(default_factory=dict)
    kept: Entries = field(default_factory=dict)
    opened: dict[int, Inode] = field(default_factory=dict)
    states: list[list[dict[str, bytes | None]]] = field(default_factory=list)

    def load(self) -> None:
        """Take what is on the real disk as synced."""
        for path in sorted(self.above.rglob("*")):
            data = None if path.is_dir() else path.read_bytes()
            self.now[self.name(path)] = None if data is None else Inode(data, data)
        self.kept = dict(self.now)

    def name(self, path: Path) -> str:
        return str(path.relative_to(self.above)) if path != self.above else "."

    def record(self, call: str, args: tuple[Any, ...], result: Any) -> None:
        """Apply one call that has succeeded, and remember what may survive from then on."""
        handler: Callable[..., None] | None = getattr(self, f"_{call}", None)
        if handler is not None:
            handler(*args, result)
            self.states.append(list(self.survivors()))

    def _open_excl(self, path: Path, fd: int) -> None:
        self.now[self.name(path)] = self.opened[fd] = Inode()

    def _open_lock(self, path: Path, fd: int) -> None:
        inode = self.now.setdefault(self.name(path), Inode())
        assert inode is not None
        self.opened[fd] = inode

    def _write(self, fd: int, data: bytes, count: int) -> None:
        self.opened[fd].data += bytes(data[:count])

    def _fsync(self, fd: int, _: None) -> None:
        if fd in self.opened:
            self.opened[fd].synced = self.opened[fd].data

    def _close(self, fd: int, _: None) -> None:
        self.opened.pop(fd, None)

    def _rename(self, source: Path, target: Path, _: None) -> None:
        self.now[self.name(target)] = self.now.pop(self.name(source))

    def _link(self, source: Path, target: Path, _: None) -> None:
        self.now[self.name(target)] = self.now[self.name(source)]

    def _mkdir(self, path: Path, _: None) -> None:
        self.now[self.name(path)] = None

    def _unlink(self, path: Path, _: None) -> None:
        del self.now[self.name(path)]

    _rmdir = _unlink

    def _fsync_dir(self, path: Path, _: None) -> None:
        inside = str(Path(self.name(path)))
        for name in {*self.now, *self.kept}:
            if str(Path(name).parent) == inside:
                take_over(self.kept, self.now, name)

    def survivors(self) -> Iterator[dict[str, bytes | None]]:
        yield reachable(self.kept)
        yield reachable(self.now)
        for name in {*self.now, *self.kept}:
            if self.now.get(name, self) is not self.kept.get(name, self):
                one_more = dict(self.kept)
                take_over(one_more, self.now, name)
                yield reachable(one_more)


def take_over(entries: Entries, source: Entries, name: str) -> None:
    if name in source:
        entries[name] = source[name]
    else:
        entries.pop(name, None)


def reachable(entries: Entries) -> dict[str, bytes | None]:
    """Files with their synced bytes, and folders, whose folders above survive, too."""
    found: dict[str, bytes | None] = {}
    for name in sorted(entries):
        inode = entries[name]
        above = str(Path(name).parent)
        if above == "." or (above in found and found[above] is None):
            found[name] = None if inode is None else inode.synced
    return found


def materialise(state: dict[str, bytes | None], folder: Path) -> None:
    for name, data in state.items():
        if data is None:
            (folder / name).mkdir(parents=True)
        else:
            (folder / name).write_bytes(data)
