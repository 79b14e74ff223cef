"""git nn migrate: history into pointers and back, held against what plain Git says of it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from tests.support.git import Repo
from tests.support.models import normal, safetensors_file

MAGIC = b"git-nn pointer 1\n"
SIGNED = b"gpgsig -----BEGIN PGP SIGNATURE-----\n \n iQEzBAAB\n -----END PGP SIGNATURE-----\n"


def weights(seed: int, changed: float = 0.0) -> bytes:
    big = normal(seed, 220, 128)
    big[0, 0] += changed
    return safetensors_file({"w": big, "b": normal(seed + 1000, 32)})


def plain(path: Path) -> Repo:
    """A repository with git-nn set up that tracks nothing."""
    return Repo.create(path, patterns=())


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stock")


@pytest.fixture
def grown(tmp_path: Path, stock: Path) -> Repo:
    """Merges, tags, a rename, modes, links, a submodule, odd names: made once, then copied."""
    if not (stock / "repo").exists():
        _grow(plain(stock / "repo"))
    shutil.copytree(stock / "repo", tmp_path / "repo", symlinks=True)
    repo = Repo(tmp_path / "repo")
    repo.git("update-index", "-q", "--refresh", code=None)
    return repo


def _grow(repo: Repo) -> None:
    repo.write("run.sh", b"#!/bin/sh\n").chmod(0o755)
    (repo.path / "link").symlink_to("a/model.safetensors")
    repo.commit("no weights yet")
    repo.write("a/model.safetensors", weights(1))
    repo.write("a/.gitattributes", b"*.safetensors text=auto\n*.md text\n")
    repo.write("b/same.safetensors", weights(1)).chmod(0o755)
    repo.write("changing.safetensors", b"not yet trained\n")
    repo.write("empty.safetensors", b"")
    (repo.path / os.fsdecode(b"caf\xe9.safetensors")).write_bytes(weights(2))
    sub = repo.git("rev-parse", "HEAD").text.strip()
    repo.git("update-index", "--add", "--cacheinfo", f"160000,{sub},module")
    repo.git("add", "-A", "--", ".", ":!module")
    repo.git("update-index", "--add", "--cacheinfo", f"160000,{sub},module")
    (repo.path / "module").mkdir()
    repo.git("commit", "-q", "-m", "weights")
    repo.git("tag", "-a", "-m", "first\n\nof all", "v1")
    repo.git("switch", "-q", "-c", "side")
    repo.write("a/model.safetensors", weights(1, 0.5))
    repo.write("changing.safetensors", weights(3))
    repo.git("commit", "-q", "-a", "-m", "tuned")
    repo.git("switch", "-q", "main")
    repo.git("mv", "b/same.safetensors", "b/renamed.safetensors")
    repo.git("-c", "i18n.commitEncoding=ISO-8859-1", "commit", "-q", "-m", "moved")
    repo.git("merge", "-q", "--no-edit", "side")
    repo.git("commit", "-q", "--allow-empty", "-m", "nothing")
    repo.git("tag", "light")


def sign(repo: Repo) -> None:
    """A commit and a tag that say that they are signed."""
    raw = repo.git("cat-file", "commit", "HEAD").out
    header, _, message = raw.partition(b"\n\n")
    raw = header + b"\n" + SIGNED.removesuffix(b"\n") + b"\n\n" + message
    signed = repo.git("hash-object", "-t", "commit", "-w", "--stdin", stdin=raw).text.strip()
    repo.git("update-ref", "refs/heads/main", signed)
    tag = repo.git("cat-file", "tag", "v1").out
    tag += b"-----BEGIN PGP SIGNATURE-----\n\nx\n-----END PGP SIGNATURE-----\n"
    made = repo.git("hash-object", "-t", "tag", "-w", "--stdin", stdin=tag).text.strip()
    repo.git("update-ref", "refs/tags/v1", made)


def refs(repo: Repo) -> str:
    return repo.git("for-each-ref", "refs/heads", "refs/tags").text


def commits(repo: Repo) -> list[str]:
    """All commits, parents first, each in an order that is that of its dates and messages."""
    return repo.git("rev-list", "--topo-order", "--reverse", "main", "side", "v1").text.split()


def told(repo: Repo, oid: str) -> bytes:
    """All that a commit says of itself but for ids and signatures."""
    raw = repo.git("cat-file", "commit", oid).out.replace(b"\n" + SIGNED.rstrip(b"\n"), b"")
    lines = raw.split(b"\n")
    return b"\n".join(b"parent" if line.startswith(b"parent ") else line
                      for line in lines if not line.startswith(b"tree "))  # fmt: skip


def files(repo: Repo, oid: str) -> dict[bytes, tuple[bytes, ...]]:
    listed = repo.git("ls-tree", "-r", "-z", oid).out.split(b"\0")[:-1]
    rows = (line.split(b"\t", 1) for line in listed)
    return {path: tuple(head.split()) for head, path in rows}


def disk(repo: Repo) -> dict[str, bytes]:
    found = (p for p in repo.path.rglob("*") if ".git" not in p.parts and p.is_file())
    return {str(p): p.read_bytes() for p in found if p.name != ".gitattributes"}


def test_every_commit_has_pointers_and_all_else_as_it_was(grown: Repo) -> None:
    sign(grown)
    before, on_disk = commits(grown), disk(grown)
    old = [(told(grown, oid), files(grown, oid)) for oid in before]
    first_tag = grown.git("cat-file", "tag", "v1").out
    answer = grown.nn("migrate", "import", "--everything").text

    pointers: dict[str, tuple[str, bytes]] = {}
    after = commits(grown)
    assert after[0] == before[0], "nothing to change in it, so it is the same commit"
    assert [told(grown, oid) for oid in after] == [text for text, _ in old]
    for oid, (_, theirs) in zip(after[1:], old[1:], strict=True):
        ours = files(grown, oid)
        assert ours.keys() == theirs.keys() | {b".gitattributes"}
        for path, row in theirs.items():
            blob = row[2].decode()
            content = grown.blob(blob) if row[1] == b"blob" else b""
            if path.endswith(b".safetensors") and row[0] != b"120000" and content:
                assert grown.blob(ours[path][2].decode()).startswith(MAGIC)
                assert ours[path][0] == row[0], "the mode"
                pointers[ours[path][2].decode()] = (f"{oid}:{os.fsdecode(path)}", content)
            elif not path.endswith(b".gitattributes"):
                assert ours[path] == row
    assert len(pointers) == 5
    for spec, content in pointers.values():
        assert grown.git("cat-file", "--filters", spec).out == content
    assert grown.status() == ""
    assert disk(grown) == on_disk
    assert "2 signatures dropped" in answer
    tag = grown.git("cat-file", "tag", "v1").out
    assert tag.split(b"\n")[1:] == first_tag[: first_tag.index(b"-----BEGIN")].split(b"\n")[1:]
    assert grown.git("rev-parse", "v1^{commit}").text.strip() in after
    assert grown.git("fsck", "--strict").errors.count("error") == 0
    assert grown.nn("fsck").code == 0


def test_there_and_back_is_the_very_same_history(grown: Repo) -> None:
    before, on_disk = refs(grown), disk(grown)
    grown.nn("migrate", "import", "--everything")
    assert refs(grown) != before
    shutil.rmtree(grown.path / ".git/refs/original-nn")  # what undo would need: not looked at
    grown.nn("migrate", "export", "--everything")
    assert refs(grown) == before
    assert grown.status() == ""
    assert disk(grown) == on_disk


def test_undo_puts_back_refs_index_and_work_tree(grown: Repo) -> None:
    before, on_disk, head = refs(grown), disk(grown), grown.git("rev-parse", "HEAD").text
    grown.nn("migrate", "import")
    assert grown.git("rev-parse", "HEAD").text != head
    grown.nn("migrate", "undo")
    assert refs(grown) == before
    assert grown.git("for-each-ref", "refs/original-nn").text == ""
    assert grown.status() == ""
    assert disk(grown) == on_disk
    assert not (grown.path / ".gitattributes").exists()
    assert grown.nn("migrate", "undo", code=2).errors.startswith("git-nn: there is no migration")


def test_a_repository_of_sha256_without_a_work_tree_is_migrated(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    near = Repo(tmp_path / "new")
    near.git("init", "-q", "-b", "main", "--object-format=sha256", ".")
    near.write("model.safetensors", weights(1))
    before = near.commit()
    near.git("clone", "-q", "--bare", ".", str(tmp_path / "bare"))
    bare = Repo(tmp_path / "bare")
    bare.nn("migrate", "import")
    assert bare.blob("main:model.safetensors").startswith(MAGIC)
    bare.nn("migrate", "export")
    assert bare.git("rev-parse", "main").text.strip() == before


def test_undo_takes_no_commit_from_a_branch_that_went_on(grown: Repo) -> None:
    grown.nn("migrate", "import", "--everything")
    grown.git("commit", "-q", "--allow-empty", "-m", "more")
    now = refs(grown)
    assert "was moved since" in grown.nn("migrate", "undo", code=2).errors
    assert refs(grown) == now


def test_a_dry_run_tells_the_gain_and_changes_nothing(grown: Repo) -> None:
    def everything() -> list[tuple[str, int]]:
        found = (p for p in (grown.path / ".git").rglob("*") if p.is_file())
        return sorted(
            (str(p), p.stat().st_size) for p in found if p.name not in ("index", "gc.lock")
        )

    before = everything()
    argv = ("migrate", "import", "--everything", "--json")
    dry = json.loads(grown.nn(*argv, "--dry-run").out)
    assert everything() == before
    [row] = dry["patterns"]
    sizes = {weights(1), weights(1, 0.5), weights(2), weights(3), b"not yet trained\n"}
    assert row["pattern"] == "*.safetensors"
    assert (row["versions"], row["bytes"]) == (5, sum(map(len, sizes)))
    assert row["stored"] < row["now"], "the tuned version costs what changed"
    done = json.loads(grown.nn(*argv).out)
    packs = (grown.path / ".git/nn/packs").rglob("*.nnp")
    assert done["patterns"] == dry["patterns"]
    assert row["stored"] == sum(p.stat().st_size for p in packs)


def test_a_glob_names_the_files_and_other_refs_stay(grown: Repo) -> None:
    side = grown.git("rev-parse", "side").text
    grown.nn("migrate", "import", "--include", "a/*.safetensors", "main")
    assert grown.git("rev-parse", "side").text == side
    assert grown.blob("main:a/model.safetensors").startswith(MAGIC)
    assert not grown.blob("main:b/renamed.safetensors").startswith(MAGIC)
    assert grown.status() == ""
    assert grown.read(".gitattributes") == b"a/*.safetensors filter=nn diff=nn merge=nn -text\n"


def kill_when(repo: Repo, state: str) -> Path:
    """Have the migration killed when the transaction of its refs is ``state``; the hook."""
    hook = repo.write(
        ".git/hooks/reference-transaction",
        b"#!/bin/sh\n"
        b'test "$1" = %s && { kill -9 $(ps -o ppid= -p $PPID); exit 1; }\n'
        b"exit 0\n" % state.encode(),
    )
    hook.chmod(0o755)
    return hook


def test_a_migration_that_is_killed_moves_no_ref(grown: Repo) -> None:
    before, on_disk = refs(grown), disk(grown)
    hook = kill_when(grown, "prepared")
    assert grown.nn("migrate", "import", "--everything", code=None).code == -9
    while any((grown.path / ".git/refs").rglob("*.lock")):
        pass  # git's own child is still letting go
    hook.unlink()
    assert (refs(grown), disk(grown), grown.status()) == (before, on_disk, "")
    grown.nn("migrate", "import", "--everything")
    assert grown.blob("main:a/model.safetensors").startswith(MAGIC)
    assert grown.nn("fsck").code == 0


def test_a_migration_that_is_killed_when_refs_have_moved_is_brought_along(grown: Repo) -> None:
    on_disk = disk(grown)
    hook = kill_when(grown, "committed")
    assert grown.nn("migrate", "import", "--everything", code=None).code == -9
    hook.unlink()
    for branch in ("main", "side"):
        assert grown.blob(f"{branch}:a/model.safetensors").startswith(MAGIC)
    grown.git("reset", "-q", "--hard")
    assert (disk(grown), grown.status()) == (on_disk, "")


def test_it_starts_only_from_a_clean_work_tree(grown: Repo) -> None:
    before = refs(grown)
    grown.write("run.sh", b"changed\n")
    assert "no commit has" in grown.nn("migrate", "import", code=2).errors
    grown.git("checkout", "-q", "run.sh")
    grown.write(".gitattributes", b"*.txt text\n")
    assert ".gitattributes is in no commit" in grown.nn("migrate", "import", code=2).errors
    (grown.path / ".gitattributes").unlink()
    grown.git("worktree", "add", "-q", str(grown.path.with_name("other")), "side")
    refused = grown.nn("migrate", "import", "--everything", code=2).errors
    assert "refs/heads/side is checked out in" in refused
    assert refs(grown) == before


def test_notes_are_found_at_the_new_commits(grown: Repo) -> None:
    grown.git("notes", "add", "-m", "accuracy 0.97", "HEAD")
    grown.nn("migrate", "import", "--everything")
    assert grown.git("notes", "show", "HEAD").text == "accuracy 0.97\n"


# -- Git LFS -------------------------------------------------------------------------------


@pytest.fixture
def with_lfs(tmp_path: Path) -> Repo:
    """Two versions of weights, and a picture, in Git LFS."""
    repo = plain(tmp_path / "repo")
    repo.git("lfs", "install", "--local")
    repo.git("lfs", "track", "*.safetensors", "*.png")
    repo.write("sub/model.safetensors", weights(1))
    repo.write("picture.png", b"\x89PNG\r\n" + bytes(200_000))
    repo.commit("one")
    repo.write("sub/model.safetensors", weights(1, 0.5))
    repo.commit("two")
    return repo


def test_weights_leave_git_lfs_and_come_back(with_lfs: Repo) -> None:
    on_disk, before = disk(with_lfs), refs(with_lfs)
    with_lfs.nn("migrate", "import")
    assert with_lfs.read(".gitattributes") == (
        b"*.png filter=lfs diff=lfs merge=lfs -text\n"
        b"*.safetensors filter=nn diff=nn merge=nn -text\n"
    )
    assert with_lfs.git("lfs", "ls-files", "-n", "HEAD").text == "picture.png\n"
    assert with_lfs.git("cat-file", "--filters", "HEAD~:sub/model.safetensors").out == weights(1)
    assert (with_lfs.status(), disk(with_lfs)) == ("", on_disk)

    shutil.rmtree(with_lfs.path / ".git/lfs/objects")
    with_lfs.nn("migrate", "export", "--to", "lfs")
    oids = [hashlib.sha256(weights(1, changed)).hexdigest() for changed in (0.0, 0.5)]
    kept = {p.name for p in (with_lfs.path / ".git/lfs/objects").rglob("*") if p.is_file()}
    assert kept == set(oids)
    listed = with_lfs.git("lfs", "ls-files", "-l", "HEAD").text
    assert f"{oids[1]} * sub/model.safetensors\n" in listed
    assert (with_lfs.status(), disk(with_lfs)) == ("", on_disk)
    trees = [with_lfs.git("ls-tree", f"{rev}:sub").text for rev in ("HEAD", before.split()[0])]
    assert trees[0] == trees[1], "the pointers are those that git-lfs wrote"


def test_a_pointer_of_git_lfs_in_the_work_tree_becomes_the_weights(with_lfs: Repo) -> None:
    name = "sub/model.safetensors"
    (with_lfs.path / name).unlink()
    with_lfs.git("checkout", "--", name, env={"GIT_LFS_SKIP_SMUDGE": "1"})
    assert with_lfs.read(name) == with_lfs.blob(f"HEAD:{name}")
    with_lfs.nn("migrate", "import")
    assert with_lfs.read(name) == weights(1, 0.5)
    assert with_lfs.status() == ""


def test_plain_files_do_not_fall_to_git_lfs(with_lfs: Repo) -> None:
    with_lfs.write("sub/.gitattributes", b"m* filter=lfs diff=lfs merge=lfs -text\n")
    with_lfs.write("sub/more.txt", b"for Git LFS\n")
    with_lfs.commit("three")
    with_lfs.nn("migrate", "import")
    assert with_lfs.blob("HEAD:sub/model.safetensors").startswith(MAGIC)
    assert with_lfs.status() == ""
    with_lfs.nn("migrate", "export")
    assert with_lfs.blob("HEAD:sub/model.safetensors") == weights(1, 0.5)
    assert with_lfs.status() == ""


def test_an_object_of_git_lfs_that_is_damaged_is_not_taken(with_lfs: Repo) -> None:
    oid = hashlib.sha256(weights(1)).hexdigest()
    path = with_lfs.path / f".git/lfs/objects/{oid[:2]}/{oid[2:4]}/{oid}"
    path.chmod(0o644)
    path.write_bytes(weights(2))
    before = refs(with_lfs)
    assert "sub/model.safetensors" in with_lfs.nn("migrate", "import", code=4).errors
    assert refs(with_lfs) == before


def test_an_object_that_git_lfs_has_not_here_is_named(with_lfs: Repo) -> None:
    oid = hashlib.sha256(weights(1)).hexdigest()
    (with_lfs.path / f".git/lfs/objects/{oid[:2]}/{oid[2:4]}/{oid}").unlink()
    before = refs(with_lfs)
    refused = with_lfs.nn("migrate", "import", code=2).errors
    assert "sub/model.safetensors" in refused
    assert "git lfs fetch --all" in refused
    assert refs(with_lfs) == before


def test_weights_that_are_not_here_are_named_and_nothing_is_exported(grown: Repo) -> None:
    grown.nn("migrate", "import", "--everything")
    before = refs(grown)
    shutil.rmtree(grown.path / ".git/nn/packs")
    refused = grown.nn("migrate", "export", "--everything", code=3).errors
    assert "git nn fetch --all" in refused
    assert "commit " in refused
    assert refs(grown) == before
