"""gc takes what nothing needs, and never anything else."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from git_nn.fsck import check
from git_nn.gc import MANY_SMALL
from git_nn.gitio.repository import find
from tests.support import damage
from tests.support.damage import empty_trash, forget_reflogs, packs, trashed, weights
from tests.support.git import Repo

SYSTEM_DEATH = """
import os, sys
from git_nn.store import system

left = int(sys.argv[1])

def dying(call):
    def counted(*args, **options):
        global left
        left -= 1
        if left == 0:
            os._exit(77)
        return call(*args, **options)
    return counted

for name in ("open_excl", "write", "fsync", "fsync_dir", "rename", "unlink", "mkdir", "rmdir",
             "utime", "link", "try_lock"):
    setattr(system, name, dying(getattr(system, name)))

from git_nn.cli.main import main
main(sys.argv[2:])
"""


def gc(repo: Repo, *options: str, code: int = 0) -> dict[str, object]:
    found: dict[str, object] = json.loads(repo.nn("gc", "--json", *options, code=code).text)
    return found


def checkout_is(repo: Repo, rev: str, name: str, data: bytes) -> None:
    assert repo.git("cat-file", "--filters", f"{rev}:{name}").out == data


def drop_branch(repo: Repo, data: bytes, name: str = "model.safetensors") -> str:
    """Commit ``data`` on a branch and drop the branch; the commit."""
    repo.git("switch", "-q", "-c", "side")
    repo.write(name, data)
    commit = repo.commit("side")
    repo.git("switch", "-q", "main")
    repo.git("branch", "-q", "-D", "side")
    return commit


@pytest.fixture
def used(repo: Repo) -> Repo:
    repo.write("model.safetensors", weights(1))
    repo.commit("first")
    return repo


def test_what_nothing_needs_goes_to_the_trash_and_then_for_good(used: Repo) -> None:
    commit = drop_branch(used, weights(2))
    forget_reflogs(used)
    found = gc(used, "--grace", "0")
    assert (len(found["retired"]), found["packs"], found["deleted"]) == (1, 2, [])  # type: ignore[arg-type]
    assert (len(packs(used)), len(trashed(used))) == (1, 1)
    used.nn("fsck")
    empty_trash(used)
    used.git("cat-file", "--filters", f"{commit}:model.safetensors", code=128)
    checkout_is(used, "HEAD", "model.safetensors", weights(1))


def test_what_is_in_the_trash_comes_back_when_it_is_needed(used: Repo) -> None:
    commit = drop_branch(used, weights(2))
    forget_reflogs(used)
    gc(used, "--grace", "0")
    used.git("checkout", "-q", commit)
    assert used.read("model.safetensors") == weights(2)
    assert used.status() == ""
    assert (len(packs(used)), trashed(used)) == (2, [])


def test_what_is_new_stays(used: Repo) -> None:
    drop_branch(used, weights(2))
    forget_reflogs(used)
    found = gc(used)
    assert (found["retired"], len(packs(used))) == ([], 2)
    assert found["too_new"] != 0
    for path in packs(used):
        os.utime(path, (time.time() - 15 * 86_400,) * 2)
    assert len(gc(used)["retired"]) == 1  # type: ignore[arg-type]


def test_a_dry_run_changes_nothing(used: Repo) -> None:
    drop_branch(used, weights(2))
    forget_reflogs(used)
    found = gc(used, "--grace", "0", "--dry-run")
    assert (len(found["retired"]), found["done"]) == (1, False)  # type: ignore[arg-type]
    assert (len(packs(used)), trashed(used)) == (2, [])


def test_it_says_what_it_would_free(used: Repo) -> None:
    drop_branch(used, weights(2))
    forget_reflogs(used)
    text = used.nn("gc", "--grace", "0", "-n").text
    assert "2 objects needed by 1 pointer; 2 packs, " in text
    assert "would move 1 pack to the trash" in text
    assert "KiB unneeded" in text
    assert "nothing to take away" in used.nn("gc").text


def test_reflogs_stashes_and_indexes_keep_what_they_name(used: Repo, tmp_path: Path) -> None:
    reflog = drop_branch(used, weights(2))
    used.write("model.safetensors", weights(3))
    used.git("stash", "-q")
    used.git("worktree", "add", "-q", "--detach", str(tmp_path / "other"))
    other = Repo(tmp_path / "other")
    other.write("model.safetensors", weights(4))
    other.git("add", "model.safetensors")
    used.write("staged.safetensors", weights(5))
    used.git("add", "staged.safetensors")
    used.write("staged.safetensors", b"")
    assert gc(used, "--grace", "0")["retired"] == []
    empty_trash(used)
    used.nn("fsck")
    checkout_is(used, reflog, "model.safetensors", weights(2))
    checkout_is(used, "stash", "model.safetensors", weights(3))
    checkout_is(other, "", "model.safetensors", weights(4))
    checkout_is(used, "", "staged.safetensors", weights(5))


def test_a_merge_under_way_keeps_all_three_sides(used: Repo) -> None:
    used.git("switch", "-q", "-c", "side")
    used.write("model.safetensors", weights(2))
    side = used.commit()
    used.git("switch", "-q", "main")
    used.write("model.safetensors", weights(3))
    used.commit()
    used.git("merge", "-q", "side", code=1)
    used.git("branch", "-q", "-D", "side")
    forget_reflogs(used)
    assert gc(used, "--grace", "0")["retired"] == []
    empty_trash(used)
    for stage, seed in ((1, 1), (2, 3), (3, 2)):
        checkout_is(used, f":{stage}", "model.safetensors", weights(seed))
    checkout_is(used, side, "model.safetensors", weights(2))


def test_a_record_of_a_conflict_keeps_what_it_names(used: Repo) -> None:
    commit = drop_branch(used, weights(2))
    oids = re.findall("[0-9a-f]{64}", used.blob(f"{commit}:model.safetensors").decode())
    assert len(oids) == 2
    forget_reflogs(used)
    record = damage.nn_dir(used) / "merge" / "some.json"
    record.parent.mkdir()
    record.write_text(json.dumps({"oids": oids}))
    assert gc(used, "--grace", "0")["retired"] == []
    record.unlink()
    assert len(gc(used, "--grace", "0")["retired"]) == 1  # type: ignore[arg-type]


def test_a_committed_pointer_with_conflict_markers_keeps_what_it_mentions(used: Repo) -> None:
    commit = drop_branch(used, weights(2))
    text = used.blob(f"{commit}:model.safetensors")
    forget_reflogs(used)
    broken = text.replace(
        b"tensor w\n", b"<<<<<<< ours\ntensor w\n=======\ntensor v\n>>>>>>> theirs\n"
    )
    blob = used.git("hash-object", "-w", "--stdin", "--no-filters", stdin=broken).text.strip()
    used.git("tag", "broken", blob)
    assert gc(used, "--grace", "0")["retired"] == []
    used.git("tag", "-d", "broken")
    assert len(gc(used, "--grace", "0")["retired"]) == 1  # type: ignore[arg-type]


def test_a_pack_that_is_mostly_dead_is_rewritten(used: Repo) -> None:
    commit = drop_branch(used, weights(8, "a", "b", "c"))
    forget_reflogs(used)
    merged = damage.merge_packs(used)
    before = packs(used)[0].stat().st_size
    found = gc(used, "--grace", "0")
    assert (found["rewritten"], len(found["new_packs"])) == ([merged], 1)  # type: ignore[arg-type]
    header = 16  # of the new pack
    assert packs(used)[0].stat().st_size == before - int(str(found["freed"])) + header
    empty_trash(used)
    used.nn("fsck")
    checkout_is(used, "HEAD", "model.safetensors", weights(1))
    used.git("cat-file", "--filters", f"{commit}:model.safetensors", code=128)


def test_many_small_packs_become_one(used: Repo) -> None:
    used.git("config", "nn.gcAuto", "0")  # it would be at work already, in the background
    for number in range(MANY_SMALL):
        used.write(f"m{number}.safetensors", weights(100 + number, rows=2))
    used.commit()
    assert len(packs(used)) == MANY_SMALL + 1
    gc(used)
    assert len(packs(used)) == 1
    empty_trash(used)
    used.nn("fsck")
    for number in range(MANY_SMALL):
        checkout_is(used, "HEAD", f"m{number}.safetensors", weights(100 + number, rows=2))
    assert gc(used)["rewritten"] == []


def test_nothing_is_swept_when_something_is_missing(used: Repo) -> None:
    needed = packs(used)[0]
    drop_branch(used, weights(2))
    forget_reflogs(used)
    needed.unlink()
    result = used.nn("gc", "--grace", "0", code=3)
    assert "objects that pointers need are not in the store" in result.errors
    assert "git nn fsck" in result.errors
    assert (len(packs(used)), trashed(used)) == (1, [])


def test_nothing_is_swept_when_a_git_object_is_missing(used: Repo) -> None:
    drop_branch(used, weights(2))
    forget_reflogs(used)
    blob = used.git("rev-parse", "HEAD:model.safetensors").text.strip()
    used.git("rm", "-q", "--cached", "model.safetensors")
    (used.path / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    assert gc(used, "--grace", "0", code=3)["blocked"] != []
    assert len(packs(used)) == 2


def test_nothing_is_swept_in_a_partial_clone_without_the_pointers(
    used: Repo, tmp_path: Path
) -> None:
    used.write("model.safetensors", weights(2))
    used.commit()
    used.git("config", "uploadpack.allowFilter", "true")
    used.git("clone", "-q", "--filter=blob:none", f"file://{used.path}", str(tmp_path / "partial"))
    partial = Repo(tmp_path / "partial")
    partial.nn("install", "--local")
    assert "partial clone" in str(gc(partial, "--grace", "0", code=3)["blocked"])


def test_nothing_is_swept_beside_a_pointer_of_a_newer_version(used: Repo) -> None:
    drop_branch(used, weights(2))
    forget_reflogs(used)
    text = used.blob("HEAD:model.safetensors").replace(b"pointer 1\n", b"pointer 2\n", 1)
    used.git("tag", "new", used.git("hash-object", "-w", "--stdin", stdin=text).text.strip())
    assert "newer than this git-nn" in str(gc(used, "--grace", "0", code=3)["blocked"])
    assert len(packs(used)) == 2


def test_nothing_is_swept_when_a_list_of_segments_is_damaged(used: Repo) -> None:
    used.write("big.safetensors", weights(3, "large", rows=33_000))  # more than one segment
    used.commit()
    drop_branch(used, weights(2))
    forget_reflogs(used)
    store = damage.store_of(used)
    for pack in store.packs():
        for frame in pack.frames:
            if frame.parts:
                damage.flip(pack.path, frame.offset + 112)
    gc(used, "--grace", "0", code=3)
    assert (len(packs(used)), trashed(used)) == (3, [])
    assert "missing: tensor large of big.safetensors" in used.nn("fsck", code=4).text


def test_a_gc_that_is_killed_at_any_call_loses_nothing(repo: Repo) -> None:
    """gc rewrites one pack, retires another, and dies at each of its system calls in turn."""
    for number in range(3):
        repo.write(f"m{number}.safetensors", weights(number, "a", rows=8))
    repo.commit()
    drop_branch(repo, weights(4, "a"), "m0.safetensors")
    damage.merge_packs(repo)
    drop_branch(repo, weights(5, "a"), "m0.safetensors")
    forget_reflogs(repo)
    script = repo.path.parent / "die.py"
    script.write_text(SYSTEM_DEATH)
    nn, saved = damage.nn_dir(repo), repo.path.parent / "saved"
    shutil.copytree(nn, saved)
    opened = find(repo.path, os.environ)
    deaths = 0
    while True:
        result = repo.run(
            sys.executable, str(script), str(deaths + 1), "gc", "--grace=0", code=None
        )
        if result.code == 0:
            break
        assert result.code == 77, result.errors
        deaths += 1
        assert check(opened, damage.store_of(repo)).exit_code == 0
        shutil.rmtree(nn)
        shutil.copytree(saved, nn)
    assert deaths >= 10
    empty_trash(repo)
    assert "ok: 3 pointers, 4 objects, 1 pack\n" in repo.nn("fsck").text
    for number in range(3):
        checkout_is(repo, "HEAD", f"m{number}.safetensors", weights(number, "a", rows=8))


def test_adding_while_gc_runs_loses_nothing(repo: Repo) -> None:
    """gc without any grace, again and again, beside adds of overlapping models."""
    command = [sys.executable, "-m", "git_nn.cli.main", "gc", "--grace", "0"]
    collector: subprocess.Popen[bytes] | None = None
    expected: dict[str, bytes] = {}
    for number in range(8):
        if collector is None or collector.poll() is not None:
            collector = subprocess.Popen(
                command, cwd=repo.path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        # The same content again and again: what is dropped here is relied upon there.
        repo.write("again.safetensors", weights(number % 3, "a", "b"))
        repo.write(f"m{number}.safetensors", weights(number % 4, "a"))
        repo.git("add", "-A")
        repo.git("rm", "-q", "--cached", "again.safetensors")
        expected[f"m{number}.safetensors"] = weights(number % 4, "a")
    assert collector is not None
    collector.wait(60)
    repo.git("commit", "-q", "-m", "all")
    gc(repo, "--grace", "0")
    assert "ok:" in repo.nn("fsck").text
    for name, data in expected.items():
        checkout_is(repo, "HEAD", name, data)


def test_gc_works_in_a_bare_repository_and_in_a_sha256_one(used: Repo, tmp_path: Path) -> None:
    used.git("clone", "-q", "--bare", str(used.path), str(tmp_path / "bare.git"))
    bare = Repo(tmp_path / "bare.git")
    assert gc(bare, "--grace", "0", code=3)["packs"] == 0
    other = Repo(tmp_path / "sha256")
    other.path.mkdir()
    other.git("init", "-q", "-b", "main", "--object-format=sha256", ".")
    other.nn("install", "--local")
    other.nn("track", "*.safetensors")
    other.write("model.safetensors", weights(1))
    other.commit()
    drop_branch(other, weights(2))
    forget_reflogs(other)
    assert len(gc(other, "--grace", "0")["retired"]) == 1  # type: ignore[arg-type]
    other.nn("fsck")


def test_outside_of_a_repository_gc_says_so(tmp_path: Path) -> None:
    assert "not in a Git repository" in Repo(tmp_path).nn("gc", code=2).errors
