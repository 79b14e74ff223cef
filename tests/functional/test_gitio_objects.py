from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from git_nn.gitio.objects import BatchReader, FastReader, Reader, open_batch, open_reader
from git_nn.gitio.repository import Repository, find
from tests.support.git import Repo

Opener = Callable[[Repository], Reader]
at_once = partial(open_reader, after=0)
both = pytest.mark.parametrize("opener", [at_once, open_batch])


def init(path: Path, *options: str) -> Repo:
    path.mkdir(parents=True)
    repo = Repo(path)
    repo.git("init", "-q", "-b", "main", *options, ".")
    return repo


@pytest.fixture
def made(tmp_path: Path) -> Repo:
    repo = init(tmp_path / "made")
    repo.write("f", b"content\n")
    repo.write("big", bytes(range(256)) * 4096)
    repo.write("empty", b"")
    repo.write(
        "odd\n\udcff".encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape"), b"odd"
    )
    repo.commit()
    return repo


def opened(repo: Repo, **env: str) -> Repository:
    return find(repo.path, {**os.environ, **env})


@both
def test_objects_are_read_by_any_spec(made: Repo, opener: Opener) -> None:
    with opener(opened(made)) as reader:
        name, kind, size = reader.info("HEAD:f") or ("", "", 0)
        assert (kind, size) == ("blob", 8)
        assert reader.read("HEAD:f") == reader.read(":f") == reader.read(name) == b"content\n"
        assert reader.info(name) == (name, "blob", 8)
        assert reader.read("HEAD:big") == bytes(range(256)) * 4096
        assert reader.read("HEAD:empty") == b""
        assert (reader.info("HEAD") or ("", "", 0))[1] == "commit"
        assert (reader.info("HEAD^{tree}") or ("", "", 0))[1] == "tree"


@both
def test_what_is_not_there_is_none_and_does_no_harm_to_the_next(made: Repo, opener: Opener) -> None:
    with opener(opened(made)) as reader:
        for spec in ("HEAD:g", "nothing", "0" * 40, "", "HEAD:f blob 3", "-h", ":3:f", "f" * 64):
            assert reader.info(spec) is None
            assert reader.read(spec) is None
        assert reader.read("HEAD:f") == b"content\n"


@both
def test_a_line_feed_in_a_path_is_no_second_question(made: Repo, opener: Opener) -> None:
    with opener(opened(made)) as reader:
        assert reader.read("HEAD:odd\n\udcff") == b"odd"
        assert reader.read("HEAD:no\nHEAD:f") is None
        assert reader.read("HEAD:f") == b"content\n"


@both
def test_many_large_objects_in_a_row_do_not_block(made: Repo, opener: Opener) -> None:
    names = [made.git("hash-object", "-w", "--stdin", stdin=bytes([i]) * 300_000).text.strip()
             for i in range(20)]  # fmt: skip
    with opener(opened(made)) as reader:
        assert [reader.read(name) for name in names] == [bytes([i]) * 300_000 for i in range(20)]


@both
@pytest.mark.parametrize("option", ["--object-format=sha256"])
def test_sha256_repositories_work(tmp_path: Path, opener: Opener, option: str) -> None:
    repo = init(tmp_path / "r", option)
    repo.write("f", b"content\n")
    repo.commit()
    with opener(opened(repo)) as reader:
        found = reader.info("HEAD:f")
        assert found is not None
        assert len(found[0]) == 64
        assert reader.read(found[0]) == b"content\n"


@both
def test_alternates_of_both_kinds_are_read(made: Repo, tmp_path: Path, opener: Opener) -> None:
    name = made.git("rev-parse", "HEAD:f").text.strip()
    borrowing = init(tmp_path / "borrowing")
    with opener(opened(borrowing)) as reader:
        assert reader.read(name) is None
    alternates = {"GIT_ALTERNATE_OBJECT_DIRECTORIES": str(made.path / ".git" / "objects")}
    with opener(opened(borrowing, **alternates)) as reader:
        assert reader.read(name) == b"content\n"
    info = borrowing.path / ".git" / "objects" / "info"
    info.mkdir(exist_ok=True)
    (info / "alternates").write_text(f"{made.path / '.git' / 'objects'}\n")
    with opener(opened(borrowing)) as reader:
        assert reader.read(name) == b"content\n"


@both
def test_objects_written_and_packed_after_opening_are_found(made: Repo, opener: Opener) -> None:
    with opener(opened(made)) as reader:
        assert reader.read("HEAD:f") == b"content\n"
        made.write("g", b"later")
        made.commit()
        made.git("repack", "-adq")
        name = made.git("rev-parse", "HEAD:g").text.strip()
        assert reader.read(name) == b"later"
        assert reader.read("HEAD:g") == b"later"


@both
def test_a_replaced_object_is_read_as_git_reads_it(made: Repo, opener: Opener) -> None:
    old = made.git("rev-parse", "HEAD:f").text.strip()
    new = made.git("hash-object", "-w", "--stdin", stdin=b"new").text.strip()
    made.git("replace", old, new)
    with opener(opened(made)) as reader:
        assert reader.read(old) == b"new"
    with opener(opened(made, GIT_NO_REPLACE_OBJECTS="1")) as reader:
        assert reader.read(old) == b"content\n"


def test_libgit2_is_used_where_it_can_and_only_there(made: Repo, tmp_path: Path) -> None:
    with open_reader(opened(made)) as reader:
        assert isinstance(reader, FastReader)
    with open_reader(opened(init(tmp_path / "r", "--object-format=sha256"))) as reader:
        assert isinstance(reader, BatchReader)


def test_libgit2_takes_over_where_many_objects_are_read(made: Repo) -> None:
    names = [made.git("rev-parse", f"HEAD:{path}").text.strip() for path in ("f", "big", "empty")]
    with open_reader(opened(made), after=2) as reader:
        assert isinstance(reader, FastReader)
        for _ in range(2):
            assert [len(reader.read(name) or b"") for name in names] == [8, 1 << 20, 0]
        assert reader._objects is not None
    with open_reader(opened(made)) as reader:
        assert isinstance(reader, FastReader)
        reader.read(names[0])
        assert reader._objects is None


def test_closing_ends_the_children(made: Repo) -> None:
    reader = open_batch(opened(made))
    assert isinstance(reader, BatchReader)
    reader.read("HEAD:f")
    reader.info("HEAD:f")
    children = list(reader._children.values())
    reader.close()
    assert len(children) == 2
    assert all(child.returncode is not None for child in children)
    assert reader.read("HEAD:f") == b"content\n"
    reader.close()
