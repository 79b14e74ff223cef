"""Merges of zip containers: their checksums follow, and the time of a save is no conflict.

The files are laid out by hand as Keras and numpy write them; no framework is needed.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import h5py
import numpy as np
import pytest

from git_nn.objects.pointer import parse
from tests.support.branches import Branches
from tests.support.git import Repo
from tests.support.keras_file import Dense, Layer, archive_file, dense_layers, tuned, weights_file
from tests.support.models import normal

RULES = "*.keras filter=nn diff=nn merge=nn -text\n*.npz filter=nn diff=nn merge=nn -text\n"
BASE = dense_layers(1, 4, 5, 3)
EXTRA = Dense("extra", np.eye(3, dtype="f4"), np.ones(3, "f4"))
TIMES = [datetime(2026, 11, day, 9, 15, 20 + day) for day in (18, 19, 20)]


def keras(at: int, layers: Sequence[Layer]) -> bytes:
    """A save of ``layers`` on one of three days."""
    return archive_file(layers, saved=TIMES[at])


def stored(**arrays: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def deflated(**arrays: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def branches(tmp_path: Path, name: str, *versions: bytes) -> Branches:
    base, ours, theirs = versions
    return Branches.create(tmp_path / "repo", base, ours, theirs, name=name, attributes=RULES)


def weights(data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return archive.read("model.weights.h5")


def member(data: bytes, name: str) -> object:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return json.loads(archive.read(name))


def arrays(data: bytes) -> dict[str, bytes]:
    with np.load(io.BytesIO(data)) as found:
        return {name: found[name].tobytes() for name in found.files}


def test_layers_of_a_keras_file_that_were_trained_and_saved_apart_merge(tmp_path: Path) -> None:
    ours, theirs = tuned(BASE, 2, "dense"), tuned(BASE, 3, "dense_1")
    repo = branches(tmp_path, "m.keras", keras(0, BASE), keras(1, ours), keras(2, theirs)).repo
    done = repo.git("merge", "--no-edit", "side")
    assert "2 tensors from ours, 2 from theirs" in done.errors
    assert "both sides changed the container; ours is kept" in done.errors
    assert repo.status() == ""
    assert repo.read("m.keras") == keras(1, [ours[0], theirs[1]])
    assert weights(repo.read("m.keras")) == weights_file([ours[0], theirs[1]])


def test_a_save_with_nothing_new_does_not_stand_in_the_way_of_theirs(tmp_path: Path) -> None:
    theirs = tuned(BASE, 3, "dense_1")
    repo = branches(tmp_path, "m.keras", keras(0, BASE), keras(1, BASE), keras(2, theirs)).repo
    repo.git("merge", "-q", "--no-edit", "side")
    assert repo.read("m.keras") == keras(1, theirs)


def test_a_host_has_one_conflict_and_resolve_settles_it(tmp_path: Path) -> None:
    """The line of the skeleton is the only one that both sides changed."""
    ours, theirs = tuned(BASE, 2, "dense"), tuned(BASE, 3, "dense_1")
    repo = branches(tmp_path, "m.keras", keras(0, BASE), keras(1, ours), keras(2, theirs)).repo
    for section in ("merge.nn", "filter.nn"):
        repo.git("config", "--remove-section", section)
    repo.git("merge", "-q", "side", code=1)
    text = repo.read("m.keras").decode()
    assert text.count("<<<<<<<") == 1
    conflict = text.partition("<<<<<<<")[2].partition(">>>>>>>")[0]
    assert conflict.count("\nskeleton ") == 2
    assert "tensor " not in conflict
    repo.nn("install", "--local")
    repo.nn("resolve", "--ours")
    assert repo.read("m.keras") == keras(1, [ours[0], theirs[1]])


def test_a_layer_that_theirs_added_comes_with_their_configuration(tmp_path: Path) -> None:
    ours, theirs = tuned(BASE, 2, "dense"), [*BASE, EXTRA]
    repo = branches(tmp_path, "m.keras", keras(0, BASE), keras(1, ours), keras(2, theirs)).repo
    repo.git("merge", "-q", "--no-edit", "side")
    assert repo.status() == ""
    data = repo.read("m.keras")
    found = member(data, "config.json")
    assert found == member(keras(2, theirs), "config.json")
    pointer = parse(repo.blob("HEAD:m.keras"))
    (repo.path / "m.weights.h5").write_bytes(weights_file([ours[0], BASE[1], EXTRA]))
    repo.git("add", "m.weights.h5")
    assert pointer.stored == parse(repo.blob(":m.weights.h5")).stored


def test_models_that_grew_apart_are_a_conflict_and_ours_stays(tmp_path: Path) -> None:
    ours = [*BASE, EXTRA]
    theirs = [Dense("other", np.eye(4, dtype="f4"), np.ones(4, "f4")), *BASE, EXTRA, EXTRA]
    repo = branches(tmp_path, "m.keras", keras(0, BASE), keras(1, ours), keras(2, theirs)).repo
    repo.git("merge", "--no-edit", "side", code=1)
    assert "m.keras" in repo.git("ls-files", "-u").text
    assert repo.read("m.keras") == keras(1, ours)
    repo.nn("resolve", "--theirs")
    assert repo.read("m.keras") == keras(2, theirs)


A, B, C = (normal(i, 4, 6) for i in (1, 2, 3))
X, Y, Z = (normal(i, 4, 6) for i in (11, 12, 13))


def test_arrays_of_an_npz_file_merge_with_and_without_the_driver(tmp_path: Path) -> None:
    versions = stored(a=A, b=B, c=C), stored(a=X, b=B, c=C), stored(a=A, b=Y, c=Z)
    repo = branches(tmp_path, "m.npz", *versions).repo
    repo.git("clone", "-q", "--bare", ".", "../bare.git")
    host = Repo(tmp_path / "bare.git")
    tree = host.git("merge-tree", "--write-tree", "main", "side").text.strip()
    done = repo.git("merge", "--no-edit", "side")
    assert "container" not in done.errors
    assert repo.git("rev-parse", "HEAD^{tree}").text.strip() == tree
    assert repo.read("m.npz") == stored(a=X, b=Y, c=Z)
    assert repo.status() == ""


@pytest.mark.parametrize("save", [stored, deflated])
def test_arrays_that_were_added_removed_and_resized_merge(
    tmp_path: Path, save: Callable[..., bytes]
) -> None:
    half = X * (np.arange(6) < 3)  # its stream is shorter than those of A and X
    versions = save(a=A, b=B, c=C), save(a=half, b=B, c=C), save(a=A, b=normal(5, 9), d=Z)
    repo = branches(tmp_path, "m.npz", *versions).repo
    repo.git("merge", "-q", "--no-edit", "side")
    assert repo.status() == ""
    assert arrays(repo.read("m.npz")) == arrays(save(a=half, b=normal(5, 9), d=Z))


def test_compressed_arrays_of_equal_length_merge_with_their_checksums(tmp_path: Path) -> None:
    versions = deflated(a=A, b=B), deflated(a=X, b=B), deflated(a=A, b=Y)
    repo = branches(tmp_path, "m.npz", *versions).repo
    repo.git("merge", "-q", "--no-edit", "side")
    assert arrays(repo.read("m.npz")) == {"a": X.tobytes(), "b": Y.tobytes()}


def test_compressed_arrays_that_both_sides_changed_merge_by_their_values(tmp_path: Path) -> None:
    versions = deflated(a=A, b=B), deflated(a=X, b=B), deflated(a=Y, b=Z)
    made = branches(tmp_path, "m.npz", *versions)
    made.repo.git("merge", "-q", "--no-edit", "side", env={"GIT_NN_MERGE": "mean"})
    mean = ((X.astype("f8") + Y.astype("f8")) / 2).astype("f4")
    assert arrays(made.repo.read("m.npz")) == {"a": mean.tobytes(), "b": Z.tobytes()}


@pytest.mark.parametrize("renamed", ["ours", "theirs"])
def test_a_configuration_that_one_side_changed_is_in_the_result(
    tmp_path: Path, renamed: str
) -> None:
    """Every save changes the container; what it says of the model, one side alone did."""
    ours, theirs = tuned(BASE, 2, "dense"), tuned(BASE, 3, "dense_1")
    names = {side: "other" if side == renamed else "tiny" for side in ("ours", "theirs")}
    made = (
        archive_file(ours, model=names["ours"], saved=TIMES[1]),
        archive_file(theirs, model=names["theirs"], saved=TIMES[2]),
    )
    repo = branches(tmp_path, "m.keras", keras(0, BASE), *made).repo
    done = repo.git("merge", "--no-edit", "side")
    assert f"both sides changed the container; {renamed} is kept" in done.errors
    found = repo.read("m.keras")
    config = member(found, "config.json")
    assert isinstance(config, dict)
    assert config["config"]["name"] == "other"
    with h5py.File(io.BytesIO(weights(found))) as file:
        values = [file[f"layers/{name}/vars/0"][()].tobytes() for name in ("dense", "dense_1")]
    assert values == [ours[0].kernel.tobytes(), theirs[1].kernel.tobytes()]
