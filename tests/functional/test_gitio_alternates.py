"""Borrowed object folders are those that git itself reads."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from git_nn.gitio.alternates import object_folders
from git_nn.gitio.repository import find
from tests.support.git import Repo
from tests.support.models import normal, safetensors_file


def bare(path: Path, *listed: bytes) -> Path:
    """A bare repository whose info/alternates has these lines."""
    path.mkdir(parents=True)
    Repo(path).git("init", "-q", "--bare", ".")
    (path / "objects/info/alternates").write_bytes(b"".join(line + b"\n" for line in listed))
    return path


def ours(path: Path) -> set[Path]:
    return set(object_folders(find(path, os.environ)))


def gits(path: Path) -> set[Path]:
    """What 'git count-objects' says, of paths that need no quotes."""
    lines = Repo(path).git("count-objects", "-v").text.splitlines()
    start = "alternate: "
    return {Path(line.removeprefix(start)) for line in lines if line.startswith(start)}


def test_alternates_of_alternates_count_as_deep_as_git_goes(tmp_path: Path) -> None:
    chain = [bare(tmp_path / "0.git")]
    for depth in range(1, 9):
        line = f"../../{depth - 1}.git/objects" if depth % 2 else f"{chain[-1]}/objects"
        chain.append(bare(tmp_path / f"{depth}.git", line.encode()))
    found = [ours(path) for path in chain]
    assert found == [gits(path) for path in chain]
    assert len(found[5]) == 5
    assert len(found[8]) < 8


def test_quotes_comments_gaps_and_circles_are_read_as_git_reads_them(tmp_path: Path) -> None:
    first, second, third = (tmp_path / f"{name}.git" for name in ("a", "b", "#c"))
    bare(second, os.fsencode(first / "objects"))
    bare(third)
    bare(
        first,
        b"# " + os.fsencode(third / "objects"),
        b"",
        b'"%s/\\142.git/obj\\145cts"' % os.fsencode(tmp_path),
        b"../../#c.git/objects",
        b'"broken',
        b"../../nowhere/objects",
    )
    there = {folder for folder in ours(first) if folder.is_dir()}
    assert there == gits(first) == {second / "objects", third / "objects"}


def test_the_environment_may_name_a_folder_with_a_colon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git quotes such a path when it lets a hook see objects that are not accepted yet."""
    quoted, plain, here = (bare(tmp_path / name) for name in ("a:b", "c", "d"))
    value = f'"{quoted}/objects":{plain}/objects'
    monkeypatch.setenv("GIT_ALTERNATE_OBJECT_DIRECTORIES", value)
    assert ours(here) == {quoted / "objects", plain / "objects"}
    repo = find(here, os.environ)
    assert repo.git("count-objects", "-v").count(b"alternate: ") == 2


def test_a_shared_clone_of_a_shared_clone_has_the_weights(repo: Repo, tmp_path: Path) -> None:
    data = safetensors_file({"w": normal(1, 30, 10)})
    repo.write("m.safetensors", data)
    repo.commit()
    repo.nn("install")
    for source, target in ((repo.path, "one"), (tmp_path / "one", "two")):
        repo.git("clone", "-q", "--shared", str(source), str(tmp_path / target))
    last = Repo(tmp_path / "two")
    last.git("remote", "remove", "origin")
    (last.path / "m.safetensors").unlink()
    last.git("checkout", ".")
    assert last.read("m.safetensors") == data
    assert not list((last.path / ".git/nn").rglob("*.nnp*"))
