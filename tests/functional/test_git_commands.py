"""Plain Git works: every command gives back equal bytes and leaves a clean status."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.git import Repo
from tests.support.models import normal, safetensors_file


def model(a: int, b: int, c: int = 0) -> bytes:
    return safetensors_file({"a": normal(a, 40, 30), "b": normal(b, 50), "c": normal(c, 9, 9)})


BASE, TUNED, OTHER = model(1, 1), model(2, 1), model(1, 2)
BOTH = model(2, 2)


@dataclass(frozen=True)
class History:
    """main: BASE then OTHER; branch tune (from BASE): TUNED. On main, clean."""

    repo: Repo
    base: str
    tuned: str
    other: str


@pytest.fixture
def history(repo: Repo) -> History:
    repo.write("sub dir/model.safetensors", BASE)
    base = repo.commit("base")
    repo.git("switch", "-q", "-c", "tune")
    repo.write("sub dir/model.safetensors", TUNED)
    tuned = repo.commit("tune")
    repo.git("switch", "-q", "main")
    repo.write("sub dir/model.safetensors", OTHER)
    other = repo.commit("other")
    assert repo.status() == ""
    return History(repo, base, tuned, other)


def content(repo: Repo) -> bytes:
    assert repo.status() == ""
    return repo.read("sub dir/model.safetensors")


def test_git_holds_a_pointer_of_a_few_hundred_bytes(history: History) -> None:
    text = history.repo.blob("HEAD:sub dir/model.safetensors")
    assert text.startswith(b"git-nn pointer 1\n")
    assert len(text) < 700 < len(OTHER)
    assert b"\ntensor a\n  f32 40x30 " in text


def test_checkout_switch_and_restore_bring_each_version_back(history: History) -> None:
    repo = history.repo
    for command, expected in (
        (("checkout", "-q", history.base), BASE),
        (("switch", "-q", "tune"), TUNED),
        (("checkout", "-q", "main"), OTHER),
        (("restore", "--source", "tune", "--staged", "--worktree", "."), TUNED),
    ):
        repo.git(*command)
        assert repo.read("sub dir/model.safetensors") == expected
    assert repo.status() == 'M  "sub dir/model.safetensors"\n'
    repo.git("reset", "-q", "--hard")
    assert content(repo) == OTHER


def test_a_deleted_file_is_restored(history: History) -> None:
    (history.repo.path / "sub dir/model.safetensors").unlink()
    history.repo.git("checkout", "--", ".")
    assert content(history.repo) == OTHER


def test_stash_and_pop(history: History) -> None:
    repo = history.repo
    repo.write("sub dir/model.safetensors", BOTH)
    repo.git("stash")
    assert content(repo) == OTHER
    repo.git("stash", "pop")
    assert repo.read("sub dir/model.safetensors") == BOTH
    repo.commit("both")
    assert content(repo) == BOTH


def test_merge_takes_each_tensor_from_the_side_that_changed_it(history: History) -> None:
    history.repo.git("merge", "-q", "--no-edit", "tune")
    assert content(history.repo) == BOTH


def test_rebase_cherry_pick_and_revert(history: History) -> None:
    repo = history.repo
    repo.git("rebase", "-q", "main", "tune")
    assert content(repo) == BOTH
    repo.git("switch", "-q", "-c", "picked", history.base)
    repo.git("cherry-pick", history.tuned)
    assert content(repo) == TUNED
    repo.git("cherry-pick", history.other)
    assert content(repo) == BOTH
    repo.git("revert", "--no-edit", "HEAD~1")
    assert content(repo) == OTHER


def test_worktrees_share_one_store(history: History, tmp_path: Path) -> None:
    repo = history.repo
    repo.git("worktree", "add", "-q", str(tmp_path / "second"), "tune")
    second = Repo(tmp_path / "second")
    assert content(second) == TUNED
    second.write("sub dir/model.safetensors", model(5, 5))
    second.commit("in the second worktree")
    assert not (tmp_path / "second" / ".git" / "nn").exists()
    repo.git("switch", "-q", "--detach", "tune")
    assert content(repo) == model(5, 5)


def test_archive_holds_the_weights(history: History) -> None:
    packed = history.repo.git("archive", "tune").out
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        member = archive.extractfile("sub dir/model.safetensors")
        assert member is not None
        assert member.read() == TUNED


def test_cat_file_filters_gives_the_weights(history: History) -> None:
    argv = ("cat-file", "--filters", "tune:sub dir/model.safetensors")
    assert history.repo.git(*argv).out == TUNED


def test_bisect_checks_out_real_weights(history: History) -> None:
    repo = history.repo
    for seed in range(10, 16):
        repo.write("sub dir/model.safetensors", model(seed, seed))
        repo.commit(f"step {seed}")
    repo.git("bisect", "start", "HEAD", history.base)
    test = (
        "import sys; from pathlib import Path; "
        "sys.exit(Path('sub dir/model.safetensors').read_bytes() not in "
        "[Path(p).read_bytes() for p in sys.argv[1:]])"
    )
    good = []
    for i, data in enumerate((OTHER, model(10, 10), model(11, 11))):
        path = repo.path.parent / f"good{i}"
        path.write_bytes(data)
        good.append(str(path))
    found = repo.git("bisect", "run", "python3", "-c", test, *good)
    assert "step 12" in found.text
    repo.git("bisect", "reset")
    assert content(repo) == model(15, 15)


@pytest.mark.parametrize("how", [(), ("--no-local",), ("--shared",), ("--depth=1", "--no-local")])
def test_a_clone_of_a_folder_has_the_weights(
    history: History, tmp_path: Path, how: tuple[str, ...]
) -> None:
    source = f"file://{history.repo.path}" if "--depth=1" in how else str(history.repo.path)
    history.repo.nn("install")
    history.repo.git("clone", "-q", *how, source, str(tmp_path / "clone"))
    clone = Repo(tmp_path / "clone")
    assert content(clone) == OTHER
    assert clone.nn("fsck").code == 0  # what only history needs may be in the origin still
    clone.git("checkout", "-q", "HEAD" if "--depth=1" in how else "origin/tune")
    assert content(clone) == (OTHER if "--depth=1" in how else TUNED)
    assert clone.nn("fsck").code == 0


def test_a_clone_keeps_its_weights_when_its_origin_is_gone(
    history: History, tmp_path: Path
) -> None:
    history.repo.nn("install")
    history.repo.git("clone", "-q", str(history.repo.path), str(tmp_path / "clone"))
    history.repo.path.rename(tmp_path / "elsewhere")
    clone = Repo(tmp_path / "clone")
    clone.write("sub dir/model.safetensors", b"gone wrong")
    clone.git("checkout", "--", ".")
    assert content(clone) == OTHER


def test_a_clone_without_git_nn_shows_pointers_and_git_works(
    history: History, tmp_path: Path
) -> None:
    history.repo.git("clone", "-q", str(history.repo.path), str(tmp_path / "plain"))
    plain = Repo(tmp_path / "plain")
    text = content(plain)
    assert text == history.repo.blob("HEAD:sub dir/model.safetensors")
    assert b"pip install git-nn" in text
    plain.git("merge", "-q", "--no-edit", "origin/tune")
    merged = content(plain)
    history.repo.git("merge", "-q", "--no-edit", "tune")
    assert history.repo.blob("HEAD:sub dir/model.safetensors") == merged


def test_skipped_smudge_leaves_clean_pointers_that_pull_turns_into_weights(
    history: History, tmp_path: Path
) -> None:
    history.repo.nn("install")
    history.repo.git(
        "clone", "-q", str(history.repo.path), str(tmp_path / "clone"),
        env={"GIT_NN_SKIP_SMUDGE": "1"},
    )  # fmt: skip
    clone = Repo(tmp_path / "clone")
    assert content(clone).startswith(b"git-nn pointer 1\n")
    assert "1 file written" in clone.nn("pull").text
    assert content(clone) == OTHER


def test_a_submodule_has_a_store_of_its_own(history: History, tmp_path: Path) -> None:
    history.repo.nn("install")
    outer = Repo.create(tmp_path / "outer")
    outer.git(
        "-c", "protocol.file.allow=always", "submodule", "--quiet", "add",
        str(history.repo.path), "models",
    )  # fmt: skip
    assert outer.read("models/sub dir/model.safetensors") == OTHER
    assert (outer.path / ".git/modules/models/nn").is_dir()
    outer.commit("add a submodule")
    assert outer.status() == ""


def test_sparse_checkout_writes_only_what_is_in_the_cone(history: History) -> None:
    repo = history.repo
    repo.write("kept/model.h5", BASE)
    repo.commit("second folder")
    repo.git("sparse-checkout", "set", "kept")
    assert not (repo.path / "sub dir").exists()
    assert repo.status() == ""
    repo.git("sparse-checkout", "disable")
    assert content(repo) == OTHER


def test_the_executable_bit_survives(history: History) -> None:
    repo = history.repo
    (repo.path / "sub dir/model.safetensors").chmod(0o755)
    repo.commit("executable")
    (repo.path / "sub dir/model.safetensors").unlink()
    repo.git("checkout", "--", ".")
    assert content(repo) == OTHER
    assert (repo.path / "sub dir/model.safetensors").stat().st_mode & 0o111


def test_status_with_nothing_changed_starts_no_filter(history: History) -> None:
    repo = history.repo
    repo.git("update-index", "-q", "--refresh")
    (repo.path / ".git" / "index").touch()  # a second later, as for a person
    import os
    import time

    then = time.time() - 10
    os.utime(repo.path / "sub dir/model.safetensors", (then, then))
    repo.git("update-index", "-q", "--refresh")
    repo.git("config", "filter.nn.process", "false")
    assert repo.status() == ""


def test_a_file_committed_before_it_was_tracked_stays_clean_until_renormalized(
    tmp_path: Path,
) -> None:
    repo = Repo.create(tmp_path / "repo", patterns=())
    repo.write("model.h5", BASE)
    repo.commit("raw")
    repo.nn("track", "*.h5")
    repo.commit("track")
    (repo.path / "model.h5").touch()
    assert repo.status() == ""
    repo.git("clone", "-q", str(repo.path), str(tmp_path / "clone"))
    repo.git("add", "--renormalize", ".")
    assert repo.status() == "M  model.h5\n"
    repo.commit("as a pointer")
    assert repo.blob("HEAD:model.h5").startswith(b"git-nn pointer 1\n")
    assert repo.read("model.h5") == BASE


def test_a_repository_with_sha256_ids(tmp_path: Path) -> None:
    (tmp_path / "repo").mkdir()
    repo = Repo(tmp_path / "repo")
    repo.git("init", "-q", "-b", "main", "--object-format=sha256", ".")
    repo.nn("install", "--local")
    repo.nn("track", "*.h5")
    repo.write("model.h5", BASE)
    repo.commit("base")
    repo.write("model.h5", TUNED)
    repo.commit("tuned")
    repo.git("checkout", "-q", "HEAD~1")
    assert repo.read("model.h5") == BASE
    assert repo.status() == ""
    assert repo.nn("fsck").code == 0


def test_hash_object_cleans_its_input_and_not_the_file_at_the_path(history: History) -> None:
    repo = history.repo
    path = "sub dir/model.safetensors"
    oid = repo.git("hash-object", "--stdin", "--path", path, stdin=TUNED).text.strip()
    assert oid == repo.git("rev-parse", "tune:" + path).text.strip()
