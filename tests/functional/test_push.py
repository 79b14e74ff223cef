"""What git push sends, and what clones fetch: a remote that is a folder, with the real git.

Clones fetch from the folder's store alone: the repository that pushed is moved away first.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.git import Repo
from tests.support.models import normal, safetensors_file

NAME = "model.safetensors"


def weights(seed: int, rows: int = 40) -> bytes:
    return safetensors_file({"w": normal(seed, rows, 32), "b": normal(seed + 1000, 32)})


@pytest.fixture
def near(repo: Repo, far: Repo) -> Repo:
    repo.git("remote", "add", "origin", str(far.path))
    repo.write(NAME, weights(1))
    repo.commit("one")
    return repo


def store(far: Repo) -> set[str]:
    return {path.name for path in (far.path / "nn/packs").rglob("*.nnp")}


def size(far: Repo) -> int:
    return sum(path.stat().st_size for path in (far.path / "nn/packs").rglob("*.nnp"))


def clone(near: Repo, far: Repo, *options: str) -> Repo:
    """A clone of ``far`` alone, with git-nn set up for its user."""
    gone = near.path.with_name("gone")
    if near.path.exists():
        near.path.rename(gone)
    place = near.path.with_name(f"clone{len(list(near.path.parent.iterdir()))}")
    home = Repo(near.path.parent)
    home.nn("install")
    home.git("clone", "-q", *options, str(far.path), str(place))
    return Repo(place)


def test_a_push_sends_weights_and_a_clone_has_them(near: Repo, far: Repo) -> None:
    near.git("push", "-q", "origin", "main")
    there = clone(near, far)
    assert there.read(NAME) == weights(1)
    assert there.status() == ""
    there.nn("fsck")


def test_a_clone_copies_nothing_and_needs_the_remote_no_more(near: Repo, far: Repo) -> None:
    near.git("push", "-q", "origin", "main")
    there = clone(near, far)
    far.path.rename(far.path.with_name("moved.git"))
    there.git("rm", "-q", "--cached", NAME)
    (there.path / NAME).unlink()
    there.git("reset", "-q", "--hard")
    assert there.read(NAME) == weights(1)


def test_only_what_changed_is_sent(near: Repo, far: Repo) -> None:
    near.git("push", "-qu", "origin", "main")
    first, before = store(far), size(far)
    near.write(NAME, safetensors_file({"w": normal(1, 40, 32), "b": normal(7, 32)}))
    near.commit("two")
    near.git("push", "-q")
    assert first < store(far)
    assert size(far) - before < 600
    near.git("push", "-q")
    near.nn("push")
    assert len(store(far)) == len(first) + 1


def test_what_was_not_pushed_stays_here(near: Repo, far: Repo) -> None:
    """Though it stands in the same pack."""
    near.write("secret.safetensors", weights(666))
    near.nn("gc")
    near.git("add", "-A")
    near.git("push", "-q", "origin", "main")
    there = clone(near, far)
    needed = there.nn("ls-files", "--json").text
    assert "secret" not in needed
    names = {path.name for path in (far.path / "nn/packs").rglob("*.idx")}
    assert len(names) == 1


def test_a_delta_is_sent_with_what_it_is_upon(near: Repo, far: Repo) -> None:
    base = normal(1, 200, 64)
    tuned = safetensors_file({"w": base + normal(2, 200, 64) * 1e-4})
    near.write("big.safetensors", safetensors_file({"w": base}))
    near.commit("base")
    near.write("big.safetensors", tuned)
    near.commit("tuned")
    near.git("switch", "-q", "--orphan", "alone")
    near.git("checkout", "-q", "main", "--", "big.safetensors", ".gitattributes")
    near.git("commit", "-qm", "only the tuned one")
    near.git("push", "-q", "origin", "alone:main")
    there = clone(near, far)
    assert there.read("big.safetensors") == tuned
    there.nn("fsck")


@pytest.mark.parametrize(
    "push", [("--mirror",), ("--all",), ("HEAD:refs/heads/main", "v1"), ("--force", "main")]
)
def test_however_it_is_pushed_all_weights_are_there(
    near: Repo, far: Repo, push: tuple[str, ...]
) -> None:
    near.git("tag", "v1")
    near.git("push", "-q", "origin", *push)
    assert clone(near, far).read(NAME) == weights(1)


def test_commits_that_no_hook_has_seen_are_sent(near: Repo, far: Repo) -> None:
    """Made with hooks off; what keeps lists of pushed commits loses them."""
    near.git("config", "core.hooksPath", "/nowhere")
    near.git("switch", "-qc", "side")
    near.write("side.safetensors", weights(2))
    near.commit("side")
    near.git("switch", "-q", "main")
    near.write("main.safetensors", weights(3))
    near.commit("main")
    near.git("merge", "-q", "--no-edit", "side")
    near.git("config", "--unset", "core.hooksPath")
    near.git("push", "-q", "origin", "main")
    there = clone(near, far)
    assert there.read("side.safetensors") == weights(2)
    assert there.read("main.safetensors") == weights(3)


def test_a_tag_alone_a_deleted_branch_and_nothing(near: Repo, far: Repo) -> None:
    near.git("tag", "v1")
    near.git("push", "-q", "origin", "v1")
    assert store(far)
    near.git("push", "-q", "origin", "main:gone")
    before = store(far)
    near.git("push", "-q", "origin", ":gone")
    assert store(far) == before
    assert clone(near, far, "--branch", "v1").read(NAME) == weights(1)


def test_a_fork_gets_what_the_first_remote_has(near: Repo, far: Repo, tmp_path: Path) -> None:
    near.git("push", "-q", "origin", "main")
    fork = tmp_path / "fork.git"
    near.git("init", "-q", "--bare", "-b", "main", str(fork))
    there = clone(near, far)
    there.git("push", "-q", str(fork), "HEAD:main")
    far.path.rename(far.path.with_name("moved.git"))
    assert clone(near, Repo(fork)).read(NAME) == weights(1)


def test_a_remote_that_lost_half_gets_it_again(near: Repo, far: Repo) -> None:
    near.git("push", "-q", "origin", "main")
    near.write(NAME, weights(5))
    near.commit("two")
    near.git("push", "-q", "origin", "main")
    for path in sorted((far.path / "nn/packs").rglob("*.nnp"))[:1]:
        path.chmod(0o644)
        path.unlink()
    near.nn("push")
    there = clone(near, far)
    there.nn("fetch", "--all")
    there.nn("fsck")
    assert there.read(NAME) == weights(5)


def test_two_clones_push_and_the_union_is_there(near: Repo, far: Repo) -> None:
    near.git("push", "-q", "origin", "main")
    one, two = clone(near, far), clone(near, far)
    for number, there in enumerate((one, two)):
        there.git("switch", "-qc", f"b{number}")
        there.write(NAME, weights(20 + number))
        there.commit("mine")
    one.git("push", "-q", "origin", "b0")
    two.git("push", "-q", "origin", "b1")
    for number in (0, 1):
        assert clone(near, far, "--branch", f"b{number}").read(NAME) == weights(20 + number)


def test_a_push_whose_weights_are_nowhere_is_refused(near: Repo, far: Repo) -> None:
    for path in (near.path / ".git/nn/packs").rglob("*.nnp"):
        path.unlink()
    refused = near.git("push", "-q", "origin", "main", code=1).errors
    assert "is not in the store" in refused
    assert NAME in refused
    assert "--no-verify" in refused
    assert far.git("for-each-ref").text == ""
    near.git("push", "-q", "--no-verify", "origin", "main")


def test_a_folder_that_cannot_be_written_refuses_the_push(near: Repo, far: Repo) -> None:
    (far.path / "nn").write_bytes(b"in the way")
    assert "nothing was pushed" in near.git("push", "-q", "origin", "main", code=1).errors
    assert far.git("for-each-ref").text == ""


def test_a_clone_whose_weights_are_gone_has_pointers_and_says_so(near: Repo, far: Repo) -> None:
    near.git("push", "-q", "--no-verify", "origin", "main")
    there = clone(near, far)
    assert there.read(NAME).startswith(b"git-nn pointer 1\n")
    assert there.status() == ""
    failed = there.nn("pull", code=3)
    assert "stays a pointer" in failed.errors
    near.path.with_name("gone").rename(near.path)
    near.nn("push")
    assert there.nn("pull").text == "1 file written\n"
    assert there.read(NAME) == weights(1)


def test_weights_can_lie_elsewhere(near: Repo, far: Repo, tmp_path: Path) -> None:
    near.nn("remote", "add", "origin", str(tmp_path / "weights"))
    near.git("push", "-q", "origin", "main")
    assert not (far.path / "nn").exists()
    there = clone(near, far, "-c", f"nn.url={tmp_path / 'weights'}")
    assert there.read(NAME) == weights(1)
    assert "1 pack" in there.nn("remote", "check").text
    rows = json.loads(there.nn("remote", "list", "--json").text)["remotes"]
    assert [(row["name"], row["kind"]) for row in rows] == [("origin", "folder")]


def test_fetch_brings_what_is_chosen_and_checkout_needs_no_remote(near: Repo, far: Repo) -> None:
    near.write("other/big.safetensors", weights(9))
    near.commit("two")
    near.git("push", "-q", "origin", "main")
    Repo(near.path.parent).nn("install")
    near.path.rename(near.path.with_name("gone"))
    place = near.path.with_name("lazy")
    Repo(near.path.parent).run(
        "git", "clone", "-q", str(far.path), str(place), env={"GIT_NN_SKIP_SMUDGE": "1"}
    )
    there = Repo(place)
    assert there.read(NAME).startswith(b"git-nn pointer")
    assert "missing" in there.nn("fetch", "-n").text
    assert there.nn("fetch", "-X", "other").text == "1 model here\n"
    far.path.rename(far.path.with_name("moved.git"))
    there.nn("checkout", code=3)
    assert there.read(NAME) == weights(1)
    assert there.read("other/big.safetensors").startswith(b"git-nn pointer")


def test_a_version_is_fetched_by_its_name_alone(near: Repo, far: Repo) -> None:
    near.git("push", "-q", "origin", "main", "main:other")
    near.write(NAME, weights(2))
    near.commit("two")
    near.git("push", "-q", "origin", "main:other")
    new = clone(near, far)
    assert new.nn("fetch", "origin/other").text == "1 model here\n"
    assert new.nn("fetch", "origin", "origin/other", "main").text == "2 models here\n"
    far.path.rename(far.path.with_name("away"))
    new.git("switch", "-q", "--detach", "origin/other")
    assert new.read(NAME) == weights(2)


def test_one_tensor_is_fetched_alone(near: Repo, far: Repo) -> None:
    near.git("push", "-q", "origin", "main")
    Repo(near.path.parent).nn("install")
    near.path.rename(near.path.with_name("gone"))
    place = near.path.with_name("lazy")
    Repo(near.path.parent).run(
        "git", "clone", "-q", str(far.path), str(place), env={"GIT_NN_SKIP_SMUDGE": "1"}
    )
    there = Repo(place)
    there.git("config", "remote.origin.nnurl", str(far.path / "nn"))
    there.nn("fetch", "origin", "--tensors", "b")
    far.path.rename(far.path.with_name("moved.git"))
    missing = there.nn("fsck", code=None).text
    assert "tensor w" in missing
    assert "tensor b" not in missing


HOSTILE = [
    "/etc", "file:///etc", "ssh://attacker/x", "attacker:x", "git", "lfs", "-oProxyCommand=x",
    "lfs+http://attacker/x", "https://attacker/x", "s3://key:secret@attacker/x",
    "lfs+https://ann:pw@attacker/", "s3://x\\n",
]  # fmt: skip


@pytest.mark.parametrize("url", HOSTILE)
def test_a_repository_cannot_choose_where_weights_go_but_for_harmless_places(
    near: Repo, url: str
) -> None:
    near.write(".nnconfig", f'[nn]\n\turl = "{url}"\n[core]\n\tsshCommand = whoami\n'.encode())
    (row,) = json.loads(near.nn("remote", "list", "--json").text)["remotes"]
    assert row["kind"] == "folder"
    assert row["address"].endswith("far.git")


def test_a_team_can_share_the_address_of_a_bucket(near: Repo) -> None:
    near.write(".nnconfig", b"[nn]\n\turl = s3://models/team\n")
    (row,) = json.loads(near.nn("remote", "list", "--json").text)["remotes"]
    assert (row["kind"], row["address"]) == ("bucket", "s3://models/team")
    near.git("config", "nn.url", "/mnt/mine")
    (row,) = json.loads(near.nn("remote", "list", "--json").text)["remotes"]
    assert row["address"] == "/mnt/mine"


def test_a_word_that_is_no_remote_is_said_so(near: Repo) -> None:
    near.git("push", "-q", "origin", "main")
    for command in ("fetch", "push"):
        for word in ("orgin", "orgin/main", "../nowhere"):
            assert f"'{word}' is no remote" in near.nn(command, word, code=2).errors
    assert "git switch main" in near.nn("checkout", "main", code=2).errors
