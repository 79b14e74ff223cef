"""Git's other ways to show and send a change: readable, and enough to apply it."""

from __future__ import annotations

import pytest

from tests.support.git import Repo
from tests.support.models import normal, safetensors_file

NAME = "m.safetensors"
BASE, TUNED, OTHER = (
    safetensors_file({"a.w": normal(a, 8, 8), "b.w": normal(b, 8, 8)})
    for a, b in ((1, 1), (2, 1), (2, 3))
)


@pytest.fixture
def tuned(repo: Repo) -> Repo:
    """BASE on main; TUNED on v1, OTHER on v2, both as one commit from main."""
    repo.write(NAME, BASE)
    repo.commit("base")
    for branch, data in (("v1", TUNED), ("v2", OTHER)):
        repo.git("checkout", "-q", "-b", branch, "main")
        repo.write(NAME, data)
        repo.commit("train")
    return repo


def changed_lines(text: str) -> list[str]:
    return [
        line for line in text.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")
    ]


def test_range_diff_tells_which_tensors_two_versions_of_a_branch_train(tuned: Repo) -> None:
    shown = tuned.git("range-diff", "main..v1", "main..v2").text
    lines = [line.strip() for line in shown.splitlines()]
    assert any(line.startswith("++b.w f32 8x8") for line in lines)
    assert not any(line.startswith("++a.w") for line in lines)  # equal on both


def test_a_stash_shows_the_tensors_that_it_holds(tuned: Repo) -> None:
    tuned.write(NAME, BASE)
    tuned.git("stash", "-q")
    shown = changed_lines(tuned.git("stash", "show", "-p").text)
    assert len(shown) == 4
    assert all(line[1:].strip().startswith("f32 8x8 ") for line in shown)
    assert tuned.read(NAME) == OTHER
    tuned.git("stash", "pop", "-q")
    assert tuned.read(NAME) == BASE


def test_a_patch_is_a_few_lines_and_gives_the_model_back(tuned: Repo) -> None:
    patch = tuned.git("format-patch", "--full-index", "--stdout", "-1", "v2").out
    assert len(patch) < 2000
    assert b"GIT binary patch" not in patch
    tuned.git("checkout", "-q", "main")
    tuned.git("am", "-q", stdin=patch)
    assert tuned.read(NAME) == OTHER
    assert tuned.status() == ""
    (tuned.path / "p.patch").write_bytes(patch)
    tuned.git("checkout", "-q", "-B", "again", "main~1")
    tuned.git("apply", "--index", "p.patch")
    assert tuned.blob(f":{NAME}") == tuned.blob(f"main:{NAME}")


def test_without_the_driver_git_compares_text_and_never_weights(tuned: Repo) -> None:
    for options in ((), ("--no-textconv",)):
        shown = tuned.git("diff", "--no-ext-diff", *options, "main", "v2").text
        assert len(changed_lines(shown)) == 4
        assert "Binary files" not in shown


def test_who_asks_for_the_file_gets_the_file(tuned: Repo) -> None:
    assert tuned.git("cat-file", "--filters", f"v1:{NAME}").out == TUNED
    tuned.git("show", f"v1:{NAME}")
    tuned.git("archive", "-o", "all.tar", "v1")
    assert TUNED in (tuned.path / "all.tar").read_bytes()
    tuned.git("checkout-index", "-f", f"--prefix={tuned.path}/out/", NAME)
    assert (tuned.path / "out" / NAME).read_bytes() == OTHER
