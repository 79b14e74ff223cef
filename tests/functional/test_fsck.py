"""fsck names what is broken, and mends what can be mended."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from git_nn.store.frame import HEADER_SIZE
from git_nn.store.info import FrameInfo, PackInfo
from tests.functional.test_gc import SYSTEM_DEATH
from tests.support import damage
from tests.support.damage import flip, packs, store_of, weights
from tests.support.git import Repo
from tests.unit.store.support import rewrite

NAME = "model.safetensors"


@pytest.fixture
def used(repo: Repo) -> Repo:
    repo.write(NAME, weights(1, "a", "b"))
    repo.commit("first")
    repo.write(NAME, weights(2, "a", "b"))
    repo.commit("second")
    return repo


def fsck(repo: Repo, *options: str, code: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(repo.nn("fsck", "--json", *options, code=code).text)
    assert found["exit_code"] == code
    return found


def kinds(found: dict[str, Any]) -> set[str]:
    return {finding["kind"] for finding in found["findings"]}


def oid_in(repo: Repo, rev: str, tensor: str) -> str:
    lines = repo.blob(f"{rev}:{NAME}").decode().split("\n")
    return lines[lines.index(f"tensor {tensor}") + 1].split()[2]


def frame_of(repo: Repo, oid: str) -> tuple[PackInfo, FrameInfo]:
    return next(
        (pack, frame)
        for pack in store_of(repo).packs()
        for frame in pack.frames
        if frame.id.hex() == oid
    )


def damage_tensor(repo: Repo, rev: str, tensor: str) -> None:
    pack, frame = frame_of(repo, oid_in(repo, rev, tensor))
    flip(pack.path, frame.offset + HEADER_SIZE + frame.clen // 2)


def test_a_whole_store_is_ok(used: Repo) -> None:
    assert used.nn("fsck").text == "ok: 2 pointers, 5 objects, 2 packs\n"
    assert fsck(used)["findings"] == []
    assert fsck(used, "--connectivity")["findings"] == []


def test_a_repository_without_models_is_ok(repo: Repo) -> None:
    assert repo.nn("fsck").text == "ok: 0 pointers, 0 objects, 0 packs\n"


def test_a_pack_that_is_gone_is_told_by_tensor_file_and_commit(used: Repo) -> None:
    commit = used.git("rev-parse", "--short", "HEAD~1").text.strip()
    pack, _ = frame_of(used, oid_in(used, "HEAD~1", "a"))
    pack.path.unlink()
    text = used.nn("fsck", code=3).text
    assert f"missing: tensor a of {NAME} (commit {commit}) is not in the store\n" in text
    assert f"missing: tensor b of {NAME} (commit {commit}) is not in the store\n" in text
    assert "the skeleton" in text
    found = fsck(used, "--connectivity", code=3)
    assert {item["path"] for item in found["findings"]} == {NAME}


def test_what_the_index_needs_is_told_as_such(used: Repo) -> None:
    pack, _ = frame_of(used, oid_in(used, "HEAD", "a"))
    pack.path.unlink()
    assert f"tensor a of {NAME} (in the index) is not in the store" in used.nn("fsck", code=3).text


def test_a_flipped_bit_is_told_by_tensor_and_pack(used: Repo) -> None:
    damage_tensor(used, "HEAD", "b")
    found = fsck(used, code=4)
    pack, _ = frame_of(used, oid_in(used, "HEAD", "b"))
    assert {item["pack"] for item in found["findings"]} == {pack.name, ""}
    assert (
        [item["what"] for item in found["findings"] if item["path"]] == ["tensor b"]
        if all("path" in item for item in found["findings"])
        else "tensor b" in str(found)
    )
    assert "tensor a" not in str(found)
    assert fsck(used, "--connectivity")["findings"] == []


@pytest.mark.parametrize("region", ["pack header", "frame header", "frame body", "end"])
def test_a_flip_anywhere_in_a_pack_is_found_and_the_rest_is_still_read(
    used: Repo, region: str
) -> None:
    pack, frame = frame_of(used, oid_in(used, "HEAD", "b"))
    offsets = {
        "pack header": 3,
        "frame header": frame.offset + 33,
        "frame body": frame.offset + HEADER_SIZE + 7,
        "end": -1,
    }
    flip(pack.path, offsets[region])
    found = fsck(used, code=4)
    assert pack.name in {item["pack"] for item in found["findings"]}
    used.nn("fsck", "--repair")
    assert used.git("cat-file", "--filters", f"HEAD:{NAME}").out == weights(2, "a", "b")


@pytest.mark.parametrize("keep", [0, 10, 16, 200])
def test_a_truncated_pack_is_found(used: Repo, keep: int) -> None:
    pack, _ = frame_of(used, oid_in(used, "HEAD", "b"))
    damage.truncate(pack.path, keep)
    fsck(used, code=4)
    used.nn("fsck", "--repair")
    assert used.git("cat-file", "--filters", f"HEAD:{NAME}").out == weights(2, "a", "b")


def test_without_its_index_a_pack_is_read_and_the_index_is_rebuilt(used: Repo) -> None:
    for path in packs(used):
        path.with_suffix(".idx").unlink()
    found = fsck(used)
    assert kinds(found) == {"index"}
    assert used.git("cat-file", "--filters", f"HEAD~1:{NAME}").out == weights(1, "a", "b")
    assert len(fsck(used, "--repair")["repaired"]) == 2
    assert fsck(used)["findings"] == []


def test_damaged_and_swapped_indexes_are_found_and_rebuilt(used: Repo) -> None:
    one, two = (path.with_suffix(".idx") for path in packs(used))
    one.rename(one.with_suffix(".tmp"))
    two.rename(one)
    one.with_suffix(".tmp").rename(two)
    assert kinds(fsck(used)) == {"index"}
    fsck(used, "--repair")
    assert fsck(used)["findings"] == []
    flip(one, 1200)
    assert kinds(fsck(used)) == {"index"}
    fsck(used, "--repair")
    assert fsck(used)["findings"] == []


def test_an_index_without_its_pack_is_removed(used: Repo) -> None:
    stray = (
        packs(used)[0]
        .with_suffix(".idx")
        .rename(packs(used)[0].with_name("ab" * 32).with_suffix(".idx"))
    )
    assert "index of pack abababababab" in str(fsck(used, "--repair")["repaired"])
    assert not stray.exists()


def test_the_work_tree_gives_back_what_is_lost(used: Repo) -> None:
    pack, _ = frame_of(used, oid_in(used, "HEAD", "a"))
    pack.path.unlink()
    found = fsck(used, "--repair")
    assert f"the file {NAME}" in str(found["repaired"])
    assert fsck(used)["findings"] == []
    assert used.status() == ""


def test_another_work_tree_gives_back_what_is_lost(used: Repo, tmp_path: Path) -> None:
    used.git("worktree", "add", "-q", "--detach", str(tmp_path / "other"), "HEAD~1")
    pack, _ = frame_of(used, oid_in(used, "HEAD~1", "a"))
    pack.path.unlink()
    fsck(used, code=3)
    fsck(used, "--repair")
    assert used.git("cat-file", "--filters", f"HEAD~1:{NAME}").out == weights(1, "a", "b")


def test_a_clone_on_this_machine_gets_everything_back_from_its_origin(
    used: Repo, tmp_path: Path
) -> None:
    used.git("clone", "-q", str(used.path), str(tmp_path / "clone"))
    clone = Repo(tmp_path / "clone")
    clone.nn("install", "--local")
    notes = fsck(clone)["findings"]
    assert "5 objects of other versions are not here yet" in str(notes)
    found = fsck(clone, "--repair")
    assert not found["findings"]
    assert "from another store on this machine" in str(found["repaired"])
    assert clone.git("cat-file", "--filters", f"HEAD~1:{NAME}").out == weights(1, "a", "b")


def test_the_trash_gives_back_what_is_lost(used: Repo) -> None:
    store = store_of(used)
    with store.exclusive():
        for pack in list(store.packs()):
            store.retire(pack.name)
    assert (packs(used), len(damage.trashed(used))) == ([], 2)
    assert fsck(used)["packs"] == 2
    assert damage.trashed(used) == []


def test_an_alternate_is_as_good(used: Repo, tmp_path: Path) -> None:
    used.git("clone", "-q", "--shared", str(used.path), str(tmp_path / "shared"))
    shared = Repo(tmp_path / "shared")
    shared.nn("install", "--local")
    found = fsck(shared)
    assert (found["pointers"], found["packs"]) == (2, 0)


def test_what_is_not_damaged_in_a_damaged_pack_is_saved(used: Repo) -> None:
    merged = damage.merge_packs(used)
    damage_tensor(used, "HEAD~1", "a")
    found = fsck(used, "--repair", code=3)
    assert [item["what"] for item in found["findings"] if item["kind"] == "missing"] == ["tensor a"]
    assert any(item["kind"] == "note" and item["pack"] == merged for item in found["findings"])
    assert (damage.nn_dir(used) / "bad" / f"{merged}.nnp").exists()
    assert used.git("cat-file", "--filters", f"HEAD:{NAME}").out == weights(2, "a", "b")
    used.git("cat-file", "--filters", f"HEAD~1:{NAME}", code=128)


def test_a_second_copy_makes_damage_harmless(used: Repo) -> None:
    names = [pack.name for pack in store_of(used).packs()]
    store = store_of(used)
    rewrite(store, {frame.id for pack in store.packs() for frame in pack.frames}, names)
    damage_tensor(used, "HEAD~1", "a")
    found = fsck(used, code=4)
    assert not any("path" in item for item in found["findings"])
    fsck(used, "--repair")
    assert used.git("cat-file", "--filters", f"HEAD~1:{NAME}").out == weights(1, "a", "b")


def test_an_object_that_is_lost_stays_named(used: Repo) -> None:
    pack, _ = frame_of(used, oid_in(used, "HEAD~1", "a"))
    pack.path.unlink()
    result = used.nn("fsck", "--repair", code=3)
    assert f"missing: tensor a of {NAME}" in result.text
    assert "git nn pull" in result.errors


def test_a_segment_that_is_lost_is_told_as_its_tensor(repo: Repo) -> None:
    """A tensor of two segments in two packs: the list is whole, one segment is not."""
    repo.write("large.safetensors", weights(3, "large", rows=40_000))
    repo.commit()
    store = store_of(repo)
    (pack,) = store.packs()
    lost = next(frame.parts[1] for frame in pack.frames if frame.parts)
    keep = {frame.id for frame in pack.frames if frame.id != lost}
    rewrite(store, keep, [pack.name])
    pack.path.unlink()
    found = fsck(repo, code=3)
    assert [(item["kind"], item["what"]) for item in found["findings"]] == [
        ("missing", "tensor large")
    ]
    fsck(repo, "--repair")
    assert fsck(repo)["findings"] == []


def test_a_broken_pointer_in_the_index_is_told_and_one_in_history_is_a_note(used: Repo) -> None:
    text = used.blob(f"HEAD:{NAME}").replace(b"tensor b\n", b"tensor b \n")
    blob = used.git("hash-object", "-w", "--stdin", "--no-filters", stdin=text).text.strip()
    used.git("update-index", "--cacheinfo", f"100644,{blob},{NAME}")
    found = fsck(used, code=6)
    assert [(item["kind"], item["path"]) for item in found["findings"]] == [("pointer", NAME)]
    used.git("commit", "-q", "-m", "broken")
    fsck(used, code=6)
    used.git("reset", "-q", "HEAD~1")
    used.git("tag", "broken", "HEAD@{1}")
    assert kinds(fsck(used)) == {"note"}


def test_a_repair_that_is_killed_at_any_call_loses_nothing(used: Repo) -> None:
    damage.merge_packs(used)
    damage_tensor(used, "HEAD", "a")
    packs(used)[0].with_suffix(".idx").unlink()
    script = used.path.parent / "die.py"
    script.write_text(SYSTEM_DEATH)
    nn, saved = damage.nn_dir(used), used.path.parent / "saved"
    shutil.copytree(nn, saved)
    deaths = 0
    while True:
        result = used.run(
            sys.executable, str(script), str(deaths + 1), "fsck", "--repair", code=None
        )
        if result.code != 77:
            break
        deaths += 1
        if deaths % 8 == 0:
            assert "ok:" in used.nn("fsck", "--repair").text
            assert used.git("cat-file", "--filters", f"HEAD~1:{NAME}").out == weights(1, "a", "b")
        shutil.rmtree(nn)
        shutil.copytree(saved, nn)
    assert result.code == 0, result.errors
    assert deaths >= 10


def test_a_store_that_cannot_be_written_is_still_checked(used: Repo) -> None:
    for path in damage.nn_dir(used).rglob("*"):
        if path.is_dir():
            path.chmod(0o555)
    try:
        assert "ok:" in used.nn("fsck").text
    finally:
        for path in damage.nn_dir(used).rglob("*"):
            if path.is_dir():
                path.chmod(0o755)


def test_a_partial_clone_says_that_it_did_not_look_everywhere(used: Repo, tmp_path: Path) -> None:
    used.git("config", "uploadpack.allowFilter", "true")
    far = f"file://{used.path}"
    used.git("clone", "-q", "--no-checkout", "--filter=blob:none", far, str(tmp_path / "partial"))
    partial = Repo(tmp_path / "partial")
    assert "were not looked into" in partial.nn("fsck").text


def test_settings_in_the_environment_do_not_matter(used: Repo) -> None:
    env = {"GIT_LITERAL_PATHSPECS": "1", "GIT_DIR": ".git", "GIT_PREFIX": "x/"}
    assert used.nn("fsck", env=env).text == "ok: 2 pointers, 5 objects, 2 packs\n"
    assert os.environ.get("GIT_DIR") is None
