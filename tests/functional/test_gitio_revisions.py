from __future__ import annotations

import os
from pathlib import Path

import pytest

from git_nn.errors import GitError
from git_nn.gitio import revisions
from git_nn.gitio.repository import Repository, find
from git_nn.gitio.revisions import Entry
from tests.support.git import Repo


@pytest.fixture
def made(tmp_path: Path) -> Repo:
    path = tmp_path / "made"
    path.mkdir()
    repo = Repo(path)
    repo.git("init", "-q", "-b", "main", ".")
    repo.write("f", b"f1")
    repo.write("sub/g", b"g1")
    repo.commit()
    return repo


def opened(repo: Repo) -> Repository:
    return find(repo.path, os.environ)


def name(content: bytes, repo: Repo) -> str:
    return repo.git("hash-object", "--stdin", stdin=content).text.strip()


def reached(repo: Repo) -> set[bytes]:
    """The contents of all reachable blobs, read by the real git."""
    found = revisions.reachable_blobs(opened(repo))
    return {repo.git("cat-file", "blob", oid).out for oid, _ in found}


def test_the_index_and_trees_list_their_entries(made: Repo) -> None:
    f, g = name(b"f1", made), name(b"g1", made)
    entries = [Entry("100644", f, 0, b"f"), Entry("100644", g, 0, b"sub/g")]
    repo = opened(made)
    assert revisions.index(repo) == revisions.tree(repo, "HEAD") == entries
    assert (
        revisions.index(repo, [b"sub"]) == revisions.tree(repo, "HEAD", [b"sub/g"]) == entries[1:]
    )
    assert revisions.index(repo, [b"*"]) == []


def test_more_paths_than_a_command_line_holds_are_no_problem(made: Repo) -> None:
    many = [b"no/%d/%s" % (i, b"x" * 100) for i in range(3000)] + [b"sub/"]
    repo = opened(made)
    assert [entry.path for entry in revisions.index(repo, many)] == [b"sub/g"]
    assert [entry.path for entry in revisions.tree(repo, "HEAD", many)] == [b"sub/g"]


def test_a_rev_that_names_nothing_is_none(made: Repo) -> None:
    repo = opened(made)
    assert revisions.resolve(repo, "HEAD") == made.git("rev-parse", "HEAD").text.strip()
    assert revisions.resolve(repo, "main:f") == name(b"f1", made)
    assert revisions.resolve(repo, "nothing") is None
    assert revisions.resolve(repo, "--all") is None
    with pytest.raises(GitError):
        revisions.tree(repo, "nothing")


def test_changes_between_trees_the_index_and_nothing(made: Repo) -> None:
    made.write("f", b"f2")
    made.write("new", b"n")
    made.git("rm", "-q", "sub/g")
    made.git("add", "f", "new")
    repo = opened(made)
    staged = {c.path: (c.old, c.new) for c in revisions.changed(repo, "HEAD", None)}
    assert staged == {
        b"f": (
            Entry("100644", name(b"f1", made), 0, b"f"),
            Entry("100644", name(b"f2", made), 0, b"f"),
        ),
        b"new": (None, Entry("100644", name(b"n", made), 0, b"new")),
        b"sub/g": (Entry("100644", name(b"g1", made), 0, b"sub/g"), None),
    }
    made.git("commit", "-q", "-m", "two")
    between = {c.path: (c.old, c.new) for c in revisions.changed(repo, "HEAD~1", "HEAD")}
    assert between == staged
    assert {c.path for c in revisions.changed(repo, None, "HEAD")} == {b"f", b"new"}


def test_history_reflogs_stashes_and_the_index_are_reachable(made: Repo) -> None:
    made.write("f", b"f2")
    made.commit()
    made.git("reset", "-q", "--hard", "HEAD~1")
    made.write("f", b"stashed")
    made.git("stash", "-q")
    made.write("f", b"staged")
    made.git("add", "f")
    assert reached(made) == {b"f1", b"g1", b"f2", b"stashed", b"staged"}


def test_other_worktrees_are_reachable(made: Repo, tmp_path: Path) -> None:
    made.git("worktree", "add", "-q", "--detach", str(tmp_path / "w"))
    other = Repo(tmp_path / "w")
    other.write("f", b"detached")
    other.commit()
    other.write("f", b"other index")
    other.git("add", "f")
    assert {b"detached", b"other index"} <= reached(made)


def test_refs_of_its_own_in_another_worktree_are_reachable(made: Repo, tmp_path: Path) -> None:
    made.git("worktree", "add", "-q", "--detach", str(tmp_path / "w"))
    other = Repo(tmp_path / "w")
    blob = other.git("hash-object", "-w", "--stdin", stdin=b"own").text.strip()
    other.git("update-ref", "refs/worktree/mine", blob)
    pseudo = other.git("hash-object", "-w", "--stdin", stdin=b"pseudo").text.strip()
    other.git("update-ref", "ORIG_HEAD", pseudo)
    assert {b"own", b"pseudo"} <= reached(made)


def test_conflict_stages_and_merge_heads_are_reachable(made: Repo) -> None:
    made.git("switch", "-q", "-c", "side")
    made.write("f", b"theirs")
    made.commit()
    made.git("switch", "-q", "main")
    made.write("f", b"ours")
    made.commit()
    made.git("merge", "-q", "side", code=1)
    made.git("branch", "-D", "side")
    made.git("reflog", "expire", "--expire=now", "--all")
    assert {b"ours", b"theirs", b"f1"} <= reached(made)


def test_what_a_stopped_rebase_holds_is_reachable(made: Repo) -> None:
    made.git("switch", "-q", "-c", "side")
    made.write("f", b"side")
    made.commit()
    made.write("x", b"side two")
    made.commit()
    made.git("switch", "-q", "main")
    made.write("f", b"main")
    made.commit()
    made.git("switch", "-q", "side")
    made.git("rebase", "main", code=1)
    made.git("update-ref", "-d", "ORIG_HEAD")
    made.git("update-ref", "-d", "refs/heads/side")
    made.git("reflog", "expire", "--expire=now", "--all")
    assert {b"side", b"side two", b"main"} <= reached(made)


def test_fetch_head_is_reachable(made: Repo, tmp_path: Path) -> None:
    far = Repo(tmp_path / "far")
    made.git("clone", "-q", str(made.path), str(far.path))
    far.write("f", b"fetched")
    far.commit()
    made.git("fetch", "-q", str(far.path), "main")
    assert b"fetched" in reached(made)


def test_replaced_history_is_reachable_on_both_sides(made: Repo) -> None:
    old = made.git("rev-parse", "HEAD").text.strip()
    made.write("f", b"f2")
    made.git("commit", "-q", "-a", "--amend", "-m", "other")
    new = made.git("rev-parse", "HEAD").text.strip()
    made.git("reset", "-q", "--hard", old)
    made.git("replace", old, new)
    made.git("reflog", "expire", "--expire=now", "--all")
    assert {b"f1", b"f2"} <= reached(made)


def test_a_missing_blob_is_told(made: Repo) -> None:
    oid = name(b"f1", made)
    (made.path / ".git" / "objects" / oid[:2] / oid[2:]).unlink()
    found = {blob.oid: blob.size for blob in revisions.reachable(opened(made))}
    assert found == {oid: None, name(b"g1", made): 2}


def test_a_missing_commit_is_an_error(made: Repo) -> None:
    made.write("f", b"f2")
    made.commit()
    oid = made.git("rev-parse", "HEAD~1").text.strip()
    (made.path / ".git" / "objects" / oid[:2] / oid[2:]).unlink()
    with pytest.raises(GitError):
        list(revisions.reachable(opened(made)))


def test_a_partial_clone_tells_what_it_has_not_and_fetches_nothing(
    made: Repo, tmp_path: Path
) -> None:
    made.git("config", "uploadpack.allowFilter", "true")
    partial = Repo(tmp_path / "partial")
    made.git(
        "clone",
        "-q",
        "--no-checkout",
        "--filter=blob:none",
        f"file://{made.path}",
        str(partial.path),
    )
    found = {blob.oid: blob.size for blob in revisions.reachable(opened(partial))}
    assert found == {name(b"f1", made): None, name(b"g1", made): None}


def test_an_empty_repository_has_nothing(tmp_path: Path) -> None:
    repo = Repo(tmp_path)
    repo.git("init", "-q", ".")
    assert list(revisions.reachable(opened(repo))) == []
    assert revisions.index(opened(repo)) == []


def test_a_sha256_repository_is_walked(tmp_path: Path) -> None:
    repo = Repo(tmp_path)
    repo.git("init", "-q", "--object-format=sha256", ".")
    repo.write("f", b"f1")
    repo.commit()
    assert reached(repo) == {b"f1"}
    assert [entry.path for entry in revisions.tree(opened(repo), "HEAD")] == [b"f"]
    assert [c.path for c in revisions.changed(opened(repo), None, "HEAD")] == [b"f"]


def test_paths_are_told_as_bytes(made: Repo) -> None:
    made.write("spa ce", b"s")
    made.write(os.fsdecode(b"\xff"), b"ff")
    made.commit()
    found = {blob.path for blob in revisions.reachable(opened(made))}
    assert found == {b"f", b"sub/g", b"spa ce", b"\xff"}
