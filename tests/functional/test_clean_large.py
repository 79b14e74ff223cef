"""Large content is read from the work tree while Git sends it; what Git sends counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.git import Repo
from tests.support.models import normal, safetensors_file

MODEL = safetensors_file({f"w{i}": normal(i, 50_000) for i in range(4)})
TUNED = safetensors_file({f"w{i}": normal(i + 9 * (i == 3), 50_000) for i in range(4)})


@pytest.fixture
def large(repo: Repo) -> Repo:
    """Every file is large: nothing but the threshold differs from a 70 GB one."""
    repo.git("config", "nn.largeThreshold", "1k")
    return repo


def pointer_of(tmp_path: Path, data: bytes) -> bytes:
    """The pointer of the same content in a repository where it is small."""
    other = Repo.create(tmp_path / f"small-{len(list(tmp_path.iterdir()))}")
    other.write("m.safetensors", data)
    other.git("add", "m.safetensors")
    return other.blob(":m.safetensors")


def packs(repo: Repo) -> set[str]:
    return {path.name for path in (repo.path / ".git/nn/packs").glob("*/*.nnp")}


def test_the_pointer_is_the_same_as_for_small_content(large: Repo, tmp_path: Path) -> None:
    for number, data in enumerate((MODEL, TUNED, MODEL[:-3], b"opaque" * 50_000)):
        large.write(f"m{number}.safetensors", data)
        large.git("add", f"m{number}.safetensors")
        assert large.blob(f":m{number}.safetensors") == pointer_of(tmp_path, data)
    large.nn("fsck")


@pytest.mark.parametrize(
    "sent",
    [TUNED, MODEL[:-1] + b"x", MODEL + b"more", MODEL[:-5], b"y" + MODEL[1:], MODEL[:300_000]],
    ids=["last tensor", "last byte", "longer", "shorter", "first byte", "half"],
)
def test_what_git_sends_counts_not_the_file(large: Repo, tmp_path: Path, sent: bytes) -> None:
    large.write("m.safetensors", MODEL)
    blob = large.git(
        "hash-object", "-w", "--stdin", "--path", "m.safetensors", stdin=sent
    ).text.strip()
    assert large.blob(blob) == pointer_of(tmp_path, sent)
    large.git("update-index", "--add", "--cacheinfo", f"100644,{blob},m.safetensors")
    large.nn("fsck")
    large.git("checkout", "-f", "--", "m.safetensors")
    assert large.read("m.safetensors") == sent


def test_a_pointer_and_a_raw_blob_stay_what_they_are(large: Repo) -> None:
    large.write("m.safetensors", MODEL)
    (large.path / ".gitattributes").rename(large.path / "attributes")
    large.git("add", "m.safetensors")
    (large.path / "attributes").rename(large.path / ".gitattributes")
    raw = large.blob(":m.safetensors")
    assert raw == MODEL
    large.git("add", "m.safetensors")
    assert large.blob(":m.safetensors") == MODEL
    large.git("add", "--renormalize", "m.safetensors")
    text = large.blob(":m.safetensors")
    assert text.startswith(b"git-nn pointer 1\n")
    large.write("copy.safetensors", text)
    large.git("add", "copy.safetensors")
    assert large.blob(":copy.safetensors") == text


def test_looking_at_a_change_stores_nothing(large: Repo) -> None:
    large.write("m.safetensors", MODEL)
    large.commit()
    before = packs(large)
    large.write("m.safetensors", TUNED)
    assert large.status() == " M m.safetensors\n"
    assert "w3" in large.git("diff").text
    assert packs(large) == before
    large.git("add", "m.safetensors")
    assert packs(large) > before
    large.nn("fsck")


def test_what_is_remembered_is_stored_again_when_the_store_has_lost_it(large: Repo) -> None:
    large.write("m.safetensors", MODEL)
    large.commit()
    large.write("m.safetensors", TUNED)
    large.status()
    large.git("add", "m.safetensors")
    for path in (large.path / ".git/nn/packs").glob("*/*"):
        path.unlink()
    large.git("rm", "-q", "--cached", "m.safetensors")
    large.git("add", "m.safetensors")
    large.git("commit", "-qm", "again")
    (large.path / "m.safetensors").unlink()
    large.git("checkout", "--", "m.safetensors")
    assert large.read("m.safetensors") == TUNED


def test_a_new_checkpoint_beside_the_last_one_is_stored_by_what_changed(repo: Repo) -> None:
    weights = normal(1, 200_000)
    step = np.float32(1e-5) * normal(2, 200_000)
    repo.write("run/step-9.safetensors", safetensors_file({"w": weights}))
    repo.commit()
    before = stored(repo)
    repo.write("run/step-10.safetensors", safetensors_file({"w": weights + step}))
    repo.git("add", ".")
    assert stored(repo) - before < 0.8 * before


def stored(repo: Repo) -> int:
    return sum(path.stat().st_size for path in (repo.path / ".git/nn/packs").glob("*/*.nnp"))
