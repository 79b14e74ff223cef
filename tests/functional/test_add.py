"""``git nn add`` leaves what ``git add`` leaves, without the filter."""

from __future__ import annotations

import json
import os
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from git_nn.errors import GitNNError
from git_nn.gitio.repository import find
from git_nn.stage import Staged, select, stage
from git_nn.store.local import open_store
from tests.support.git import Repo
from tests.support.models import h5_file, normal, safetensors_file

FILES = {
    "m.safetensors": safetensors_file({"w": normal(1, 300, 300), "b": normal(2, 300)}),
    "sub/m.h5": h5_file({"dense/kernel": normal(3, 64, 64)}),
    "sub/opaque.bin": normal(4, 50_000).tobytes(),
}
OLD = count(1_700_000_000)  # what changed long before the index Git does not look at again


def write(repo: Repo, name: str, data: bytes) -> Path:
    path = repo.write(name, data)
    os.utime(path, (next(OLD),) * 2)
    return path


def fill(repo: Repo) -> None:
    for name, data in FILES.items():
        write(repo, name, data)
    repo.write("notes.txt", b"text\n")


def index(repo: Repo) -> str:
    return repo.git("ls-files", "--stage").text


def break_filter(repo: Repo) -> None:
    """From here on no file can pass through the filter: whoever sends one fails."""
    repo.git("config", "filter.nn.process", "false")
    repo.git("config", "filter.nn.clean", "false")


@pytest.fixture
def twin(tmp_path: Path) -> Repo:
    """The same files in another repository, added by Git itself."""
    twin = Repo.create(tmp_path / "twin")
    fill(twin)
    twin.git("add", ".")
    return twin


def test_the_index_is_that_of_git_add_and_no_filter_runs(repo: Repo, twin: Repo) -> None:
    fill(repo)
    break_filter(repo)
    repo.nn("add", ".")
    assert index(repo) == index(twin)
    assert {repo.blob(f":{name}")[:17] for name in FILES} == {b"git-nn pointer 1\n"}
    assert repo.status() == twin.status()
    repo.nn("add", ".")
    assert index(repo) == index(twin)


def test_the_bytes_come_back(repo: Repo) -> None:
    fill(repo)
    repo.nn("add", "m.safetensors", "sub")
    repo.git("commit", "-q", "-m", "all")
    for name, data in FILES.items():
        (repo.path / name).unlink()
        repo.git("checkout", "-q", "--", name)
        assert repo.read(name) == data
    repo.nn("fsck")


def test_a_change_is_staged_and_status_is_clean_without_the_filter(repo: Repo, twin: Repo) -> None:
    for each in (repo, twin):
        fill(each)
        each.commit()
        write(each, "m.safetensors", FILES["m.safetensors"][:-4] + b"\0\0\0\0")
    twin.git("add", ".")
    break_filter(repo)
    repo.nn("add", "*.safetensors")
    assert index(repo) == index(twin)
    assert repo.status() == "M  m.safetensors\n"


def test_checkpoints_added_together_are_coded_against_each_other(repo: Repo, twin: Repo) -> None:
    first = normal(5, 90_000)
    second = first * np.float32(1.0001)
    for each in (repo, twin):
        write(each, "run-100.safetensors", safetensors_file({"w": first}))
        write(each, "run-200.safetensors", safetensors_file({"w": second}))
    repo.nn("add", "*00.*")
    twin.git("add", "*00.*")
    found = json.loads(repo.nn("du", "--json", "run-200.safetensors").text)["total"]
    assert found == json.loads(twin.nn("du", "--json", "run-200.safetensors").text)["total"]
    assert found["by_deltas"] > len(second.tobytes()) // 3


def test_words_are_pathspecs_of_the_current_folder(repo: Repo) -> None:
    fill(repo)
    inner = Repo(repo.path / "sub")
    inner.nn("add", "*.h5")
    assert repo.git("diff", "--cached", "--name-only").text == "sub/m.h5\n"
    inner.nn("add", ":/", ":!*.bin")
    names = repo.git("diff", "--cached", "--name-only").text.split()
    assert names == [".gitattributes", "m.safetensors", "notes.txt", "sub/m.h5"]


def test_deletions_and_other_files_are_staged(repo: Repo) -> None:
    fill(repo)
    repo.commit()
    (repo.path / "m.safetensors").unlink()
    write(repo, "sub/opaque.bin", b"new")
    repo.write("notes.txt", b"new\n")
    repo.nn("add", "m.safetensors", "notes.txt", "sub")
    assert repo.status() == "D  m.safetensors\nM  notes.txt\nM  sub/opaque.bin\n"


def test_the_executable_bit(repo: Repo) -> None:
    fill(repo)
    (repo.path / "m.safetensors").chmod(0o755)
    repo.nn("add", ".")
    assert index(repo).splitlines()[1].startswith("100755")
    (repo.path / "m.safetensors").chmod(0o644)
    repo.git("config", "core.fileMode", "false")
    write(repo, "m.safetensors", FILES["sub/opaque.bin"])
    (repo.path / "sub/m.h5").chmod(0o755)
    repo.nn("add", ".")
    modes = {line.split("\t")[1]: line[:6] for line in index(repo).splitlines()}
    assert (modes["m.safetensors"], modes["sub/m.h5"]) == ("100755", "100644")


@pytest.mark.parametrize("name", ["ignored.h5", "missing.h5", "link/m.h5", "../out.h5"])
def test_what_git_refuses_is_refused_in_its_words(repo: Repo, twin: Repo, name: str) -> None:
    said = []
    for each in (repo, twin):
        each.write(".gitignore", b"ignored.*\n")
        each.write("ignored.h5", b"weights")
        each.write("real/m.h5", b"weights")
        (each.path / "link").symlink_to("real")
        (each.path.parent / "out.h5").write_bytes(b"weights")
        add = each.nn if each is repo else each.git
        result = add("add", name, code=None)
        said.append((result.code, result.errors.replace(str(each.path), "")))
    assert said[0] == said[1]
    assert said[0][0] != 0
    assert index(repo) == ""


def test_force_adds_what_is_ignored(repo: Repo) -> None:
    repo.write(".gitignore", b"*.h5\n")
    write(repo, "m.h5", FILES["sub/m.h5"])
    break_filter(repo)
    repo.nn("add", "-f", "m.h5")
    assert repo.blob(":m.h5").startswith(b"git-nn pointer 1\n")


def test_a_symbolic_link_is_added_as_a_link(repo: Repo) -> None:
    (repo.path / "m.h5").symlink_to("elsewhere.h5")
    repo.nn("add", "m.h5")
    assert index(repo).startswith("120000")
    assert repo.blob(":m.h5") == b"elsewhere.h5"


def test_pointers_empty_and_raw_files_stay_what_they_are(repo: Repo) -> None:
    fill(repo)
    repo.commit()
    pointer = repo.blob("HEAD:m.safetensors")
    repo.write("m.safetensors", pointer)
    repo.write("empty.h5", b"")
    raw = repo.git("hash-object", "-w", "--stdin", stdin=b"raw weights").text.strip()
    repo.git("update-index", "--add", "--cacheinfo", f"100644,{raw},raw.h5")
    repo.write("raw.h5", b"raw weights")
    repo.nn("add", ".")
    assert repo.status() == "A  empty.h5\nA  raw.h5\n"
    assert (repo.blob(":empty.h5"), repo.blob(":raw.h5")) == (b"", b"raw weights")
    repo.write("raw.h5", b"RAW weights")
    repo.nn("add", "raw.h5")
    assert repo.blob(":raw.h5").startswith(b"git-nn pointer 1\n")


def test_conflict_markers_are_refused(repo: Repo) -> None:
    fill(repo)
    repo.commit()
    pointer = repo.blob("HEAD:m.safetensors")
    repo.write("m.safetensors", pointer + b"<<<<<<< ours\n=======\n>>>>>>> theirs\n")
    result = repo.nn("add", ".", code=128)
    assert "conflict markers" in result.errors
    assert repo.blob(":m.safetensors") == pointer


def test_a_conflict_is_settled_by_adding(repo: Repo) -> None:
    versions = [safetensors_file({"w": normal(seed, 90)}) for seed in range(4)]
    write(repo, "m.safetensors", versions[0])
    repo.commit()
    repo.git("switch", "-q", "-c", "side")
    write(repo, "m.safetensors", versions[1])
    repo.commit("side")
    repo.git("switch", "-q", "main")
    write(repo, "m.safetensors", versions[2])
    repo.commit("main")
    repo.git("merge", "side", code=1)
    write(repo, "m.safetensors", versions[3])
    break_filter(repo)
    repo.nn("add", "m.safetensors")
    assert repo.status() == "M  m.safetensors\n"


def test_a_file_in_place_of_a_folder_and_the_reverse(repo: Repo) -> None:
    write(repo, "a.h5", b"file")
    write(repo, "b.h5/m.h5", b"in a folder")
    repo.commit()
    (repo.path / "a.h5").unlink()
    (repo.path / "b.h5/m.h5").unlink()
    (repo.path / "b.h5").rmdir()
    write(repo, "a.h5/m.h5", b"in a folder")
    write(repo, "b.h5", b"file")
    repo.nn("add", ".")
    names = repo.git("ls-files").text.split()
    assert names == [".gitattributes", "a.h5/m.h5", "b.h5"]
    assert repo.git("diff").text == ""


def test_a_sparse_checkout_is_left_to_git(repo: Repo) -> None:
    fill(repo)
    repo.commit()
    repo.git("sparse-checkout", "set", "--cone", "other")
    write(repo, "sub/new.h5", b"weights")
    assert "sparse-checkout" in repo.nn("add", "sub/new.h5", code=1).errors
    repo.nn("add", ".", code=None)
    assert repo.git("ls-files", "sub").text == "sub/m.h5\nsub/opaque.bin\n"


def test_paths_of_any_bytes_in_a_linked_worktree(repo: Repo, tmp_path: Path) -> None:
    fill(repo)
    repo.commit()
    repo.git("worktree", "add", "-q", str(tmp_path / "linked"), "-b", "linked")
    linked = Repo(tmp_path / "linked")
    name = os.fsdecode(b"a \xff\"\n'.h5")
    write(linked, name, FILES["sub/m.h5"])
    linked.nn("add", ".")
    assert linked.git("diff", "--cached", "--name-only", "-z").out == os.fsencode(name) + b"\0"
    assert linked.blob(":sub/m.h5") == linked.blob(f":{name}")


def test_files_are_named_by_sha256_where_the_repository_is(tmp_path: Path) -> None:
    path = tmp_path / "sha256"
    path.mkdir()
    repo = Repo(path)
    repo.git("init", "-q", "--object-format=sha256", ".")
    repo.nn("install", "--local")
    repo.nn("track", "*.h5")
    write(repo, "m.h5", FILES["sub/m.h5"])
    break_filter(repo)
    repo.nn("add", ".")
    assert b"\nlayout hdf5 " in repo.blob(":m.h5")
    assert repo.git("diff").text == ""


def test_without_the_filter_it_says_how_to_install(repo: Repo) -> None:
    repo.git("config", "--remove-section", "filter.nn")
    assert "git nn install" in repo.nn("add", ".", code=2).errors


def staged(repo: Repo, progress: object = len) -> list[Staged]:
    found = find(repo.path, os.environ)
    candidates = select(found, ["."], repo.path, force=False)
    return stage(found, open_store(found.nn_dir), candidates, progress)  # type: ignore[arg-type]


def test_a_file_that_changes_while_it_is_read_is_refused_and_nothing_is_staged(repo: Repo) -> None:
    fill(repo)
    path = repo.path / "sub/opaque.bin"

    def disturb(_: int) -> None:
        with path.open("r+b") as file:
            file.write(b"?")

    with pytest.raises(GitNNError, match=r"sub/opaque\.bin changed while it was read"):
        staged(repo, disturb)
    assert index(repo) == ""


def test_a_file_that_becomes_shorter_is_refused(repo: Repo) -> None:
    path = write(repo, "m.bin", FILES["sub/opaque.bin"])
    with pytest.raises(GitNNError, match=r"m\.bin changed while it was read"):
        staged(repo, lambda _: os.truncate(path, 100))


def test_progress_is_of_every_byte_once(repo: Repo) -> None:
    fill(repo)
    told: list[int] = []
    assert len(staged(repo, told.append)) == len(FILES)
    assert sum(told) == sum(map(len, FILES.values()))


def test_a_broken_file_is_added_with_a_note(repo: Repo) -> None:
    broken = FILES["m.safetensors"][:-1]
    write(repo, "m.safetensors", broken)
    said = repo.nn("add", ".").errors
    assert said == repo.git("hash-object", "--stdin", "--path=m.safetensors", stdin=broken).errors
    assert said.startswith("git-nn: m.safetensors: ")
