"""git log -p, show and blame read per layer, through textconv and its cache."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from tests.support.git import Repo
from tests.support.keras_file import Dense, dense_layers, keras_file
from tests.support.models import normal, safetensors_file

NAME = "m.safetensors"


def model(fmt: str = "pt", **changes: int) -> bytes:
    """Twelve tensors; ``layer_3=77`` gives layer.3.w the values of seed 77."""
    seeds = {f"layer_{i}": i for i in range(12)} | changes
    tensors = {f"{name.replace('_', '.')}.w": normal(seed, 8, 4) for name, seed in seeds.items()}
    return safetensors_file(tensors, {"format": fmt})


@pytest.fixture
def history(repo: Repo) -> Repo:
    """Four commits: base, layer 3, layer 10, another metadata entry."""
    for message, data in (
        ("base", model()),
        ("layer 3", model(layer_3=77)),
        ("layer 10", model(layer_3=77, layer_10=78)),
        ("metadata", model("np", layer_3=77, layer_10=78)),
    ):
        repo.write(NAME, data)
        repo.commit(message)
    return repo


def changed(text: str) -> list[str]:
    return [
        line
        for line in text.splitlines()
        if line[:1] in {"+", "-"} and line[:3] not in {"+++", "---"}
    ]


def test_log_p_shows_the_lines_of_the_layers_that_changed(history: Repo) -> None:
    patches = history.git("log", "-p", "--format=%s", "--", NAME).text.split("diff --git ")
    assert len(patches) == 5
    metadata, ten, three, base = (changed(patch) for patch in patches[1:])
    assert [line.split()[0] for line in three] == ["-layer.3.w", "+layer.3.w"]
    assert [line.split()[0] for line in ten] == ["-layer.10.w", "+layer.10.w"]
    assert metadata[-2:] != metadata[:2]
    assert "-metadata.format: pt" in metadata
    assert "+metadata.format: np" in metadata
    assert len(base) == 3 + 12
    assert three[0].split()[1:3] == ["f32", "8x4"]
    assert len(three[0].split()[3]) == 12


def test_show_shows_the_change_of_a_commit(history: Repo) -> None:
    text = history.git("show", "HEAD~1").text
    assert [line.split()[0] for line in changed(text)] == ["-layer.10.w", "+layer.10.w"]
    whole = history.git("show", "--textconv", f"HEAD:{NAME}").text.splitlines()
    assert whole[0] == "format safetensors"
    assert len(whole) == 3 + 12


def test_blame_tells_which_commit_last_changed_each_layer(history: Repo) -> None:
    text = history.git("blame", "-s", "--porcelain", NAME).text
    subjects: dict[str, str] = {}
    found: dict[str, str] = {}
    commit = ""
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if len(word) == 40:
            commit = word
        elif word == "summary":
            subjects[commit] = rest
        elif line.startswith("\t"):
            found[line[1:].split(" ")[0]] = commit
    assert subjects[found["layer.3.w"]] == "layer 3"
    assert subjects[found["layer.10.w"]] == "layer 10"
    assert subjects[found["layer.0.w"]] == "base"
    assert subjects[found["metadata.format:"]] == "metadata"


def test_blame_of_an_uncommitted_change(history: Repo) -> None:
    history.write(NAME, model("np", layer_3=77, layer_10=79))
    line = next(x for x in history.git("blame", NAME).text.splitlines() if "layer.10.w" in x)
    assert line.startswith("00000000")


def test_the_second_log_starts_neither_textconv_nor_filter(history: Repo) -> None:
    first = history.git("log", "-p", "--", NAME)
    trace = history.path.parent / "trace"
    second = history.git("log", "-p", "--", NAME, env={"GIT_TRACE": str(trace)})
    assert second.out == first.out
    assert "git_nn" not in trace.read_text()
    history.git("rev-parse", "--verify", "refs/notes/textconv/nn")


def test_log_s_finds_the_commits_that_brought_a_tensor(history: Repo) -> None:
    history.write(NAME, model("np", layer_3=77, layer_10=78, extra=5))
    history.commit("brings extra")
    found = history.git("log", "-S", "extra.w", "--format=%s").text
    assert found == "brings extra\n"


def test_the_text_of_a_work_tree_file_is_that_of_its_commit(history: Repo) -> None:
    committed = history.git("cat-file", "--textconv", f"HEAD:{NAME}").text
    command = history.git("config", "diff.nn.textconv").text.strip()
    assert history.run("sh", "-c", f"{command} {NAME}").text == committed
    history.write("pointer", history.blob(f"HEAD:{NAME}"))
    assert history.run("sh", "-c", f"{command} pointer").text == committed


def test_a_keras_file_reads_layer_by_layer(repo: Repo) -> None:
    layers = dense_layers(1, 6, 5, 3)
    repo.write("model.h5", keras_file(layers))
    repo.commit()
    first = layers[0]
    assert isinstance(first, Dense)
    repo.write("model.h5", keras_file([replace(first, activation="tanh"), layers[1]]))
    repo.commit()
    lines = changed(repo.git("log", "-1", "-p").text)
    shown = [line for line in lines if "Dense" in line]
    assert [line.split()[:3] for line in shown] == [
        ["-", "dense:", "Dense"],
        ["+", "dense:", "Dense"],
    ]
    assert "activation=tanh" in shown[1]


def test_a_change_between_the_tensors_only_is_visible(repo: Repo) -> None:
    a, b = np.float32([1, 2]), np.float32([3, 4])
    repo.write(NAME, safetensors_file({"a": a, "b": b}))
    repo.commit()
    repo.write(NAME, safetensors_file({"b": b, "a": a}))
    repo.commit()
    lines = changed(repo.git("log", "-1", "-p").text)
    assert [line.split()[0] for line in lines] == ["-container", "+container"]


def test_content_of_no_known_format_is_one_line(repo: Repo) -> None:
    repo.write("x.bin", b"some text\n")
    repo.commit()
    repo.write("x.bin", b"some other text\n")
    repo.commit()
    old, new = changed(repo.git("show").text)
    assert old.startswith("-no known format: 10 bytes, content ")
    assert new.startswith("+no known format: 16 bytes, content ")


def test_a_conflict_marker_in_a_committed_pointer_is_shown_as_it_is(history: Repo) -> None:
    broken = b"<<<<<<< ours\n" + history.blob(f"HEAD:{NAME}")
    oid = history.git("hash-object", "-w", "--stdin", "--no-filters", stdin=broken).text.strip()
    history.git("update-index", "--cacheinfo", f"100644,{oid},{NAME}")
    history.git("commit", "-q", "-m", "broken")
    text = history.git("show").text
    assert "+not a valid pointer: the pointer has conflict markers in it" in text
    assert "+<<<<<<< ours" in text


def test_without_the_store_tensors_are_still_told_apart(history: Repo) -> None:
    shutil.rmtree(history.path / ".git" / "nn")
    text = history.git("show", "HEAD~1").text
    assert [line.split()[0] for line in changed(text)] == ["-layer.10.w", "+layer.10.w"]
    assert "structure is not here" in history.git("show", "--textconv", f"HEAD:{NAME}").text


def test_a_merge_commit_shows_a_combined_diff(history: Repo) -> None:
    history.git("switch", "-q", "-c", "side", "HEAD~1")
    history.write(NAME, model(layer_3=77, layer_10=78, layer_5=80))
    history.commit("side")
    history.git("switch", "-q", "main")
    history.write(NAME, model("np", layer_3=77, layer_10=78, layer_7=81))
    history.commit("main")
    history.git("merge", "-q", "--no-edit", "side")
    text = history.git("show", "-c", "HEAD").text
    words = [line.split(" f32 ")[0] for line in text.splitlines() if " f32 " in line]
    assert "+ layer.5.w" in words  # new to the first parent
    assert " +layer.7.w" in words  # new to the second
