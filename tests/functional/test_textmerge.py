"""Git's own line merge of pointers is right, where no driver runs: hosts, bare clones, octopus."""

from __future__ import annotations

from pathlib import Path

import pytest

from git_nn.objects.names import escape
from git_nn.objects.oid import oid_of
from git_nn.objects.pointer import Pointer, Stored, parse, render, sorted_entries
from tests.support.branches import ATTRIBUTES, MODEL, Branches
from tests.support.git import Repo
from tests.support.models import normal, safetensors_file

COUNT = 224
NAMES = [f"model.layers.{i // 7}.block.{i % 7}.weight" for i in range(COUNT)]


def versions() -> dict[str, dict[str, int]]:
    """224 tensors; ours changes the even ones, theirs the odd ones: every neighbour differs."""
    base = dict.fromkeys(NAMES, 0)
    ours = {name: 1 if i % 2 == 0 else 0 for i, name in enumerate(NAMES)}
    theirs = {name: 2 if i % 2 else 0 for i, name in enumerate(NAMES)}
    both = {name: 2 if i % 2 else 1 for i, name in enumerate(NAMES)}
    return {"base": base, "ours": ours, "theirs": theirs, "both": both}


def pointer(values: dict[str, int], skeleton: bytes = b"s") -> bytes:
    entries = [
        Stored(name, "bf16", (4, 4), oid_of(f"{name} {value}".encode()), 32)
        for name, value in values.items()
    ]
    made = Pointer("safetensors", 1, oid_of(skeleton), 10, sorted_entries(list(entries)))
    return render(made)


def model(values: dict[str, int]) -> bytes:
    return safetensors_file({n: normal(i * 7 + v, 2, 2) for i, (n, v) in enumerate(values.items())})


def write_versions(folder: Path, made: dict[str, bytes]) -> None:
    for name in ("base", "ours", "theirs"):
        (folder / name).write_bytes(made[name])


def test_merge_file_merges_224_alternating_changes(tmp_path: Path) -> None:
    texts = {name: pointer(values) for name, values in versions().items()}
    write_versions(tmp_path, texts)
    found = Repo(tmp_path).git("merge-file", "-p", "ours", "base", "theirs")
    assert found.out == texts["both"]
    assert render(parse(found.out)) == texts["both"]


@pytest.mark.parametrize("style", ["merge", "diff3", "zdiff3"])
def test_merge_file_names_the_tensor_that_both_sides_changed(tmp_path: Path, style: str) -> None:
    made = versions()
    made["ours"][NAMES[100]] = 7
    made["theirs"][NAMES[100]] = 8
    write_versions(tmp_path, {name: pointer(values) for name, values in made.items()})
    command = ("-c", f"merge.conflictStyle={style}", "merge-file", "-p")
    found = Repo(tmp_path).git(*command, "ours", "base", "theirs", code=1)
    before, _, rest = found.text.partition("<<<<<<<")
    hunk, _, after = rest.partition(">>>>>>>")
    assert "<<<<<<<" not in after
    assert before.rstrip("\n").splitlines()[-1] == f"tensor {NAMES[100]}"
    assert oid_of(f"{NAMES[100]} 7".encode()).hex() in hunk
    assert oid_of(f"{NAMES[100]} 8".encode()).hex() in hunk


@pytest.fixture
def bare(tmp_path: Path) -> Branches:
    """224 tensors on two branches; a bare clone, as a host has it, stands beside it."""
    made = versions()
    branches = Branches.create(
        tmp_path / "repo", *(model(made[n]) for n in ("base", "ours", "theirs"))
    )
    branches.repo.git("clone", "-q", "--bare", ".", "../bare.git")
    return branches


def test_a_host_without_git_nn_merges_224_alternating_changes(bare: Branches) -> None:
    host = Repo(bare.path.parent / "bare.git")
    assert "nn" not in host.git("config", "--list", "--local").text.split(".")
    tree = host.git("merge-tree", "--write-tree", "main", "side").text.strip()
    text = host.blob(f"{tree}:{MODEL}")
    assert [entry.name for entry in parse(text).entries] == NAMES
    # and the person who fetches the merge gets exactly the model that was meant
    commit = host.git("commit-tree", tree, "-p", "main", "-p", "side", "-m", "merged").text.strip()
    host.git("update-ref", "refs/heads/merged", commit)
    bare.repo.git("fetch", "-q", "../bare.git", "merged:merged")
    bare.repo.git("switch", "-q", "merged")
    assert bare.repo.read(MODEL) == model(versions()["both"])
    assert bare.repo.status() == ""
    bare.repo.git("switch", "-q", "main")


def test_the_driver_gives_the_same_tree_as_a_host(bare: Branches) -> None:
    host = Repo(bare.path.parent / "bare.git")
    tree = host.git("merge-tree", "--write-tree", "main", "side").text.strip()
    bare.repo.git("switch", "-q", "--detach", "main")
    bare.repo.git("merge", "-q", "--no-edit", "side")
    assert bare.repo.git("rev-parse", "HEAD^{tree}").text.strip() == tree
    bare.repo.git("switch", "-q", "main")


def test_an_undefined_driver_merges_as_text(bare: Branches, tmp_path: Path) -> None:
    """Attributes name the driver, the configuration does not: a clone without git-nn."""
    plain = Repo(tmp_path / "plain")
    bare.repo.git("clone", "-q", "--no-local", ".", str(plain.path))
    plain.git("merge", "-q", "--no-edit", "origin/side")
    assert plain.status() == ""
    assert [entry.name for entry in parse(plain.read(MODEL)).entries] == NAMES


def test_a_host_conflicts_on_the_same_tensor_and_resolve_settles_it_here(tmp_path: Path) -> None:
    made = versions()
    made["theirs"][NAMES[100]] = 3
    files = [model(made[name]) for name in ("base", "ours", "theirs")]
    branches = Branches.create(tmp_path / "repo", *files)
    repo = branches.repo
    repo.git("clone", "-q", "--bare", ".", "../bare.git")
    host = Repo(tmp_path / "bare.git")
    found = host.git("merge-tree", "--write-tree", "main", "side", code=1).text
    text = host.blob(f"{found.split()[0]}:{MODEL}").decode()
    before = text.partition("<<<<<<<")[0].rstrip("\n").splitlines()
    assert before[-1] == f"tensor {escape(NAMES[100])}"
    # Somebody merges before git-nn is set up: markers in the file, three versions in the index.
    for section in ("merge.nn", "filter.nn"):
        repo.git("config", "--remove-section", section)
    (repo.path / MODEL).unlink()
    repo.git("checkout", "-q", "--", MODEL)  # the pointer itself
    repo.git("merge", "-q", "side", code=1)
    assert b"<<<<<<<" in repo.read(MODEL)
    repo.nn("install", "--local")
    listed = repo.nn("resolve").text
    assert f"{NAMES[100]}  f32 2x2  changed on both sides" in listed
    repo.nn("resolve", "--theirs")
    both = versions()["both"] | {NAMES[100]: 3}
    assert repo.read(MODEL) == model(both)
    repo.git("commit", "-q", "--no-edit")
    assert repo.status() == ""


def octopus(tmp_path: Path, *models: dict[str, int]) -> Branches:
    """main at the base with one branch for each of ``models``."""
    base = model(versions()["base"])
    branches = Branches.create(tmp_path / "repo", base, base, base)
    for i, values in enumerate(models):
        branches.repo.git("switch", "-q", "-c", f"b{i}", "start")
        branches.put(MODEL, model(values), f"b{i}")
    branches.repo.git("switch", "-q", "main")
    return branches


def test_an_octopus_merge_of_different_tensors_gives_the_model(tmp_path: Path) -> None:
    changed = [dict.fromkeys(NAMES, 0) | {NAMES[i]: i + 1} for i in (0, 1, 2)]
    repo = octopus(tmp_path, *changed).repo
    repo.git("merge", "-q", "--no-edit", "b0", "b1", "b2")
    expected = dict.fromkeys(NAMES, 0) | {NAMES[i]: i + 1 for i in (0, 1, 2)}
    assert parse(repo.blob(f"HEAD:{MODEL}")).entries
    # git-merge-one-file leaves pointers in the work tree; that is a clean state
    repo.git("checkout", "-q", "--", ".")
    repo.nn("pull")
    assert repo.read(MODEL) == model(expected)
    assert repo.status() == ""


def test_an_octopus_merge_of_one_tensor_never_becomes_a_commit(tmp_path: Path) -> None:
    changed = [dict.fromkeys(NAMES, 0) | {NAMES[0]: i} for i in (1, 2)]
    repo = octopus(tmp_path, *changed).repo
    before = repo.git("rev-parse", "HEAD").text
    repo.git("merge", "--no-edit", "b0", "b1", code=1)
    assert repo.git("rev-parse", "HEAD").text == before
    # the text with markers is in the work tree, but it is no content: adding it is refused
    assert b"<<<<<<<" in repo.read(MODEL)
    assert "conflict markers" in repo.git("add", MODEL, code=128).errors
    assert f"{NAMES[0]}  f32 2x2  changed on both sides" in repo.nn("resolve").text
    repo.nn("resolve", "--theirs")
    assert repo.read(MODEL) == model(changed[1])
    assert repo.git("ls-files", "-u").text == ""


def test_attributes_of_these_tests_are_what_track_writes() -> None:
    assert all("filter=nn diff=nn merge=nn -text" in line for line in ATTRIBUTES.splitlines())
