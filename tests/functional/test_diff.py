"""git diff and git nn diff, with the real git: per-layer tables from pointers."""

from __future__ import annotations

import json
import os
import shutil
import struct
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.git import Repo
from tests.support.keras_file import Dense, dense_layers, keras_file
from tests.support.models import normal, safetensors_file

NAME = "m.safetensors"


def tensors() -> dict[str, np.ndarray]:
    return {f"layer.{i}.w": normal(i, 8, 4) for i in range(12)}


def model(**changes: np.ndarray) -> bytes:
    """The model with tensors replaced or added; ``layer_3`` names layer.3.w."""
    found = tensors()
    for name, array in changes.items():
        found[f"layer.{name.removeprefix('layer_')}.w" if "_" in name else name] = array
    return safetensors_file(found)


BASE = model()
TUNED = model(layer_3=normal(3, 8, 4) * 2, extra=normal(99, 2))


@pytest.fixture
def committed(repo: Repo) -> Repo:
    """BASE, then TUNED, committed on main; the work tree is clean."""
    repo.write(NAME, BASE)
    repo.commit("base")
    repo.write(NAME, TUNED)
    repo.commit("tuned")
    return repo


def rows(text: str) -> list[list[str]]:
    return [
        line.split() for line in text.splitlines() if line[:2] in {"~ ", "+ ", "- ", "→ ", "! "}
    ]


def test_git_diff_of_the_work_tree_is_a_table(repo: Repo) -> None:
    repo.write(NAME, BASE)
    repo.commit("base")
    assert repo.git("diff").out == b""
    repo.write(NAME, TUNED)
    lines = repo.git("diff").text.splitlines()
    assert lines[0] == f"diff --git a/{NAME} b/{NAME}"
    assert lines[1].startswith("index ")
    assert lines[2] == f"{NAME}   1 changed, 1 added, 11 same of 13 tensors"
    changed, added = rows("\n".join(lines))
    assert changed[:6] == ["~", "layer.3.w", "8x4", "f32", "1.0e+00", "1.00000"]
    assert changed[-3:] == ["100", "%", "×2"]
    assert added == ["+", "extra", "2", "f32"]


def test_git_diff_of_commits_and_of_the_index(committed: Repo) -> None:
    between = committed.git("diff", "HEAD~1", "HEAD").text
    assert "1 changed, 1 added, 11 same of 13 tensors" in between
    committed.write(NAME, BASE)
    committed.git("add", NAME)
    assert "1 changed, 1 removed, 11 same of 13 tensors" in committed.git("diff", "--cached").text
    assert committed.git("diff").out == b""


def test_git_diff_hands_pointers_to_the_driver_and_needs_no_weights(committed: Repo) -> None:
    size = len(committed.blob(f"HEAD:{NAME}"))
    script = committed.path.parent / "driver.py"
    script.write_text(
        "import os, sys\nprint(*(os.path.getsize(p) for p in (sys.argv[2], sys.argv[5])))"
    )
    command = f'diff.nn.command="{sys.executable}" "{script}"'
    sizes = committed.git("-c", command, "diff", "HEAD~1", "HEAD").text.split()
    assert int(sizes[1]) == size
    assert int(sizes[0]) < size


@pytest.mark.parametrize(
    ("old", "new", "shown"),
    [
        (struct.pack("<I", 0x7FC00000), struct.pack("<I", 0x7FC00001), "NaN 1 → 1"),
        (struct.pack("<f", 0.0), struct.pack("<f", -0.0), "100 %"),
        (struct.pack("<f", 1.0), struct.pack("<I", 0x3F800001), "1.2e-07"),
        (struct.pack("<f", -np.inf), struct.pack("<f", -1e4), "Inf 1 → 0"),
        (struct.pack("<f", 0.0), struct.pack("<f", 1e-12), "new"),
    ],
)
def test_a_single_bit_is_a_change(repo: Repo, old: bytes, new: bytes, shown: str) -> None:
    repo.write(NAME, safetensors_file({"w": ("F32", (1,), old)}))
    repo.commit()
    repo.write(NAME, safetensors_file({"w": ("F32", (1,), new)}))
    assert repo.status() == f" M {NAME}\n"
    for text in (repo.git("diff").text, repo.nn("diff").text):
        assert "1 changed, 0 same of 1 tensor\n" in text
        assert shown in text
    repo.commit()
    assert repo.status() == ""


def test_counters_beyond_2_to_the_40_are_exact(repo: Repo) -> None:
    before = np.linspace(2**40, 2**50, 1000).astype(np.int64)
    repo.write(NAME, safetensors_file({"steps": before, "f": before.astype(np.float64)}))
    repo.commit()
    repo.write(NAME, safetensors_file({"steps": before + 1, "f": before * 3.0 + 12345}))
    found = {row[1]: row for row in rows(repo.git("diff").text)}
    assert found["steps"][6] == "1"
    assert found["steps"][-2:] == ["100", "%"]
    assert float(found["f"][6]) == pytest.approx(2 * 2**50 + 12345, rel=1e-2)


def test_added_deleted_and_renamed_files(committed: Repo) -> None:
    committed.write("new.safetensors", BASE)
    committed.git("add", "-N", "new.safetensors")
    text = committed.git("diff").text
    assert "new file mode 100644\n" in text
    assert "new.safetensors   new file, 12 tensors" in text
    committed.commit()
    committed.git("rm", "-q", "new.safetensors")
    committed.git("mv", NAME, "moved to.safetensors")
    committed.write("moved to.safetensors", model(layer_3=normal(3, 8, 4) * 2, extra=normal(98, 2)))
    committed.git("add", "-A")
    gone = committed.git("diff", "--cached", "--", "new.safetensors").text
    assert "deleted file mode 100644\n" in gone
    assert "new.safetensors   deleted, 12 tensors" in gone
    moved = committed.git("diff", "-M", "--cached").text
    assert f"rename from {NAME}\nrename to moved to.safetensors\n" in moved
    assert "moved to.safetensors   1 changed, 12 same of 13 tensors" in moved


@pytest.mark.parametrize(
    ("name", "quoted"),
    [
        (b"a b.safetensors", "a b.safetensors"),
        (b'"q\\".safetensors', r'"\"q\\\".safetensors"'),
        (b"line\nfeed\t.safetensors", r'"line\nfeed\t.safetensors"'),
        ("gewicht-ü.safetensors".encode(), "gewicht-ü.safetensors"),
        (b"latin-\xfc.safetensors", r'"latin-\374.safetensors"'),
        (b"-dash.safetensors", "-dash.safetensors"),
    ],
)
def test_any_file_name(repo: Repo, name: bytes, quoted: str) -> None:
    repo.write(os.fsdecode(name), BASE)
    repo.commit()
    repo.write(os.fsdecode(name), TUNED)
    assert f"{quoted}   1 changed, 1 added, 11 same of 13 tensors" in repo.git("diff").text
    repo.commit()
    path = os.fsdecode(name)
    for text in (
        repo.git("diff", "HEAD~1", "HEAD").text,
        repo.nn("diff", "HEAD~1", "HEAD").text,
        repo.nn("diff", "HEAD~1", "HEAD", "--", path).text,
    ):
        assert f"{quoted}   1 changed, 1 added, 11 same of 13 tensors" in text
    assert json.loads(repo.nn("diff", "HEAD~1", "--json").text)["files"][0]["path"] == path


def test_raw_weights_from_before_tracking_are_compared_too(repo: Repo) -> None:
    repo.write("m.npz.weights", BASE)
    repo.commit("raw")
    repo.write(".gitattributes", b"*.weights filter=nn diff=nn merge=nn -text\n")
    repo.git("add", "--renormalize", ".")
    repo.commit("tracked")
    assert "no change, 12 tensors" in repo.git("diff", "HEAD~1", "HEAD", "--", "*.weights").text
    repo.write("m.npz.weights", TUNED)
    repo.commit("tuned")
    for text in (
        repo.git("diff", "HEAD~2", "HEAD", "--", "*.weights").text,
        repo.nn("diff", "HEAD~2", "HEAD").text,
    ):
        assert "1 changed, 1 added, 11 same of 13 tensors" in text


def test_content_of_no_known_format_is_a_note(repo: Repo) -> None:
    repo.write("x.bin", b"some text\n")
    repo.commit()
    repo.write("x.bin", b"some other text\n")
    text = repo.git("diff").text
    assert "x.bin   content changed\n" in text
    assert "the old version is of no known format, 10 bytes\n" in text
    assert "the new version is of no known format, 16 bytes\n" in text


def test_a_clone_without_weights_still_tells_which_tensors_changed(committed: Repo) -> None:
    shutil.rmtree(committed.path / ".git" / "nn")
    text = committed.git("diff", "HEAD~1", "HEAD").text
    assert "1 changed, 1 added, 11 same of 13 tensors" in text
    assert "values are not here" in text
    assert "to get them: git nn fetch" in text
    assert "~ layer.3.w" in text


def test_a_broken_pointer_does_not_stop_the_diff_of_other_files(committed: Repo) -> None:
    text = committed.blob(f"HEAD:{NAME}")
    broken = b"<<<<<<< ours\n" + text
    oid = committed.git("hash-object", "-w", "--stdin", "--no-filters", stdin=broken).text.strip()
    committed.git("update-index", "--add", "--cacheinfo", f"100644,{oid},broken.safetensors")
    committed.git("commit", "-q", "-m", "broken")
    diff = committed.git("diff", "HEAD~2", "HEAD").text
    assert "broken.safetensors   cannot be compared: the pointer has conflict markers in it" in diff
    assert "1 changed, 1 added, 11 same of 13 tensors" in diff
    found = committed.nn("diff", "HEAD~2", "HEAD", code=6).text
    assert (
        "broken.safetensors   cannot be compared: the pointer has conflict markers in it" in found
    )
    assert "1 changed, 1 added, 11 same of 13 tensors" in found
    document = json.loads(committed.nn("diff", "HEAD~2", "HEAD", "--json", code=6).text)
    assert [problem["path"] for problem in document["problems"]] == ["broken.safetensors"]


def test_an_unmerged_path_is_named(committed: Repo) -> None:
    stages = "".join(
        f"100644 {committed.git('rev-parse', f'{rev}:{NAME}').text.strip()} {stage}\t{NAME}\n"
        for stage, rev in ((1, "HEAD~1"), (2, "HEAD"), (3, "HEAD~1"))
    )
    committed.git("rm", "-q", "--cached", NAME)
    committed.git("update-index", "--index-info", stdin=stages.encode())
    assert f"Unmerged path {NAME}" in committed.git("diff", "--cached").text
    assert committed.git("diff").text.startswith(f"diff --cc {NAME}\n")
    assert f"{NAME}   is unmerged" in committed.nn("diff").text
    assert f"{NAME}   is unmerged" in committed.nn("diff", "--cached").text


def test_colour_follows_gits_own_settings(committed: Repo) -> None:
    def coloured(*argv: str, **options: object) -> bool:
        return "\x1b[33m~ layer.3.w" in committed.git(*argv, **options).text

    revs = ("HEAD~1", "HEAD")
    assert not coloured("diff", *revs)
    assert coloured("-c", "color.diff=always", "diff", *revs)
    assert coloured("-c", "color.ui=always", "diff", *revs)
    assert coloured("diff", *revs, env={"GIT_PAGER_IN_USE": "true", "TERM": "xterm"})
    assert not coloured("-c", "color.ui=false", "diff", *revs, env={"GIT_PAGER_IN_USE": "true"})
    assert coloured("diff", "--color=always", *revs)
    assert not coloured("-c", "color.diff=always", "diff", "--no-color", *revs)
    committed.git("config", "color.diff", "always")
    assert "\x1b[33m~ layer.3.w" in committed.nn("diff", *revs).text
    assert "\x1b" not in committed.nn("diff", "--json", *revs).text


def test_a_keras_file_shows_layers_and_configuration(repo: Repo) -> None:
    layers = dense_layers(1, 6, 5, 3)
    repo.write("model.h5", keras_file(layers))
    repo.commit()
    first = layers[0]
    assert isinstance(first, Dense)
    changed = replace(first, kernel=first.kernel * np.float32(1.5), activation="tanh")
    repo.write("model.h5", keras_file([changed, layers[1]]))
    for text in (repo.git("diff").text, repo.nn("diff").text):
        assert "1 changed, 3 same of 4 tensors" in text
        (row,) = rows(text)
        assert row[2:5] == ["6x5", "f32", "5.0e-01"]
        assert "kernel" in row[1]
        assert "    dense: activation relu → tanh\n" in text


def test_a_container_without_a_changed_tensor_says_so(repo: Repo) -> None:
    repo.write(NAME, safetensors_file(tensors(), {"format": "pt"}))
    repo.commit()
    repo.write(NAME, safetensors_file(tensors(), {"format": "np"}))
    text = repo.git("diff").text
    assert "no tensor changed, container only, 12 same\n" in text
    assert "metadata.format: pt → np\n" in text


def test_the_sides_of_git_nn_diff(committed: Repo) -> None:
    change = "1 changed, 1 added, 11 same of 13 tensors"
    back = "1 changed, 1 removed, 11 same of 13 tensors"
    for words in (
        ("HEAD~1", "HEAD"),
        ("HEAD~1..HEAD",),
        ("HEAD~1..",),
        ("HEAD~1",),
        ("HEAD~1", NAME),
    ):
        assert change in committed.nn("diff", *words).text
    assert back in committed.nn("diff", "HEAD", "HEAD~1", "--", NAME).text
    assert change in committed.nn("diff", "--cached", "HEAD~1").text
    for words in ((), ("--cached",), ("HEAD",), ("HEAD~1", "HEAD", "--", "elsewhere")):
        assert committed.nn("diff", *words).out == b""
    committed.git("switch", "-q", "-c", "side", "HEAD~1")
    committed.write(NAME, model(layer_5=normal(77, 8, 4)))
    committed.commit("side")
    assert "1 changed, 11 same of 12 tensors" in committed.nn("diff", "main...side").text
    assert "2 changed, 1 removed" in committed.nn("diff", "main..side").text
    committed.write(NAME, BASE)
    assert "1 changed, 11 same" in committed.nn("diff").text
    committed.git("add", NAME)
    assert committed.nn("diff").out == b""
    assert "1 changed, 11 same" in committed.nn("diff", "--staged").text


def test_git_nn_diff_of_a_touched_file_is_empty(committed: Repo) -> None:
    os.utime(committed.path / NAME, ns=(10**18, 10**18))
    assert committed.nn("diff", "--exit-code").out == b""


def test_git_nn_diff_from_a_subfolder_and_in_a_bare_repository(committed: Repo) -> None:
    committed.write(f"sub/{NAME}", BASE)
    committed.commit()
    committed.write(f"sub/{NAME}", TUNED)
    inside = Repo(committed.path / "sub")
    assert f"sub/{NAME}   1 changed" in inside.nn("diff", "--", NAME).text
    assert f"sub/{NAME}   1 changed" in inside.nn("diff", NAME).text
    assert inside.nn("diff", "--", f"../{NAME}").out == b""
    inside.nn("diff", "--", "/nowhere/else", code=2)
    bare = committed.path.parent / "bare.git"
    committed.git("clone", "-q", "--bare", ".", str(bare))
    text = Repo(bare).nn("diff", "HEAD~2", "HEAD~1").text
    assert "1 changed, 1 added, 11 same of 13 tensors" in text


def test_forms_of_output_and_exit_codes(committed: Repo) -> None:
    revs = ("HEAD~1", "HEAD")
    assert committed.nn("diff", "--stat", *revs).text == (
        f" {NAME} | 1 changed, 1 added, 11 same of 13 tensors; most: layer.3.w, rel Δ 1.0e+00\n"
        "   extra   | 1 +\n"
        "   layer.3 | 1 ~\n"
    )
    document = json.loads(committed.nn("diff", "--json", *revs).text)
    assert document["schema"] == "git-nn diff 1"
    (file,) = document["files"]
    assert [(t["kind"], t["name"]) for t in file["tensors"]] == [
        ("changed", "layer.3.w"),
        ("added", "extra"),
    ]
    assert committed.nn("diff", "--exit-code", *revs, code=1).out
    assert committed.nn("diff", "--exit-code", "HEAD", "HEAD").out == b""
    assert "neither a revision nor a file" in committed.nn("diff", "nonsense", code=2).errors
    assert "one revision" in committed.nn("diff", "--cached", *revs, code=2).errors


def test_two_files_inside_and_outside_of_a_repository(committed: Repo, tmp_path: Path) -> None:
    plain = Repo(tmp_path / "plain")
    plain.write("a.safetensors", BASE)
    plain.write("b.safetensors", TUNED)
    plain.write("p.safetensors", committed.blob(f"HEAD:{NAME}"))
    for words in (
        ("a.safetensors", "b.safetensors"),
        ("--no-index", "a.safetensors", "b.safetensors"),
    ):
        text = plain.nn("diff", *words).text
        assert text.startswith("a.safetensors → b.safetensors   1 changed, 1 added, 11 same")
        assert "1.0e+00" in text
    assert plain.nn("diff", "--exit-code", "a.safetensors", "a.safetensors").out == b""
    assert plain.nn("diff", "b.safetensors", "p.safetensors").out == b""
    pointer = plain.nn("diff", "a.safetensors", "p.safetensors").text
    assert "1 changed, 1 added, 11 same" in pointer
    assert "values are not here" in pointer
    plain.nn("diff", "a.safetensors", "missing", code=2)
    plain.nn("diff", "--no-index", "a.safetensors", code=2)
    elsewhere = str(tmp_path / "plain" / "a.safetensors")
    assert "1 changed, 1 added, 11 same" in committed.nn("diff", elsewhere, NAME).text


def test_git_nn_diff_ignores_files_that_are_no_models(committed: Repo) -> None:
    committed.write("notes.txt", b"one\n")
    committed.commit()
    committed.write("notes.txt", b"two\n")
    assert committed.nn("diff").out == b""
    assert "notes.txt   content changed" in committed.nn("diff", "--", "notes.txt").text


def test_a_sha256_repository(tmp_path: Path) -> None:
    path = tmp_path / "sha256"
    path.mkdir()
    repo = Repo(path)
    repo.git("init", "-q", "-b", "main", "--object-format=sha256", ".")
    repo.nn("install", "--local")
    repo.nn("track", "*.safetensors")
    repo.write(NAME, BASE)
    repo.commit()
    repo.write(NAME, TUNED)
    repo.commit()
    for text in (repo.git("diff", "HEAD~1", "HEAD").text, repo.nn("diff", "HEAD~1", "HEAD").text):
        assert "1 changed, 1 added, 11 same of 13 tensors" in text


def test_ls_lists_tensors_of_any_file_in_any_version(committed: Repo, tmp_path: Path) -> None:
    lines = committed.nn("ls", NAME).text.splitlines()
    assert lines[0].startswith(f"{NAME}   safetensors, 13 tensors, 386 parameters (f32), ")
    assert lines[1].split()[:5] == ["extra", "f32", "2", "8", "B"]
    assert [line.split()[0] for line in lines[2:]] == [f"layer.{i}.w" for i in range(12)]
    assert len(committed.nn("ls", f"HEAD~1:{NAME}").text.splitlines()) == 13
    (committed.path / NAME).unlink()
    assert len(committed.nn("ls", NAME).text.splitlines()) == 14
    document = json.loads(committed.nn("ls", "--json", f":{NAME}").text)
    assert [t["name"] for t in document["tensors"]][:2] == ["extra", "layer.0.w"]
    assert document["tensors"][0]["bytes"] == 8
    plain = Repo(tmp_path / "plain")
    plain.write("a.safetensors", BASE)
    assert len(plain.nn("ls", "a.safetensors").text.splitlines()) == 13
    plain.nn("ls", "missing", code=2)
    committed.nn("ls", "HEAD:missing", code=2)


def test_ls_says_why_a_file_is_opaque(committed: Repo) -> None:
    committed.write("bad.safetensors", BASE[:-1])
    lines = committed.nn("ls", "bad.safetensors").text.splitlines()
    assert lines[0] == "bad.safetensors   no known format"
    assert lines[1].startswith("  looks like safetensors, but ")


def test_show_sums_up_a_commit(committed: Repo) -> None:
    text = committed.nn("show").text
    assert text.startswith(f"{NAME}   safetensors, 13 tensors, 386 parameters (f32), 1.5 KiB\n")
    assert "  from the parent: 1 changed, 1 added, 11 same of 13 tensors\n" in text
    assert "  from the parent: new file\n" in committed.nn("show", "HEAD~1").text
    assert committed.nn("show", f"HEAD:{NAME}").text == text
    assert committed.nn("show", "main").text == text
    committed.nn("show", "nonsense", code=2)
    committed.nn("show", "HEAD:nonsense", code=2)


@pytest.mark.parametrize("break_it", [lambda p: p.unlink(), lambda p: p.write_bytes(b"x" * 100)])
def test_a_damaged_store_leaves_a_report(committed: Repo, break_it: Callable[[Path], None]) -> None:
    for path in (committed.path / ".git" / "nn" / "packs").rglob("*"):
        if path.is_file():
            break_it(path)
    text = committed.git("diff", "HEAD~1", "HEAD").text
    assert text.startswith(f"diff --git a/{NAME} b/{NAME}\n")
    assert NAME in text.splitlines()[2]
