"""Entries under a ref of a Git remote: what is fetched, who wins a race, what is refused."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from git_nn import reach
from git_nn.errors import RemoteError
from git_nn.gitio.repository import find
from git_nn.remote import catalogue, retry
from git_nn.remote.catalogue import Catalogue
from git_nn.remote.in_git import REF, GitRemote
from git_nn.store.local import LocalStore
from tests.contract.remote_contract import made, whole
from tests.support.git_servers import bare, clone, git

BIG = 200_000  # bytes; a pack that does not come with the ref


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST", 0.001)


def opened(tmp_path: Path, name: str = "clone") -> Catalogue:
    return Catalogue(clone(tmp_path / name), (tmp_path / "far.git").as_uri(), "refs/nn/catalog")


def put(entries: Catalogue, **named: bytes) -> None:
    with entries.desk() as desk:
        desk.add({name: desk.blob(data) for name, data in named.items()})


def content(entries: Catalogue) -> dict[str, bytes | None]:
    found = entries.entries()
    return dict(zip(found, entries.read(list(found.values()), 1 << 20), strict=True))


def local_objects(repo_folder: Path) -> set[str]:
    (side,) = (repo_folder / ".git" / "nn" / "cache" / "remotes").glob("*/*.git")
    argv = ("cat-file", "--batch-all-objects", "--batch-check=%(objectname)")
    return set(git(side, *argv).decode().split())


def test_nothing_shows_in_the_clone(tmp_path: Path) -> None:
    bare(tmp_path / "far.git")
    repo = clone(tmp_path / "clone")
    pack = made(tmp_path, 1, BIG)
    with GitRemote(repo, (tmp_path / "far.git").as_uri()) as remote:
        remote.publish([pack])
        assert whole(remote, pack) == pack.path.read_bytes()
    assert repo.git("for-each-ref") == b""
    assert repo.git("count-objects").startswith(b"0 objects")
    assert not repo.git("config", "--get-regexp", "promisor|partial", check=False)
    needs = reach.find_needs(repo, LocalStore(repo.nn_dir))
    assert needs.complete
    assert not needs.pointers


def test_a_pack_is_fetched_when_it_is_read_and_not_before(tmp_path: Path) -> None:
    far = bare(tmp_path / "far.git")
    large, small = made(tmp_path, 1, BIG), made(tmp_path, 2, 1000)
    with GitRemote(clone(tmp_path / "one"), far.as_uri()) as remote:
        remote.publish([large, small])
    blob = git(far, "rev-parse", f"{REF}:packs/{large.name[:2]}/{large.name}.nnp").decode().strip()
    assert blob not in local_objects(tmp_path / "one")  # its publisher has it in the store
    with GitRemote(clone(tmp_path / "two"), far.as_uri()) as remote:
        assert dict(remote.indexes([large.name, small.name])) == {
            pack.name: pack.index for pack in (large, small)
        }
        assert blob not in local_objects(tmp_path / "two")
        assert whole(remote, large) == large.path.read_bytes()
        assert blob in local_objects(tmp_path / "two")


def test_a_publisher_needs_none_of_the_packs_that_are_there(tmp_path: Path) -> None:
    far = bare(tmp_path / "far.git")
    first, second = made(tmp_path, 1, BIG), made(tmp_path, 2, BIG)
    with GitRemote(clone(tmp_path / "one"), far.as_uri()) as remote:
        remote.publish([first])
    with GitRemote(clone(tmp_path / "two"), far.as_uri()) as remote:
        remote.publish([second])
    blob = git(far, "rev-parse", f"{REF}:packs/{first.name[:2]}/{first.name}.nnp").decode().strip()
    assert blob not in local_objects(tmp_path / "two")
    git(far, "fsck", "--connectivity-only")


def test_the_loser_of_a_race_tries_again(tmp_path: Path) -> None:
    bare(tmp_path / "far.git")
    slow, fast = opened(tmp_path, "slow"), opened(tmp_path, "fast")
    assert slow.entries() == {}
    put(fast, a=b"first")
    put(slow, b=b"second")
    assert content(fast) == {"a": b"first", "b": b"second"}


def test_an_answer_that_is_lost_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git says that the push failed, but it did not."""
    bare(tmp_path / "far.git")
    entries = opened(tmp_path)
    swapped = catalogue.Desk._swapped

    def twice(desk: catalogue.Desk, seen: catalogue._Seen, commit: str, number: int) -> bool:
        assert swapped(desk, seen, commit, number)
        return swapped(desk, seen, commit, number)  # now the old value is wrong

    monkeypatch.setattr(catalogue.Desk, "_swapped", twice)
    put(entries, a=b"one")
    assert content(entries) == {"a": b"one"}


def test_the_same_entries_are_the_same_commit(tmp_path: Path) -> None:
    far = bare(tmp_path / "far.git")
    names = []
    for name in ("one", "two"):
        put(opened(tmp_path, name), a=b"1", b=b"2")
        names.append(git(far, "rev-parse", "refs/nn/catalog"))
        git(far, "update-ref", "-d", "refs/nn/catalog")
    assert names[0] == names[1]


def test_a_bare_clone_with_odd_letters_in_its_path(tmp_path: Path) -> None:
    bare(tmp_path / "far.git")
    git(bare(tmp_path / 'a "b:c'), "config", "remote.origin.url", "unused")
    repo = find(tmp_path / 'a "b:c', os.environ)
    entries = Catalogue(repo, "../far.git", "refs/nn/catalog")
    put(entries, a=b"1")
    assert content(entries) == {"a": b"1"}


def test_the_configuration_of_the_clone_holds(tmp_path: Path) -> None:
    bare(tmp_path / "far.git")
    repo = clone(tmp_path / "clone")
    repo.git("config", f"url.{(tmp_path / 'far.git').as_uri()}.insteadOf", "short:far")
    entries = Catalogue(repo, "short:far", "refs/nn/catalog")
    put(entries, a=b"1")
    assert git(tmp_path / "far.git", "cat-file", "blob", "refs/nn/catalog:a") == b"1"


def test_the_clone_may_be_a_submodule_sparse_and_partial(tmp_path: Path) -> None:
    """What its configuration says of itself is not true of the catalogue's repository."""
    bare(tmp_path / "far.git")
    repo = clone(tmp_path / "clone")
    (tmp_path / "work").mkdir()
    for key, value in (
        ("core.worktree", str(tmp_path / "work")), ("core.sparseCheckout", "true"),
        ("index.sparse", "true"), ("core.splitIndex", "true"), ("remote.origin.promisor", "true"),
        ("remote.origin.url", "/nowhere"), ("push.followTags", "true"), ("push.default", "nothing"),
        ("commit.gpgSign", "true"), ("gpg.program", "/nowhere"), ("fetch.fsckObjects", "true"),
        ("submodule.recurse", "true"), ("core.autocrlf", "true"), ("remote.pushDefault", "origin"),
    ):  # fmt: skip
        repo.git("config", key, value)
    entries = Catalogue(find(tmp_path / "clone", os.environ), "../far.git", "refs/nn/catalog")
    put(entries, a=b"1\r\n")
    assert content(entries) == {"a": b"1\r\n"}
    assert git(tmp_path / "far.git", "for-each-ref", "--format=%(refname)") == b"refs/nn/catalog\n"


def test_a_host_that_refuses_the_ref_is_quoted(tmp_path: Path) -> None:
    far = bare(tmp_path / "far.git")
    hook = far / "hooks" / "update"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(RemoteError, match="hook declined") as caught:
        put(opened(tmp_path), a=b"1")
    assert "nn.url" in str(caught.value)
    assert git(far, "for-each-ref") == b""


def test_a_remote_that_is_not_there_is_named_without_its_password(tmp_path: Path) -> None:
    url = "http://ann:s3cret@127.0.0.1:9/far.git"
    entries = Catalogue(clone(tmp_path / "clone"), url, "refs/nn/catalog")
    with pytest.raises(RemoteError, match=r"127\.0\.0\.1:9") as caught:
        entries.entries()
    assert "s3cret" not in str(caught.value)


def test_no_hook_of_the_clone_runs(tmp_path: Path) -> None:
    bare(tmp_path / "far.git")
    repo = clone(tmp_path / "clone")
    (repo.git_dir / "hooks").mkdir(exist_ok=True)
    for name in ("pre-push", "reference-transaction"):
        hook = repo.git_dir / "hooks" / name
        hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\nexit 1\n")
        hook.chmod(0o755)
    repo.git("config", "core.hooksPath", str(repo.git_dir / "hooks"))
    put(opened(tmp_path), a=b"1")
    assert not (tmp_path / "ran").exists()


# -- remotes that mean harm


def planted(far: Path, listing: str, ref: str = REF) -> None:
    """Make ``ref`` a commit of this tree, given as for git mktree."""
    done = subprocess.run(
        ("git", "mktree", "--missing"), cwd=far, input=listing.encode(), capture_output=True
    )
    tree = done.stdout.decode().strip()
    commit = git(far, "commit-tree", tree, "-m", "x").decode().strip()
    git(far, "update-ref", ref, commit)


def hashed(far: Path, data: bytes, kind: str = "blob") -> str:
    argv = ("git", "hash-object", "-w", "-t", kind, "--stdin")
    return subprocess.run(argv, cwd=far, input=data, capture_output=True).stdout.decode().strip()


def test_a_tree_that_holds_itself_many_times_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "MAX_ENTRIES", 1000)
    far = bare(tmp_path / "far.git")
    kind, inner = "100644 blob", hashed(far, b"x")
    for _ in range(8):
        listing = "".join(f"{kind} {inner}\t{n}\n" for n in range(16))
        argv = ("git", "mktree")
        done = subprocess.run(argv, cwd=far, input=listing.encode(), capture_output=True)
        kind, inner = "040000 tree", done.stdout.decode().strip()
    planted(far, f"040000 tree {inner}\tpacks\n")
    with pytest.raises(RemoteError, match="too many entries"):
        GitRemote(clone(tmp_path / "clone"), far.as_uri()).packs()


@pytest.mark.parametrize("kind", ["120000 blob", "100755 blob", "160000 commit"])
def test_entries_that_are_no_plain_blobs_are_no_packs(tmp_path: Path, kind: str) -> None:
    far = bare(tmp_path / "far.git")
    name = "ab" * 32
    pack = hashed(far, b"pack")
    index = "1" * 40 if "commit" in kind else hashed(far, b"index")
    argv = ("git", "mktree", "--missing")
    listing = f"100644 blob {pack}\t{name}.nnp\n{kind} {index}\t{name}.idx\n"
    inner = subprocess.run(argv, cwd=far, input=listing.encode(), capture_output=True).stdout
    outer = f"040000 tree {inner.decode().strip()}\tab\n"
    outer = subprocess.run(argv, cwd=far, input=outer.encode(), capture_output=True).stdout
    planted(far, f"040000 tree {outer.decode().strip()}\tpacks\n")
    assert GitRemote(clone(tmp_path / "clone"), far.as_uri()).packs() == []


def test_an_entry_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    bare(tmp_path / "far.git")
    entries = opened(tmp_path)
    put(entries, a=b"12345", b=b"1234")
    blobs = entries.entries()
    assert list(entries.read([blobs["a"], blobs["b"]], 4)) == [None, b"1234"]


def test_a_pack_that_is_damaged_here_is_not_sent(tmp_path: Path) -> None:
    far = bare(tmp_path / "far.git")
    pack = made(tmp_path, 1)
    data = bytearray(pack.path.read_bytes())
    data[-1] ^= 1
    pack.path.chmod(0o644)
    pack.path.write_bytes(data)
    with pytest.raises(RemoteError, match="does not have the bytes"):
        GitRemote(clone(tmp_path / "clone"), far.as_uri()).publish([pack])
    assert git(far, "for-each-ref") == b""


# -- git's own server


@contextmanager
def daemon(root: Path) -> Iterator[str]:
    """git daemon on a free port of loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    argv = ("git", "daemon", "--listen=127.0.0.1", f"--port={port}", f"--base-path={root}",
            "--export-all", "--enable=receive-pack", "--verbose", str(root))  # fmt: skip
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as server:
        assert server.stderr is not None
        try:
            assert b"Ready" in server.stderr.readline()
            yield f"git://127.0.0.1:{port}"
        finally:
            server.terminate()


def test_git_daemon(tmp_path: Path) -> None:
    bare(tmp_path / "far.git")
    pack = made(tmp_path, 1, BIG)
    with daemon(tmp_path) as url:
        GitRemote(clone(tmp_path / "one"), f"{url}/far.git").publish([pack])
        there = GitRemote(clone(tmp_path / "two"), f"{url}/far.git")
        assert whole(there, pack) == pack.path.read_bytes()
