"""A recipe file in the repository chooses strategies, through the real driver."""

from __future__ import annotations

from pathlib import Path

from tests.functional.test_merge import MODEL, X, Y, content, mean, model, start

RECIPE = """version = 1
[[rule]]
path = "sub dir/*"
strategy = "mean"
[[rule]]
tensor = "b"
strategy = "theirs"
[[rule]]
path = "*.h5"
strategy = "ours"
"""
FILE = ".gitnn-merge.toml"


def test_a_recipe_that_is_committed_chooses_for_each_tensor(tmp_path: Path) -> None:
    repo = start(tmp_path, model(a=X, b=X, c=X), model(a=Y, b=Y)).repo
    repo.write(FILE, RECIPE.encode())
    repo.commit("recipe")
    done = repo.git("merge", "--no-edit", "side")
    assert "1 by mean:weight=0.5, 1 by theirs" in done.errors
    assert content(repo) == model(a=mean(X, Y), b=Y, c=X)


def test_the_work_tree_counts_then_the_index_and_the_variable_more_than_both(
    tmp_path: Path,
) -> None:
    repo = start(tmp_path, model(a=X), model(a=Y)).repo
    repo.write(FILE, RECIPE.encode())
    repo.commit("recipe")
    repo.write(FILE, b'version = 1\n[[rule]]\nstrategy = "theirs"\n')
    repo.git("merge", "-q", "--no-edit", "side")
    assert repo.read(MODEL) == model(a=Y)
    repo.git("reset", "-q", "--hard", "HEAD^")
    (repo.path / FILE).unlink()
    repo.git("merge", "-q", "--no-edit", "side")
    assert repo.read(MODEL) == model(a=mean(X, Y))
    repo.git("reset", "-q", "--hard", "HEAD^")
    repo.git("merge", "-q", "--no-edit", "side", env={"GIT_NN_MERGE": "ours"})
    assert repo.read(MODEL) == model(a=X)


def test_a_recipe_that_makes_no_sense_is_a_conflict_and_nothing_is_lost(tmp_path: Path) -> None:
    repo = start(tmp_path, model(a=X), model(a=Y)).repo
    (tmp_path / "outside.toml").write_bytes(RECIPE.encode())
    (repo.path / FILE).symlink_to(tmp_path / "outside.toml")
    failed = repo.git("merge", "--no-edit", "side", code=1)
    assert f"{FILE} cannot be read" in failed.errors  # links are not followed
    assert repo.read(MODEL) == model(a=X)
    repo.git("merge", "--abort")
    (repo.path / FILE).unlink()
    repo.write(FILE, b'version = 1\n\n[[rule]]\nstrategy = "karcha"\n')
    failed = repo.git("merge", "--no-edit", "side", code=1)
    assert f"{FILE}, line 3, rule 1 is 'karcha', which names no merge strategy" in failed.errors
    assert repo.read(MODEL) == model(a=X)
    repo.nn("resolve", "--theirs")
    repo.git("commit", "-q", "--no-edit")
    assert repo.read(MODEL) == model(a=Y)
