"""The index parser on bytes built here by the format's description, without git."""

from __future__ import annotations

import hashlib
import os
import struct
import time
from itertools import takewhile
from pathlib import Path

import pytest

from git_nn.gitio.index import Written, refresh
from git_nn.gitio.repository import Repository

BLOB = b"pointer text"
Names = list[bytes]


def blob_name(algorithm: str) -> bytes:
    return hashlib.new(algorithm, b"blob %d\0" % len(BLOB) + BLOB).digest()


def entry(path: bytes, oid: bytes, version: int, before: bytes, *, flags: int, more: int) -> bytes:
    head = struct.pack(">10L", *range(100, 106), 0o100644, 107, 108, 109) + oid
    name = flags | min(len(path), 0xFFF)
    head += struct.pack(">HH", name | 0x4000, more) if more else struct.pack(">H", name)
    if version == 4:
        pairs = zip(before, path, strict=False)
        shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        return head + varint(len(before) - shared) + path[shared:] + b"\0"
    head += path
    return head + b"\0" * (8 - len(head) % 8)


def varint(value: int) -> bytes:
    out = bytes([value & 0x7F])
    while value := value >> 7:
        value -= 1
        out = bytes([0x80 | (value & 0x7F)]) + out
    return out


def build(
    names: Names,
    *,
    version: int = 2,
    algorithm: str = "sha1",
    flags: int = 0,
    more: int = 0,
    extensions: bytes = b"TREE" + struct.pack(">L", 3) + b"abc",
    skip_hash: bool = False,
) -> bytes:
    data = b"DIRC" + struct.pack(">LL", version, len(names))
    before = b""
    for name in names:
        data += entry(name, blob_name(algorithm), version, before, flags=flags, more=more)
        before = name
    data += extensions
    digest = hashlib.new(algorithm, data).digest()
    return data + (bytes(len(digest)) if skip_hash else digest)


@pytest.fixture
def made(tmp_path: Path) -> Repository:
    git_dir = tmp_path / ".git"
    git_dir.mkdir()
    for name in ("a", "model.h5", "z"):
        put(tmp_path, name)
    return Repository(git_dir, git_dir, tmp_path, {})


def put(top: Path, name: str) -> None:
    """A file of an earlier second, so that nothing has to wait."""
    (top / name).parent.mkdir(parents=True, exist_ok=True)
    (top / name).write_bytes(name.encode())
    old = time.time_ns() - 5 * 10**9
    os.utime(top / name, ns=(old, old))


def stat_fields(top: Path, name: str) -> tuple[int, ...]:
    found = (top / name).lstat()
    return (
        found.st_ctime_ns // 10**9, found.st_ctime_ns % 10**9,
        found.st_mtime_ns // 10**9, found.st_mtime_ns % 10**9,
        found.st_dev & 0xFFFFFFFF, found.st_ino & 0xFFFFFFFF, 0o100644,
        found.st_uid, found.st_gid, found.st_size,
    )  # fmt: skip


def expected(old: bytes, at: int, fields: tuple[int, ...], algorithm: str = "sha1") -> bytes:
    size = hashlib.new(algorithm).digest_size
    data = old[:at] + struct.pack(">10L", *fields) + old[at + 40 : -size]
    return data + (hashlib.new(algorithm, data).digest() if any(old[-size:]) else bytes(size))


def start_of(data: bytes, number: int) -> int:
    """Where the stat fields of the ``number``-th entry stand: they start with 100, 101."""
    mark, at = struct.pack(">LL", 100, 101), -1
    for _ in range(number + 1):
        at = data.index(mark, at + 1)
    return at


@pytest.mark.parametrize("version", [2, 3, 4])
@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
@pytest.mark.parametrize("skip_hash", [False, True])
def test_only_the_stat_fields_of_the_named_entry_change(
    made: Repository, version: int, algorithm: str, skip_hash: bool
) -> None:
    repo = Repository(made.git_dir, made.git_dir, made.work_tree, {}, algorithm)
    assert repo.work_tree is not None
    more = 0x4000 if version >= 3 else 0  # skip-worktree, which is no reason to refuse
    old = build(
        [b"a", b"model.h5", b"z"], version=version, algorithm=algorithm, more=more,
        skip_hash=skip_hash,
    )  # fmt: skip
    repo.index_file.write_bytes(old)
    assert refresh(repo, [b"model.h5"])
    want = expected(old, start_of(old, 1), stat_fields(repo.work_tree, "model.h5"), algorithm)
    assert repo.index_file.read_bytes() == want
    assert not (repo.git_dir / "index.lock").exists()


@pytest.mark.parametrize("version", [2, 4])
def test_long_and_nested_names_are_found(made: Repository, version: int) -> None:
    assert made.work_tree is not None
    long = "/".join(["d" * 200] * 10) + "/model.h5"
    put(made.work_tree, long)
    old = build([b"a", long.encode(), b"z"], version=version)
    made.index_file.write_bytes(old)
    assert refresh(made, [b"z"])
    want = expected(old, start_of(old, 2), stat_fields(made.work_tree, "z"))
    assert made.index_file.read_bytes() == want


@pytest.mark.parametrize(
    "index",
    [
        build([b"model.h5"], flags=0x1000),
        build([b"model.h5"], flags=0x3000),
        build([b"model.h5"], version=3, more=0x2000),
        build([b"other"]),
    ],
    ids=["stage1", "stage3", "intent", "absent"],
)
def test_entries_that_are_no_merged_content_are_left_alone(made: Repository, index: bytes) -> None:
    made.index_file.write_bytes(index)
    assert not refresh(made, [b"model.h5"])
    assert made.index_file.read_bytes() == index
    assert not (made.git_dir / "index.lock").exists()


def test_an_index_that_is_locked_is_left_alone(made: Repository) -> None:
    index = build([b"model.h5"])
    made.index_file.write_bytes(index)
    lock = made.git_dir / "index.lock"
    lock.write_bytes(b"theirs")
    assert not refresh(made, [b"model.h5"])
    assert made.index_file.read_bytes() == index
    assert lock.read_bytes() == b"theirs"


def test_a_repository_without_an_index_stays_without(made: Repository) -> None:
    assert not refresh(made, [b"model.h5"])
    assert sorted(path.name for path in made.git_dir.iterdir()) == []


def test_a_file_that_changed_since_it_was_written_loses_its_stat_data(made: Repository) -> None:
    assert made.work_tree is not None
    made.index_file.write_bytes(build([b"a", b"model.h5"]))
    index = made.index_file.read_bytes()
    seen = (made.work_tree / "model.h5").stat()
    (made.work_tree / "model.h5").write_bytes(b"MODEL.H5")
    os.utime(made.work_tree / "model.h5", ns=(seen.st_mtime_ns, seen.st_mtime_ns))
    assert refresh(made, [b"model.h5"], {b"model.h5": Written(seen, BLOB)})
    nothing = (0, 0, 0, 0, 0, 0, 0o100644, 0, 0, 0)
    assert made.index_file.read_bytes() == expected(index, start_of(index, 1), nothing)


def test_an_entry_that_names_another_blob_by_now_is_passed_over(made: Repository) -> None:
    assert made.work_tree is not None
    made.index_file.write_bytes(build([b"a", b"model.h5"]))
    index = made.index_file.read_bytes()
    seen = (made.work_tree / "model.h5").stat()
    assert not refresh(made, [b"model.h5"], {b"model.h5": Written(seen, b"other text")})
    assert made.index_file.read_bytes() == index
    assert refresh(made, [b"model.h5"], {b"model.h5": Written(seen, BLOB)})


def test_the_index_is_younger_than_the_second_of_large_entries(made: Repository) -> None:
    assert made.work_tree is not None
    with (made.work_tree / "model.h5").open("wb") as file:
        file.truncate(2**30)  # so much that cleaning it again costs more than a second
    made.index_file.write_bytes(build([b"model.h5"]))
    assert refresh(made, [b"model.h5"])
    written = (made.work_tree / "model.h5").stat().st_mtime_ns // 10**9
    assert made.index_file.stat().st_mtime_ns // 10**9 > written


def test_links_and_missing_files_are_passed_over(made: Repository) -> None:
    assert made.work_tree is not None
    index = build([b"a", b"gone", b"link"])
    made.index_file.write_bytes(index)
    (made.work_tree / "link").symlink_to("a")
    assert not refresh(made, [b"gone", b"link"])
    assert made.index_file.read_bytes() == index
    assert refresh(made, [b"a", b"gone", b"link"])


def test_the_permissions_of_the_index_stay(made: Repository) -> None:
    made.index_file.write_bytes(build([b"a"]))
    made.index_file.chmod(0o664)
    assert refresh(made, [b"a"])
    assert made.index_file.stat().st_mode & 0o777 == 0o664
