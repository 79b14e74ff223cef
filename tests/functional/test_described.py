"""Files that another file describes: TensorFlow's shards and the index beside them.

The index is a hint of the moment. It may be absent, damaged or of another version while Git
works, and none of that may make a file dirty or cost a byte (docs/decisions/0006).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from git_nn.objects import pointer as pointers
from git_nn.objects.pointer import Pointer
from tests.support.git import Repo
from tests.support.models import normal
from tests.support.tensorflow_file import Value, checkpoint

SHARD, INDEX = "m/variables.data-00000-of-00001", "m/variables.index"


def weights(seed: int = 0, layers: int = 3) -> dict[str, Value]:
    return {f"layer_{i}/kernel": normal(seed + i, 40, 30) for i in range(layers)}


def save(repo: Repo, tensors: dict[str, Value]) -> bytes:
    (data,), index = checkpoint([tensors])
    repo.write(SHARD, data)
    repo.write(INDEX, index)
    return data


def pointer(repo: Repo, rev: str = "") -> Pointer:
    return pointers.parse(repo.blob(f"{rev}:{SHARD}"))


def touch(repo: Repo, name: str = SHARD) -> None:
    """Git must look at the content again."""
    os.utime(repo.path / name, (1_000_000_000, 1_000_000_000))


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    made = Repo.create(tmp_path / "repo", patterns=("*.data-*",))
    save(made, weights())
    made.commit("first")
    return made


def test_a_shard_with_its_index_has_a_stanza_for_each_tensor(repo: Repo) -> None:
    found = pointer(repo)
    assert found.format == "tensorflow"
    assert set(found.stored) == set(weights())
    assert repo.status() == ""
    assert "layer_1/kernel" in repo.nn("ls", SHARD).text


def test_a_shard_stays_clean_when_its_index_is_gone(repo: Repo) -> None:
    before = pointer(repo)
    (repo.path / INDEX).unlink()
    touch(repo)
    assert repo.status() == f" D {INDEX}\n"
    repo.git("add", "--renormalize", SHARD)
    assert pointer(repo) == before
    assert repo.git("diff", "--cached", "--name-only").text == ""


@pytest.mark.parametrize("index", [b"", b"no index at all", None])
def test_a_shard_stays_clean_beside_a_wrong_index(repo: Repo, index: bytes | None) -> None:
    other = checkpoint([weights(layers=2)])[1]  # of fewer tensors
    repo.write(INDEX, other if index is None else index)
    touch(repo)
    assert repo.status() == f" M {INDEX}\n"


def test_other_values_change_their_tensors_and_no_others(repo: Repo) -> None:
    before = pointer(repo)
    changed = {**weights(), "layer_1/kernel": normal(9, 40, 30)}
    save(repo, changed)
    repo.git("add", "-A")
    after = pointer(repo)
    assert after.skeleton == before.skeleton
    differ = {name for name in before.stored if before.stored[name] != after.stored[name]}
    assert differ == {"layer_1/kernel"}
    assert "layer_1/kernel" in repo.nn("diff", "--cached").text


def test_other_values_without_an_index_keep_the_split(repo: Repo) -> None:
    with_index = {**weights(), "layer_2/kernel": normal(9, 40, 30)}
    data = save(repo, with_index)
    (repo.path / INDEX).unlink()
    repo.git("add", SHARD)
    found = pointer(repo)
    assert found.format == "tensorflow"
    assert set(found.stored) == set(with_index)
    repo.git("commit", "-q", "-m", "second")
    (repo.path / SHARD).unlink()
    repo.git("checkout", "--", SHARD)
    assert repo.read(SHARD) == data


def test_a_shard_that_nothing_describes_is_opaque_until_its_index_comes(repo: Repo) -> None:
    (data,), index = checkpoint([weights(5)])
    name = "n/variables.data-00000-of-00001"
    repo.write(name, data)
    result = repo.git("add", name)
    assert "variables.index" in result.errors
    assert pointers.parse(repo.blob(f":{name}")).format == "opaque"
    repo.git("commit", "-q", "-m", "without its index")
    repo.write("n/variables.index", index)
    touch(repo, name)
    assert repo.status() == "?? n/variables.index\n"
    (repo.path / name).unlink()
    repo.git("checkout", "--", name)
    assert repo.read(name) == data


def test_a_clone_is_clean_and_has_every_byte(repo: Repo, tmp_path: Path) -> None:
    """Git writes the shard before the index, which comes later in its order."""
    clone = Repo(tmp_path / "clone")
    repo.git("clone", "-q", str(repo.path), str(clone.path))
    clone.nn("install", "--local")
    clone.nn("pull")
    assert clone.read(SHARD) == repo.read(SHARD)
    assert clone.status() == ""
    for index in (True, False):
        if not index:
            (clone.path / INDEX).unlink()
        touch(clone)
        assert clone.git("status", "--porcelain", "--", SHARD).text == ""


def test_a_switch_between_checkpoints_of_other_tensors_is_clean(repo: Repo) -> None:
    """While the shard is written, the index beside it is the other version's."""
    first = repo.read(SHARD)
    second = save(repo, weights(layers=5))
    repo.commit("second")
    for rev, data, layers in (("HEAD~1", first, 3), ("main", second, 5), ("main~1", first, 3)):
        repo.git("checkout", "-q", rev)
        assert repo.read(SHARD) == data
        touch(repo)
        assert repo.status() == ""
        assert len(pointer(repo, "HEAD").stored) == layers


def test_a_checkpoint_of_several_shards_is_split_in_each(repo: Repo) -> None:
    parts = [{"a": normal(1, 50)}, {"b": normal(2, 60), "c": normal(3, 70)}]
    files, index = checkpoint(parts)
    names = [f"m/big.data-{i:05}-of-00002" for i in range(2)]
    for name, data in zip(names, files, strict=True):
        repo.write(name, data)
    repo.write("m/big.index", index)
    repo.commit("two shards")
    for name, tensors in zip(names, parts, strict=True):
        assert set(pointers.parse(repo.blob(f"HEAD:{name}")).stored) == set(tensors)
    assert repo.status() == ""
