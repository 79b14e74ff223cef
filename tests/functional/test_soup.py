"""git nn soup: many branches in one step, through the real Git."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import h5py
import numpy as np

from tests.support.git import Repo
from tests.support.models import normal, safetensors_arrays, safetensors_file

NAMES = ("one", "two", "three")
MODEL = "models/m.safetensors"
SHAPE = (40, 30)


def tensor(seed: int) -> np.ndarray:
    return normal(seed, *SHAPE)


BASE = {"w": tensor(1), "same": tensor(2), "only.one": tensor(3), "only.two": tensor(4)}


def fine_tune(number: int) -> dict[str, np.ndarray]:
    """Every branch changes ``w``; the first two also one of their own, the third nothing more."""
    step = np.float32(0.1) * tensor(10 + number)
    changed = {"w": BASE["w"] + step}
    if number < 2:
        name = f"only.{NAMES[number]}"
        changed[name] = BASE[name] + step
    return BASE | changed


def start(folder: Path, models: list[dict[str, np.ndarray]] | None = None) -> Repo:
    """A branch for each model, all from the tag start on main, where we are."""
    repo = Repo.create(folder)
    repo.write(MODEL, safetensors_file(BASE))
    repo.write("notes.txt", b"".join(b"line %d\n" % i for i in range(30)))
    repo.commit("start")
    repo.git("tag", "start")
    for number, model in enumerate(models or [fine_tune(i) for i in range(3)]):
        repo.git("switch", "-q", "-c", NAMES[number], "start")
        repo.write(MODEL, safetensors_file(model))
        repo.write(f"log-{NAMES[number]}.txt", b"done\n")
        lines = repo.read("notes.txt").splitlines(keepends=True)
        lines[10 * number] = b"changed by %s\n" % NAMES[number].encode()
        repo.write("notes.txt", b"".join(lines))
        repo.commit(NAMES[number])
    repo.git("switch", "-q", "main")
    return repo


def heads(repo: Repo, *names: str) -> list[str]:
    return [repo.git("rev-parse", name).text.strip() for name in names]


def mean_of(models: list[dict[str, np.ndarray]], name: str) -> np.ndarray:
    return np.mean([model[name].astype(np.float64) for model in models], axis=0)


def test_a_soup_is_the_mean_of_all_branches_and_one_commit(tmp_path: Path) -> None:
    repo = start(tmp_path / "repo")
    parents = heads(repo, "main", *NAMES)
    told = repo.nn("soup", *NAMES).text
    assert told == f"{MODEL}: 1 tensor by mean:weight=0.5\n"
    assert repo.status() == ""
    assert repo.git("rev-list", "--parents", "-n1", "HEAD").text.split()[1:] == parents
    assert heads(repo, "HEAD") == heads(repo, "main")
    found = safetensors_arrays(repo.read(MODEL))
    models = [fine_tune(i) for i in range(3)]
    np.testing.assert_allclose(found["w"], mean_of(models, "w"), rtol=1e-6)
    assert found["same"].tobytes() == BASE["same"].tobytes()
    for name in ("one", "two"):  # changed by one branch: taken, not averaged with the base
        expected = fine_tune(NAMES.index(name))[f"only.{name}"]
        assert found[f"only.{name}"].tobytes() == expected.tobytes()
    lines = repo.read("notes.txt").splitlines()
    assert [lines[i] for i in (0, 10, 20)] == [b"changed by " + n.encode() for n in NAMES]
    assert all((repo.path / f"log-{name}.txt").is_file() for name in NAMES)
    message = repo.git("log", "-1", "--format=%B").text
    assert message.startswith("Merge branches 'one', 'two' and 'three' in one\n\n")
    assert f"NN-Merge: {MODEL} mean:weight=0.5\n" in message
    assert not list((repo.path / ".git").glob("octopus-*"))
    repo.git("fsck", "--strict")
    repo.nn("fsck")


def test_what_has_been_merged_is_not_merged_again(tmp_path: Path) -> None:
    repo = start(tmp_path / "repo")
    repo.nn("soup", *NAMES)
    before = heads(repo, "HEAD")
    assert repo.nn("soup", "one", "two").text == "Already up to date.\n"
    assert repo.nn("soup", "two").text == "Already up to date.\n"
    assert heads(repo, "HEAD") == before


def test_a_strategy_gets_the_branches_that_left_a_tensor_alone_too(tmp_path: Path) -> None:
    models = [fine_tune(0), fine_tune(1), BASE]
    models[2] = BASE | {"same": tensor(9)}
    repo = start(tmp_path / "repo", models)
    repo.nn("soup", "-s", "mean", *NAMES)
    found = safetensors_arrays(repo.read(MODEL))
    np.testing.assert_allclose(found["w"], mean_of(models, "w"), rtol=1e-6)
    assert found["same"].tobytes() == models[2]["same"].tobytes()


def test_ties_over_three_branches_with_parameters_and_a_message(tmp_path: Path) -> None:
    repo = start(tmp_path / "repo")
    repo.nn(
        "soup", "-s", "ties", "--set", "density=0.5", "--set", "lambda=0.8", "-m", "pot", *NAMES
    )
    base = BASE["w"].astype(np.float64)
    changes = [fine_tune(i)["w"].astype(np.float64) - base for i in range(3)]
    kept = []
    for change in changes:
        least = np.sort(np.abs(change), axis=None)[-change.size // 2]
        kept.append(np.where(np.abs(change) >= least, change, 0))
    stack = np.stack(kept)
    agree = (np.sign(stack) == np.where(stack.sum(axis=0) >= 0, 1, -1)) & (stack != 0)
    expected = base + 0.8 * (stack * agree).sum(axis=0) / np.maximum(agree.sum(axis=0), 1)
    found = safetensors_arrays(repo.read(MODEL))["w"]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
    message = repo.git("log", "-1", "--format=%B").text
    assert message.startswith("pot\n\n")
    assert "ties:density=0.5,lambda=0.8" in message
    repo.git("config", "nn.merge.strategy", "ours")  # a replay goes by the trailers alone
    assert repo.nn("merge", "--replay", "HEAD").text == f"{MODEL}: the same, bit for bit\n"


def test_head_is_a_side_where_it_has_moved_on(tmp_path: Path) -> None:
    repo = start(tmp_path / "repo")
    repo.git("switch", "-q", "one")
    repo.nn("soup", "two", "three")
    found = safetensors_arrays(repo.read(MODEL))["w"]
    np.testing.assert_allclose(found, mean_of([fine_tune(i) for i in range(3)], "w"), rtol=1e-6)
    message = repo.git("log", "-1", "--format=%s").text
    assert message == "Merge branches 'HEAD', 'two' and 'three' in one\n"
    assert heads(repo, "HEAD") == heads(repo, "one")


def test_into_makes_a_branch_and_leaves_all_else_alone(tmp_path: Path) -> None:
    repo = start(tmp_path / "repo")
    repo.write("notes.txt", b"in the middle of something\n")
    before = heads(repo, "HEAD", "main")
    repo.nn("soup", "--into", "pot", "two", "one")
    assert heads(repo, "HEAD", "main") == before
    assert repo.read("notes.txt") == b"in the middle of something\n"
    assert heads(repo, "pot^1", "pot^2") == heads(repo, "two", "one")
    assert "there is a branch" in repo.nn("soup", "--into", "pot", "two", "one", code=2).errors
    assert "NN-Merge-Sides: 1 2\n" in repo.git("log", "-1", "--format=%B", "pot").text
    assert repo.nn("merge", "--replay", "pot").text == f"{MODEL}: the same, bit for bit\n"
    repo.git("checkout", "-q", "notes.txt")
    repo.git("switch", "-q", "pot")
    found = safetensors_arrays(repo.read(MODEL))["w"]
    np.testing.assert_allclose(found, mean_of([fine_tune(0), fine_tune(1)], "w"), rtol=1e-6)


def test_no_commit_stops_where_git_commit_goes_on(tmp_path: Path) -> None:
    repo = start(tmp_path / "repo")
    parents = heads(repo, "main", *NAMES)
    repo.nn("soup", "--no-commit", *NAMES)
    assert heads(repo, "HEAD") == parents[:1]
    weights = repo.read(MODEL)
    repo.git("commit", "-q", "--no-edit")
    assert repo.status() == ""
    assert repo.read(MODEL) == weights
    assert repo.git("rev-list", "--parents", "-n1", "HEAD").text.split()[1:] == parents
    assert "NN-Merge: " in repo.git("log", "-1", "--format=%B").text


def test_a_conflict_in_another_file_is_refused_by_its_name(tmp_path: Path) -> None:
    repo = start(tmp_path / "repo")
    repo.git("switch", "-q", "two")
    repo.write("notes.txt", b"all anew\n")
    repo.commit("two again")
    repo.git("switch", "-q", "main")
    refused(repo, "notes.txt: Git cannot merge what two", *NAMES)


def test_tensors_that_cannot_be_computed_are_refused_by_their_names(tmp_path: Path) -> None:
    models = [fine_tune(i) for i in range(3)]
    models[0]["ids"], models[2]["ids"] = np.arange(4), np.arange(1, 5)
    del models[1]["w"]
    repo = start(tmp_path / "repo", models)
    errors = refused(repo, f"{MODEL} cannot be merged", *NAMES)
    assert "ids: changed by several branches" in errors
    assert "w: changed by several branches" in errors


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    repo = start(tmp_path / "repo")
    refused(repo, "slerp is for two sides", "-s", "slerp", *NAMES)
    refused(repo, "settles nothing", "-s", "theirs", *NAMES)
    refused(repo, "about a strategy", "--set", "t=1", *NAMES)
    refused(repo, "two branches or more", "main")
    refused(repo, "names no commit", "one", "nowhere")
    repo.write("notes.txt", b"mine\n")
    assert "not committed" in repo.nn("soup", *NAMES, code=2).errors
    assert repo.read("notes.txt") == b"mine\n"


def test_statistics_beside_the_model_weigh_it_and_a_missing_file_is_named(tmp_path: Path) -> None:
    repo = start(tmp_path / "repo")
    known = {}
    for number, name in enumerate(NAMES):
        if number < 2:
            known[name] = np.abs(tensor(40 + number)).astype(np.float32)
            repo.git("switch", "-q", name)
            data = safetensors_file({"w": known[name]})
            repo.write("models/m.fisher.safetensors", data)
            repo.commit("fisher")
    repo.git("switch", "-q", "main")
    why = "three has no models/m.fisher.safetensors"
    refused(repo, why, "-s", "fisher", *NAMES)
    repo.nn("soup", "-s", "fisher", "--set", "floor=0", "one", "two")
    assert repo.status() == ""
    first, second = known["one"].astype(float), known["two"].astype(float)
    a, b = fine_tune(0)["w"].astype(float), fine_tune(1)["w"].astype(float)
    found = safetensors_arrays(repo.read(MODEL))["w"]
    np.testing.assert_allclose(found, (first * a + second * b) / (first + second), rtol=1e-5)
    both = safetensors_arrays(repo.read("models/m.fisher.safetensors"))["w"]
    np.testing.assert_allclose(both, (first + second) / 2, rtol=1e-6)


def test_what_a_branch_renamed_meets_the_changes_of_the_others(tmp_path: Path) -> None:
    """The file on one branch, its tensors on that and the same on another one."""
    models = [fine_tune(i) for i in range(3)]
    named = [{f"module.{name}": value for name, value in model.items()} for model in models]
    repo = start(tmp_path / "repo", [named[0], models[1], models[2]])
    moved = "models/moved.safetensors"
    repo.git("switch", "-q", "three")
    repo.git("mv", MODEL, moved)
    repo.commit("moved")
    repo.git("switch", "-q", "main")
    told = repo.nn("soup", *NAMES).text
    assert "one renamed 4 tensors" in told
    assert repo.status() == ""
    assert not (repo.path / MODEL).exists()
    found = safetensors_arrays(repo.read(moved))
    assert found.keys() == named[0].keys()
    np.testing.assert_allclose(found["module.w"], mean_of(models, "w"), rtol=1e-6)
    for name in ("only.one", "only.two"):
        expected = models[NAMES.index(name.removeprefix("only."))][name]
        assert found[f"module.{name}"].tobytes() == expected.tobytes()
    assert repo.nn("merge", "--replay", "HEAD").text == f"{moved}: the same, bit for bit\n"


def test_rows_that_different_branches_changed_and_added_are_woven(tmp_path: Path) -> None:
    """One row of the embedding on each branch, and two more tokens on one of them."""
    name = "embed_tokens.weight"
    base = {name: tensor(30), "w": tensor(1)}
    models = [base | {name: base[name].copy()} for _ in NAMES]
    for number, model in enumerate(models):
        model[name][5 + number] = number
    models[1][name] = np.concatenate([models[1][name], tensor(31)[:2]])
    repo = Repo.create(tmp_path / "repo")
    repo.write(MODEL, safetensors_file(base))
    repo.commit("start")
    for branch, model in zip(NAMES, models, strict=True):
        repo.git("switch", "-q", "-c", branch, "main")
        repo.write(MODEL, safetensors_file(model))
        repo.commit(branch)
    repo.git("switch", "-q", "main")
    told = repo.nn("soup", *NAMES).text
    assert f"tensor {name}: the rows of several branches" in told
    expected = np.concatenate([base[name], tensor(31)[:2]])
    expected[5:8] = np.arange(3, dtype=np.float32)[:, None]
    assert safetensors_arrays(repo.read(MODEL))[name].tobytes() == expected.tobytes()
    assert repo.status() == ""
    repo.nn("fsck")
    repo.git("reset", "-q", "--hard", "HEAD^")
    repo.git("config", "nn.merge.ladder", "tensor")  # their shapes differ, then
    refused(repo, f"{name}: changed by several branches; mean needs one dtype", *NAMES)


def test_compressed_datasets_of_three_branches_are_in_one_file(tmp_path: Path) -> None:
    """Each changed one alone, and all of them a fourth."""
    base = {"a": tensor(1), "b": tensor(2), "c": tensor(3), "all": tensor(4)}
    repo = Repo.create(tmp_path / "repo")
    repo.write("m.h5", compressed(base))
    repo.commit("start")
    models = []
    for number, (branch, own) in enumerate(zip(NAMES, "abc", strict=True)):
        models.append(base | {own: tensor(50 + number), "all": tensor(60 + number)})
        repo.git("switch", "-q", "-c", branch, "main")
        repo.write("m.h5", compressed(models[-1]))
        repo.commit(branch)
    repo.git("switch", "-q", "main")
    repo.nn("soup", *NAMES)
    with h5py.File(repo.path / "m.h5") as file:
        for own, model in zip("abc", models, strict=True):
            assert file[own][:].tobytes() == model[own].tobytes()
        np.testing.assert_allclose(file["all"][:], mean_of(models, "all"), rtol=1e-6)
    assert repo.status() == ""
    assert repo.nn("merge", "--replay", "HEAD").text == "m.h5: the same, bit for bit\n"


def compressed(model: dict[str, np.ndarray]) -> bytes:
    file = BytesIO()
    with h5py.File(file, "w") as made:
        for name, value in model.items():
            made.create_dataset(name, data=value, chunks=True, compression="gzip")
    return file.getvalue()


def test_tensors_that_two_branches_renamed_differently_are_refused(tmp_path: Path) -> None:
    def renamed(number: int, start: str) -> dict[str, np.ndarray]:
        return {start + name: value for name, value in fine_tune(number).items()}

    models = [renamed(0, "module."), renamed(1, "net."), fine_tune(2)]
    repo = start(tmp_path / "repo", models)
    refused(repo, "renamed from only.two by one, to net.only.two by two", *NAMES)


def test_a_soup_of_two_that_git_commit_ends_keeps_what_it_says(tmp_path: Path) -> None:
    repo = start(tmp_path / "repo")
    repo.nn("install", "--hooks")
    repo.git("switch", "-q", "one")
    repo.git("config", "nn.merge.only*.strategy", "ours")
    repo.nn("soup", "--no-commit", "two")
    repo.git("commit", "-q", "--no-edit")
    message = repo.git("log", "-1", "--format=%B").text
    assert "NN-Merge-Sides: 1 2\n" in message
    assert "only" not in message  # no tensor asked for that rule
    assert repo.nn("merge", "--replay", "HEAD").text == f"{MODEL}: the same, bit for bit\n"
    repo.write(MODEL, safetensors_file(BASE | {"w": tensor(77)}))
    repo.git("commit", "-q", "-a", "--amend", "--no-edit")
    told = repo.nn("merge", "--replay", "HEAD", code=1).text
    assert "differ" in told
    assert "w" in told


def refused(repo: Repo, why: str, *words: str) -> str:
    """The message; nothing may have changed."""
    before = heads(repo, "HEAD", "main")
    errors = repo.nn("soup", *words, code=None)
    assert errors.code not in (0, 70), errors.errors
    assert why in errors.errors
    assert repo.status() == ""
    assert heads(repo, "HEAD", "main") == before
    assert not (repo.path / ".git/MERGE_HEAD").exists()
    return errors.errors
