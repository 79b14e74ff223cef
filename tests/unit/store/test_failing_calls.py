"""The n-th system call fails, for every n: a clear error or success, and nothing is lost.

SQLite tests its I/O this way: deterministic, every call once, once alone and once with
every later one failing too.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from git_nn.errors import GitNNError, StoreError
from git_nn.objects.oid import Oid
from git_nn.store import system
from git_nn.store.base import SEGMENT, read_bytes
from git_nn.store.local import LocalStore, open_store
from tests.unit.store.support import (
    CLEAN_UP,
    Intercepted,
    collect,
    leftovers,
    noise,
    nothing,
    pack_paths,
    put,
    quarantine_all,
    rebuild_all,
)

OLD = [noise(3000, 1), noise(200, 2)]
NEW = [noise(40_000, 3), b"", noise(90_000, 4), OLD[0]]
ERRORS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "EINTR": errno.EINTR, "EDQUOT": errno.EDQUOT}


def make_store(root: Path) -> LocalStore:
    return LocalStore(root, pack_target=60_000, lock_timeout=0)


def prepared(root: Path) -> list[Oid]:
    shutil.rmtree(root, ignore_errors=True)
    return put(make_store(root), *OLD)


def failing(number: int, code: int, *, for_good: bool) -> Callable[[int, str], None]:
    def rule(at: int, name: str) -> None:
        if at == number or (for_good and at > number):
            raise OSError(code, os.strerror(code))

    return rule


def count_calls(root: Path, action: Callable[[LocalStore], Any]) -> list[str]:
    prepared(root)
    store = make_store(root)
    with Intercepted(nothing) as calls:
        action(store)
    return calls.names


def check_consistent(root: Path, acknowledged: dict[Oid, bytes]) -> None:
    store = open_store(root)
    for oid, content in acknowledged.items():
        assert read_bytes(store, oid) == content
    for pack in store.packs():
        assert [d.what for d in store.verify_pack(pack.name)] in ([], ["the index is missing"])


def add_new(store: LocalStore) -> list[Oid]:
    return put(store, *NEW)


@pytest.mark.parametrize("for_good", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("error", ERRORS)
def test_adding_with_any_call_failing(tmp_path: Path, error: str, for_good: bool) -> None:
    root = tmp_path / "nn"
    names = count_calls(root, add_new)
    assert len(names) > 40
    for number, name in enumerate(names, 1):
        acknowledged = dict(zip(prepared(root), OLD, strict=True))
        before = set(pack_paths(root))
        succeeded = False
        store = make_store(root)
        with Intercepted(failing(number, ERRORS[error], for_good=for_good)):
            try:
                oids = add_new(store)
                succeeded = True
            except StoreError as caught:
                explained = str(root) in caught.message and bool(caught.hint)
        assert succeeded or explained
        if succeeded:
            acknowledged |= dict(zip(oids, NEW, strict=True))
        elif "rename" not in names[: number - 1] or name in {"write", "fsync", "open_excl"}:
            assert set(pack_paths(root)) == before
        if not for_good and name not in CLEAN_UP:
            assert leftovers(root) == []
        check_consistent(root, acknowledged)
        again = make_store(root)
        acknowledged |= dict(zip(add_new(again), NEW, strict=True))
        check_consistent(root, acknowledged)
        make_store(root).clean_tmp(-10)
        assert leftovers(root) == []


def test_no_call_that_makes_things_durable_may_fail_unseen(tmp_path: Path) -> None:
    root = tmp_path / "nn"
    names = count_calls(root, add_new)
    for number, name in enumerate(names, 1):
        if name not in {"fsync", "fsync_dir", "write", "open_excl"}:
            continue
        prepared(root)
        store = make_store(root)
        with (
            Intercepted(failing(number, errno.EIO, for_good=False)) as calls,
            pytest.raises(StoreError, match="disk under the store"),
        ):
            add_new(store)
        after = calls.names[number:]
        assert "fsync" not in after or name != "fsync", "a failed fsync is never tried again"


def test_short_writes_and_reads_are_carried_on(tmp_path: Path) -> None:
    content = noise(SEGMENT + 1000)

    def write_some(fd: int, data: bytes) -> int:
        return os.write(fd, memoryview(data)[: max(1, len(data) // 3)])

    def read_some(fd: int, length: int, offset: int) -> bytes:
        return os.pread(fd, max(1, length // 3), offset)

    def rule(number: int, name: str) -> Callable[..., Any] | None:
        return {"write": write_some, "pread": read_some}.get(name)

    with Intercepted(rule):
        (oid,) = put(make_store(tmp_path), content)
        assert read_bytes(make_store(tmp_path), oid) == content
    check_consistent(tmp_path, {oid: content})


@pytest.mark.parametrize("error", ["EIO", "EMFILE", "EACCES"])
def test_reading_with_any_call_failing_gives_the_object_or_an_error(
    tmp_path: Path, error: str
) -> None:
    content = noise(SEGMENT + 1000)
    (oid,) = put(make_store(tmp_path), content)

    def read(store: LocalStore) -> bytes:
        return b"".join(bytes(piece) for piece in store.read(oid))

    store = make_store(tmp_path)
    with Intercepted(nothing) as calls:
        assert read(store) == content
    for number in range(1, len(calls.names) + 1):
        store = make_store(tmp_path)
        rule = failing(number, getattr(errno, error), for_good=False)
        with Intercepted(rule), contextlib.suppress(GitNNError):
            assert read(store) == content
        assert read(make_store(tmp_path)) == content


@pytest.mark.parametrize("action", [collect, quarantine_all, rebuild_all])
@pytest.mark.parametrize("for_good", [False, True], ids=["once", "from then on"])
def test_taking_away_with_any_call_failing_loses_nothing(
    tmp_path: Path, action: Callable[[LocalStore], None], for_good: bool
) -> None:
    root = tmp_path / "nn"

    def prepare() -> dict[Oid, bytes]:
        oids = prepared(root)
        more = put(make_store(root), noise(5000, 5))
        return dict(zip([*oids, *more], [*OLD, noise(5000, 5)], strict=True))

    prepare()
    store = make_store(root)
    with Intercepted(nothing) as calls:
        action(store)
    for number in range(1, len(calls.names) + 1):
        kept = prepare()
        store = make_store(root)
        rule = failing(number, errno.EIO, for_good=for_good)
        with Intercepted(rule), contextlib.suppress(GitNNError):
            action(store)
        check_consistent(root, kept)
        action(make_store(root))
        check_consistent(root, kept)


def test_every_call_that_the_store_makes_is_among_those_that_are_failed(tmp_path: Path) -> None:
    made = set(count_calls(tmp_path / "a", add_new)) | set(count_calls(tmp_path / "b", collect))
    assert {"open_excl", "write", "pread", "fsync", "fsync_dir", "rename", "utime"} <= made
    assert system.open_excl.__name__ == "open_excl", "the real calls are back"
