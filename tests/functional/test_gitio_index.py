"""After a refresh the real git takes a file as unchanged without starting its filter."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import pytest

from git_nn.gitio.index import Written, refresh
from git_nn.gitio.repository import find
from tests.support.git import Repo

CONTENT = b"weights " * 1000
POINTER = b"pointer\n"


@pytest.fixture(params=["2", "3", "4", "sha256", "sha256-4", "skiphash"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Repo:
    """A filter that turns any content into a pointer and notes each of its runs in a file."""
    path = tmp_path / "made"
    path.mkdir()
    repo = Repo(path)
    kind = request.param
    object_format = "sha256" if kind.startswith("sha256") else "sha1"
    repo.git("init", "-q", f"--object-format={object_format}", ".")
    calls = tmp_path / "calls"
    clean = tmp_path / "clean.py"
    clean.write_text(
        f"import sys; sys.stdin.buffer.read(); open({str(calls)!r}, 'a').write('clean\\n');"
        f"sys.stdout.buffer.write({POINTER!r})"
    )
    command = f"{shlex.quote(sys.executable)} {shlex.quote(str(clean))}"
    repo.git("config", "filter.fake.clean", command)
    repo.git("config", "filter.fake.smudge", "cat")
    repo.git("config", "index.version", kind[-1] if kind[-1] in "24" else "2")
    repo.git("config", "index.skipHash", "true" if kind == "skiphash" else "false")
    repo.write(".gitattributes", b"*.h5 filter=fake\n")
    for name in ("model.h5", "sub/model.h5", "sub/other.h5"):
        repo.write(name, CONTENT)
    repo.commit()
    if kind == "3":
        repo.git("update-index", "--skip-worktree", "sub/other.h5")
    # As after a checkout that was answered with pointers.
    for name in ("model.h5", "sub/model.h5"):
        (repo.path / name).unlink()
    repo.git("checkout", "-q", "--", "model.h5", "sub/model.h5")
    assert repo.read("model.h5") == POINTER
    settle(repo)
    calls.write_text("")
    return repo


def settle(repo: Repo) -> None:
    """Make no file one of the index's own second: that alone would make Git look into it."""
    for file in (*repo.path.glob("*.h5"), *repo.path.glob("sub/*.h5")):
        os.utime(file, ns=(10**18, 10**18))
    repo.git("update-index", "-q", "--refresh")


def calls_of(repo: Repo) -> int:
    return len((repo.path.parent / "calls").read_text().split())


def materialise(repo: Repo, name: str) -> Written:
    temporary = repo.write(f"{name}.tmp", CONTENT)
    # Of an earlier second: the files of tests are too small for refresh to wait for the clock.
    os.utime(temporary, ns=(10**18 + 1, 10**18 + 1))
    temporary.replace(repo.path / name)
    return Written((repo.path / name).stat(), POINTER)


def test_git_starts_no_filter_after_a_refresh(made: Repo) -> None:
    repo = find(made.path, os.environ)
    written = {name.encode(): materialise(made, name) for name in ("model.h5", "sub/model.h5")}
    assert refresh(repo, list(written), written)
    assert made.status() == ""
    assert made.git("diff").out == b""
    assert made.git("diff", "HEAD", "--stat").out == b""
    assert calls_of(made) == 0
    assert made.git("fsck", "--strict").errors == ""
    assert made.git("ls-files", "-m").out == b""


def test_without_a_refresh_git_takes_the_size_for_a_change(made: Repo) -> None:
    materialise(made, "model.h5")
    assert made.status() == " M model.h5\n"
    assert calls_of(made) == 0


def test_a_file_of_this_very_second_is_compared_once_more_and_is_clean(made: Repo) -> None:
    (made.path / "model.h5").write_bytes(CONTENT)
    written = Written((made.path / "model.h5").stat(), POINTER)
    assert refresh(find(made.path, os.environ), [b"model.h5"], {b"model.h5": written})
    assert made.status() == ""
    assert calls_of(made) <= 1


def test_git_lists_the_very_stat_data(made: Repo) -> None:
    materialise(made, "model.h5")
    assert refresh(find(made.path, os.environ), [b"model.h5"])
    found = (made.path / "model.h5").stat()
    lines = made.git("ls-files", "--debug", "model.h5").text.split("\n")
    assert [line.strip() for line in lines[1:6]] == [
        f"ctime: {found.st_ctime_ns // 10**9}:{found.st_ctime_ns % 10**9}",
        f"mtime: {found.st_mtime_ns // 10**9}:{found.st_mtime_ns % 10**9}",
        f"dev: {found.st_dev & 0xFFFFFFFF}\tino: {found.st_ino & 0xFFFFFFFF}",
        f"uid: {found.st_uid}\tgid: {found.st_gid}",
        f"size: {found.st_size}\tflags: 0",
    ]


def test_a_change_after_the_refresh_is_compared_by_content(made: Repo) -> None:
    written = materialise(made, "model.h5")
    assert refresh(find(made.path, os.environ), [b"model.h5"], {b"model.h5": written})
    with (made.path / "model.h5").open("r+b") as file:
        file.write(b"W")
    made.status()
    assert calls_of(made) == 1


def test_a_change_before_the_refresh_is_compared_by_content(made: Repo) -> None:
    written = materialise(made, "model.h5")
    with (made.path / "model.h5").open("r+b") as file:
        file.write(b"W")
    assert refresh(find(made.path, os.environ), [b"model.h5"], {b"model.h5": written})
    assert made.status() == ""
    assert calls_of(made) == 1


@pytest.mark.parametrize("option", ["--split-index"])
def test_a_split_index_is_clean_too_through_git_itself(made: Repo, option: str) -> None:
    made.git("update-index", option)
    written = {b"model.h5": materialise(made, "model.h5")}
    assert refresh(find(made.path, os.environ), [b"model.h5"], written)
    assert made.status() == ""
    assert calls_of(made) == 1
    assert made.git("diff").out == b""


def test_a_damaged_index_is_left_alone(made: Repo) -> None:
    index = made.read(".git/index")
    for damaged in (
        index[:50],
        b"",
        index.replace(b"DIRC\0\0\0", b"DIRC\0\0\1"),
    ):
        made.write(".git/index", damaged)
        refresh(find(made.path, os.environ), [b"model.h5"])
        assert made.read(".git/index") == damaged
        assert not (made.path / ".git" / "index.lock").exists()


def test_the_index_of_a_linked_worktree_is_the_one_that_changes(made: Repo, tmp_path: Path) -> None:
    made.git("worktree", "add", "-q", str(tmp_path / "linked"))
    linked = Repo(tmp_path / "linked")
    settle(linked)
    main_index = made.read(".git/index")
    written = {b"model.h5": materialise(linked, "model.h5")}
    assert refresh(find(linked.path, os.environ), [b"model.h5"], written)
    before = calls_of(made)
    assert linked.status() == ""
    assert calls_of(made) == before
    assert made.read(".git/index") == main_index
