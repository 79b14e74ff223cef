from __future__ import annotations

import os
from pathlib import Path

import pytest

from git_nn.errors import GitError, UsageError
from git_nn.gitio import attributes, config
from git_nn.gitio.repository import Repository, find
from tests.support.git import Repo


@pytest.fixture
def plain(tmp_path: Path) -> Repo:
    return init(tmp_path / "plain")


def init(path: Path, *options: str) -> Repo:
    path.mkdir(parents=True)
    repo = Repo(path)
    repo.git("init", "-q", "-b", "main", *options, ".")
    return repo


def opened(path: Path, **env: str) -> Repository:
    return find(path, {**os.environ, **env})


def test_a_repository_is_found_from_any_folder_of_it(plain: Repo) -> None:
    (plain.path / "a" / "b").mkdir(parents=True)
    repo = opened(plain.path / "a" / "b")
    assert repo.work_tree == plain.path
    assert repo.git_dir == repo.common_dir == plain.path / ".git"
    assert repo.nn_dir == plain.path / ".git" / "nn"
    assert repo.git("rev-parse", "--show-cdup") == b"\n"


def test_outside_of_a_repository_the_next_step_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not in a Git repository; go to one, or run 'git init'"):
        opened(tmp_path)


def test_a_bare_repository_has_no_work_tree(tmp_path: Path) -> None:
    bare = init(tmp_path / "bare.git", "--bare")
    repo = opened(bare.path)
    assert (repo.git_dir, repo.common_dir, repo.work_tree) == (bare.path, bare.path, None)
    assert repo.git("rev-parse", "--is-bare-repository") == b"true\n"


def test_inside_of_the_git_folder_there_is_no_work_tree(plain: Repo) -> None:
    repo = opened(plain.path / ".git")
    assert repo.work_tree is None
    assert repo.nn_dir == plain.path / ".git" / "nn"


def test_linked_worktrees_share_the_store(plain: Repo, tmp_path: Path) -> None:
    plain.git("commit", "-q", "--allow-empty", "-m", "x")
    plain.git("worktree", "add", "-q", str(tmp_path / "linked"))
    repo = opened(tmp_path / "linked")
    assert repo.work_tree == tmp_path / "linked"
    assert repo.git_dir == plain.path / ".git" / "worktrees" / "linked"
    assert repo.common_dir == plain.path / ".git"
    assert repo.index_file == repo.git_dir / "index"
    assert repo.git("rev-parse", "--show-toplevel").strip() == os.fsencode(tmp_path / "linked")


def test_a_submodule_has_a_store_of_its_own(plain: Repo, tmp_path: Path) -> None:
    inner = init(tmp_path / "inner")
    inner.git("commit", "-q", "--allow-empty", "-m", "x")
    plain.git("-c", "protocol.file.allow=always", "submodule", "-q", "add", str(inner.path), "sub")
    repo = opened(plain.path / "sub")
    assert repo.work_tree == plain.path / "sub"
    assert repo.nn_dir == plain.path / ".git" / "modules" / "sub" / "nn"


def test_a_sha256_repository_is_known_as_one(tmp_path: Path) -> None:
    made = init(tmp_path / "r", "--object-format=sha256")
    assert opened(made.path).object_format == "sha256"


@pytest.mark.parametrize("name", ["a\nb", "a b ", "naïve", os.fsdecode(b"\xff")])
def test_folders_may_have_any_name(tmp_path: Path, name: str) -> None:
    made = init(tmp_path / name)
    assert opened(made.path).work_tree == made.path
    assert opened(made.path).git_dir == made.path / ".git"


def test_relative_variables_hold_from_everywhere(plain: Repo, tmp_path: Path) -> None:
    plain.write("f", b"1")
    plain.git("add", "f")
    plain.git("read-tree", "--empty", env={"GIT_INDEX_FILE": "other-index"})
    repo = opened(plain.path, GIT_DIR=".git", GIT_INDEX_FILE="other-index")
    assert repo.index_file == plain.path / "other-index"
    assert repo.git("ls-files", cwd=tmp_path) == b""
    assert opened(plain.path, GIT_DIR=".git").git("ls-files", cwd=plain.path) == b"f\n"
    objects = opened(plain.path, GIT_OBJECT_DIRECTORY=".git/objects").object_dir
    assert objects == plain.path / ".git" / "objects"


def test_a_failure_names_the_command_and_gits_last_words(plain: Repo) -> None:
    repo = opened(plain.path)
    with pytest.raises(GitError, match="cat-file -t nothing"):
        repo.git("cat-file", "-t", "nothing")
    assert repo.git("cat-file", "-t", "nothing", check=False) == b""


def test_a_failure_inside_of_a_pipeline_is_a_failure(plain: Repo) -> None:
    repo = opened(plain.path)
    with (
        pytest.raises(GitError, match="rev-list nothing"),
        repo.pipe(("rev-list", "nothing"), ("cat-file", "--batch-check")) as output,
    ):
        assert output.read() == b""


def test_settings_of_a_person_do_not_change_what_is_read(plain: Repo) -> None:
    plain.write("f", b"1")
    env = {"GIT_LITERAL_PATHSPECS": "1", "GIT_TRACE": "1", "GIT_EXTERNAL_DIFF": "false"}
    assert opened(plain.path, **env).git("status", "--porcelain") == b"?? f\n"


def test_settings_are_those_that_git_sees(plain: Repo) -> None:
    plain.git("config", "nn.merge", "mean")
    plain.git("config", "--add", "nn.merge", "ours")
    plain.git("config", "nn.limit", "2k")
    env = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "nn.Extra", "GIT_CONFIG_VALUE_0": "v"}
    settings = config.load(opened(plain.path, **env))
    assert settings.get("nn.merge") == "ours"
    assert settings.get_all("nn.merge") == ["mean", "ours"]
    assert settings.integer("nn.limit", 0) == 2048
    assert settings.get("nn.extra") == "v"
    assert settings.boolean("core.bare", True) is False


def test_attributes_come_from_every_place_that_git_reads(plain: Repo) -> None:
    plain.write(".gitattributes", b"*.h5 filter=nn -text nn-merge=mean\n")
    plain.write("sub/.gitattributes", b"a.h5 !filter diff\n")
    plain.write(".git/info/attributes", b"b.h5 nn-merge=ours\n")
    paths = [b"a.h5", b"sub/a.h5", b"b.h5", b"c", b"odd\n\xff.h5"]
    found = attributes.lookup(opened(plain.path), paths, ["filter", "text", "diff", "nn-merge"])
    assert found == {
        b"a.h5": {"filter": "nn", "text": "unset", "nn-merge": "mean"},
        b"sub/a.h5": {"text": "unset", "diff": "set", "nn-merge": "mean"},
        b"b.h5": {"filter": "nn", "text": "unset", "nn-merge": "ours"},
        b"c": {},
        b"odd\n\xff.h5": {"filter": "nn", "text": "unset", "nn-merge": "mean"},
    }


def test_attributes_of_the_index_are_not_those_of_the_work_tree(plain: Repo) -> None:
    plain.write(".gitattributes", b"* filter=nn\n")
    plain.git("add", ".gitattributes")
    plain.write(".gitattributes", b"")
    repo = opened(plain.path)
    assert attributes.lookup(repo, [b"x"], ["filter"]) == {b"x": {}}
    assert attributes.lookup(repo, [b"x"], ["filter"], cached=True) == {b"x": {"filter": "nn"}}
    assert attributes.lookup(repo, [], ["filter"]) == {}
