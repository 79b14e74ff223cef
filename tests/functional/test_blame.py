"""git blame names, for every tensor, the commit that last changed it (beside test_log.py)."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.support.git import Repo
from tests.support.keras_file import dense_layers, keras_file, tensor_path, tuned
from tests.support.models import normal, safetensors_file

NAME = "sub dir/model.safetensors"
UNCOMMITTED = "0" * 40


def model(**seeds: int) -> bytes:
    """Twenty tensors w0 ... w19, of other values where a seed is given, and more where named so."""
    seeds = {f"w{i}": i for i in range(20)} | seeds
    return safetensors_file({name: normal(seed, 6, 4) for name, seed in seeds.items()})


def put(repo: Repo, data: bytes, message: str) -> str:
    repo.write(NAME, data)
    return repo.commit(message)


def blamed(repo: Repo, *arguments: str, name: str = NAME) -> dict[str, str]:
    """The commit of each line, by the line's first word, which is the tensor's name."""
    found: dict[str, str] = {}
    commit = ""
    for line in repo.git("blame", "--line-porcelain", *arguments, "--", name).text.splitlines():
        word = line.split(" ")[0]
        if len(word) == 40 and word.strip("0123456789abcdef") == "":
            commit = word
        elif line.startswith("\t"):
            found[line[1:].split(" ")[0]] = commit
    return found


def of(found: dict[str, str], commit: str) -> set[str]:
    return {name for name, by in found.items() if by == commit}


@dataclass(frozen=True)
class History:
    """Three commits: base; then w3 and its neighbour w4; then w3 again."""

    repo: Repo
    base: str
    both: str
    again: str


@pytest.fixture
def history(repo: Repo) -> History:
    base = put(repo, model(), "base")
    both = put(repo, model(w3=50, w4=51), "w3 and w4")
    return History(repo, base, both, put(repo, model(w3=60, w4=51), "w3 again"))


def test_each_tensor_has_the_commit_that_changed_it_last(history: History) -> None:
    repo = history.repo
    found = blamed(repo)
    assert of(found, history.again) == {"w3"}
    assert of(found, history.both) == {"w4"}
    assert of(found, history.base) == {"format", "container"} | {
        f"w{i}" for i in range(20) if i not in (3, 4)
    }
    assert of(blamed(repo, history.both), history.both) == {"w3", "w4"}
    assert set(blamed(repo, "-L", "/^w3 /,+2")) == {"w3", "w4"}


def test_only_what_changed_in_the_work_tree_is_uncommitted(history: History) -> None:
    repo = history.repo
    before = blamed(repo)
    repo.write(NAME, model(w3=60, w4=51, w9=70))
    assert blamed(repo) == {**before, "w9": UNCOMMITTED}
    repo.git("add", NAME)
    assert blamed(repo) == {**before, "w9": UNCOMMITTED}
    shown = [x for x in repo.git("blame", NAME).text.splitlines() if x.startswith("00000000 ")]
    assert [line.split(") ")[-1].split()[0] for line in shown] == ["w9"]
    repo.write(NAME, model(w3=60, w4=51, extra=70))
    assert of(blamed(repo), UNCOMMITTED) == {"container", "extra"}


def test_an_unchanged_file_has_no_uncommitted_line_whatever_the_work_tree_holds(
    history: History,
) -> None:
    repo = history.repo
    committed = blamed(repo, "HEAD")
    assert blamed(repo) == committed
    repo.write(NAME, repo.blob(f"HEAD:{NAME}"))
    assert blamed(repo) == committed


def test_after_a_merge_each_tensor_has_its_branch_commit(history: History) -> None:
    repo = history.repo
    repo.git("switch", "-q", "-c", "side")
    side = put(repo, model(w3=60, w4=51, w10=80), "side")
    repo.git("switch", "-q", "main")
    main = put(repo, model(w3=60, w4=51, w11=81), "main")
    repo.git("merge", "-q", "--no-edit", "side")
    found = blamed(repo)
    assert of(found, side) == {"w10"}
    assert of(found, main) == {"w11"}
    assert of(found, history.again) == {"w3"}
    assert of(found, repo.git("rev-parse", "HEAD").text.strip()) == set()


def test_a_renamed_file_keeps_its_history(history: History) -> None:
    repo = history.repo
    before = blamed(repo)
    repo.git("mv", NAME, "new.safetensors")
    repo.commit("rename")
    assert blamed(repo, name="new.safetensors") == before


def test_annotate_says_the_same(history: History) -> None:
    repo = history.repo
    lines = repo.git("annotate", NAME).text.splitlines()
    named = {line.split(")")[-1].split()[0]: line.split("\t")[0] for line in lines}
    assert history.again.startswith(named["w3"])
    assert history.both.startswith(named["w4"])
    assert history.base.startswith(named["w5"])


def test_the_layers_of_a_keras_file_are_blamed_one_by_one(repo: Repo) -> None:
    layers = dense_layers(1, 6, 5, 3)
    repo.write("m.h5", keras_file(layers))
    base = repo.commit("base")
    repo.write("m.h5", keras_file(tuned(layers, 2, "dense_1")))
    head = repo.commit("head")
    found = blamed(repo, name="m.h5")
    assert of(found, head) == {tensor_path("dense_1", word) for word in ("bias", "kernel")}
    assert tensor_path("dense", "kernel") in of(found, base)


def test_without_textconv_the_stanzas_of_the_pointer_are_blamed(history: History) -> None:
    repo = history.repo
    repo.git("config", "--unset", "diff.nn.textconv")
    lines = repo.git("blame", "-s", "--abbrev=40", "HEAD", "--", NAME).text.splitlines()
    changed = [i for i, line in enumerate(lines) if line.startswith(history.again[:40])]
    assert len(changed) == 1
    assert lines[changed[0] - 1].endswith(") tensor w3")
