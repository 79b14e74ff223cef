"""Small objects, looks into packs, and system calls that fail on purpose."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Collection
from inspect import getmembers, isfunction
from pathlib import Path
from typing import Any

from blake3 import blake3

from git_nn.objects.oid import Oid
from git_nn.store import system
from git_nn.store.copies import choose
from git_nn.store.local import LocalStore

CALLS = [
    name
    for name, function in getmembers(system, isfunction)
    if function.__module__ == system.__name__ and not name.startswith("_") and name != "now"
]
CLEAN_UP = {"unlink", "rmdir", "listing", "close", "status"}


def noise(length: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(length)


def weights(count: int, seed: int = 0) -> bytes:
    """f32 values with few exponents: what a codec makes smaller."""
    draw = random.Random(seed)
    words = (0x3C000000 | draw.getrandbits(25) | draw.getrandbits(1) << 31 for _ in range(count))
    return b"".join(word.to_bytes(4, "little") for word in words)


def id_of(data: bytes) -> Oid:
    return Oid(blake3(data).digest())


def put(store: LocalStore, *contents: bytes, dtype: str = "u8") -> list[Oid]:
    with store.batch() as batch:
        return [batch.put([data], dtype=dtype)[0] for data in contents]


def rewrite(store: LocalStore, keep: Collection[Oid], names: Collection[str]) -> list[str]:
    """Copy what is to be kept of some packs to new ones."""
    packs = [pack for pack in store.packs() if pack.name in names]
    return store.rewrite(list(choose(packs, keep).values()))


def pack_paths(root: Path) -> list[Path]:
    return sorted((root / "packs").glob("*/*.nnp"))


def only_pack(root: Path) -> Path:
    (path,) = pack_paths(root)
    return path


def overwrite(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(0o444)


def flip(path: Path, at: int, mask: int = 0x40) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= mask
    overwrite(path, bytes(data))


def leftovers(root: Path) -> list[Path]:
    return sorted(path for path in (root / "tmp").rglob("*") if path.is_file())


class Intercepted:
    """Counts the system calls of the store and hands each to ``rule`` before it is made.

    ``rule(number, name)`` may raise, or return a replacement for the call.
    """

    def __init__(self, rule: Callable[[int, str], Callable[..., Any] | None]) -> None:
        self.names: list[str] = []
        self._rule = rule
        self._real = {name: getattr(system, name) for name in CALLS}
        self._guard = threading.Lock()

    def __enter__(self) -> Intercepted:
        for name in CALLS:
            setattr(system, name, self._wrapped(name))
        return self

    def __exit__(self, *details: object) -> None:
        for name, function in self._real.items():
            setattr(system, name, function)

    def _wrapped(self, name: str) -> Callable[..., Any]:
        real = self._real[name]

        def call(*args: Any, **options: Any) -> Any:
            with self._guard:
                self.names.append(name)
                number = len(self.names)
            try:
                other = self._rule(number, name)
            except OSError:
                if name == "close":
                    real(*args)  # the descriptor is gone, also when close fails
                raise
            return (other or real)(*args, **options)

        return call


def nothing(number: int, name: str) -> None:
    return None


def collect(store: LocalStore) -> None:
    """What a gc does: all that is needed goes into new packs, the old ones away."""
    with store.exclusive():
        old = list(store.packs())
        keep = {frame.id for pack in old for frame in pack.frames}
        new = rewrite(store, keep, [pack.name for pack in old])
        for pack in old:
            if pack.name not in new:
                store.retire(pack.name)
        store.empty_trash(-10)
        store.clean_tmp(-10)
        store.remove_stray_indexes()


def quarantine_all(store: LocalStore) -> None:
    for pack in list(store.packs()):
        store.quarantine(pack.name)


def rebuild_all(store: LocalStore) -> None:
    for pack in list(store.packs()):
        store.rebuild_index(pack.name)
