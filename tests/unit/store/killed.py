"""Run as a program: die at the n-th system call of the store, for every n, and look after.

Its arguments are an action and a folder. Prints the number of deaths; any fault is an
exception. It is a process of its own because it forks, and must have no threads then.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from git_nn.objects.oid import Oid, oid_of
from git_nn.store.base import read_bytes
from git_nn.store.local import LocalStore
from tests.unit.store.support import (
    Intercepted,
    collect,
    leftovers,
    noise,
    put,
    quarantine_all,
    rebuild_all,
)

OLD = [noise(3000, 1), noise(70_000, 2), noise(10, 6)]
NEW = [noise(40_000, 3), b"", noise(90_000, 4), OLD[0]]
DIED = 77


def make_store(root: Path) -> LocalStore:
    return LocalStore(root, pack_target=60_000, lock_timeout=0)


def add(store: LocalStore) -> None:
    put(store, *NEW)


def adopt(store: LocalStore) -> None:
    other = make_store(store.root.parent / "other")
    store.adopt_packs(other, put(other, *NEW))


def restore(store: LocalStore) -> None:
    with store.exclusive():
        for pack in list(store.packs()):
            store.retire(pack.name)
    for oid in ids(OLD):
        read_bytes(store, oid)


def ids(contents: list[bytes]) -> list[Oid]:
    return [oid_of(content) for content in contents]


def dies_at(number: int, store: LocalStore, action: Callable[[LocalStore], None]) -> bool:
    """Whether a child that does ``action`` died at its ``number``-th call."""
    child = os.fork()
    if child == 0:

        def rule(at: int, name: str) -> None:
            if at == number:
                os._exit(DIED)

        try:
            with Intercepted(rule):
                action(store)
        except BaseException as error:  # noqa: BLE001
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in {0, DIED}, (action.__name__, number, status)
    return status == DIED


def check(root: Path, contents: list[bytes]) -> None:
    store = make_store(root)
    for oid, content in zip(ids(contents), contents, strict=True):
        assert read_bytes(store, oid) == content
        assert store.missing([oid]) == []
    for pack in store.packs():
        found = [damage.what for damage in store.verify_pack(pack.name)]
        assert found in ([], ["the index is missing"]), found


def deaths(folder: Path, action: Callable[[LocalStore], None]) -> int:
    number = 0
    while True:
        number += 1
        shutil.rmtree(folder, ignore_errors=True)
        root = folder / "nn"
        put(make_store(root), *OLD[:1])
        put(make_store(root), *OLD[1:])
        died = dies_at(number, make_store(root), action)
        check(root, OLD if died or action is not add else [*OLD, *NEW])
        put(make_store(root), *NEW)
        check(root, [*OLD, *NEW])
        action(make_store(root))
        check(root, [*OLD, *NEW])
        make_store(root).clean_tmp(-10)
        assert leftovers(root) == []
        if not died:
            return number - 1


if __name__ == "__main__":
    os.fsync = lambda fd: None  # what is written outlives a process without it
    actions = (add, collect, quarantine_all, rebuild_all, adopt, restore)
    (chosen,) = (action for action in actions if action.__name__ == sys.argv[1])
    print(deaths(Path(sys.argv[2]), chosen))
