"""git nn diff --check, --checks and --threshold with the real git, as CI would run them."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support import onnx_file
from tests.support.git import Repo
from tests.support.models import normal, safetensors_file

NAME = "m.safetensors"
REVS = ("HEAD~1", "HEAD")


def tensors() -> dict[str, np.ndarray]:
    return {
        "embed.w": normal(1, 10, 4),
        **{f"layers.{i}.mlp.w": normal(10 + i, 8, 4) for i in range(3)},
        "head.w": normal(2, 4, 3),
    }


def tuned(**changes: np.ndarray) -> bytes:
    names = {name.replace(".", "_"): name for name in tensors()}
    return safetensors_file(
        tensors() | {names.get(key, key): array for key, array in changes.items()}
    )


@pytest.fixture
def trained(repo: Repo) -> Repo:
    """The head and one layer trained in the last commit."""
    repo.write(NAME, safetensors_file(tensors()))
    repo.commit("base")
    layer, head = tensors()["layers.1.mlp.w"], tensors()["head.w"]
    repo.write(NAME, tuned(layers_1_mlp_w=layer * np.float32(1.01), head_w=head * 2))
    repo.commit("tuned")
    return repo


def checks(*texts: str) -> list[str]:
    return [word for text in texts for word in ("--check", text)]


def test_checks_that_hold(trained: Repo) -> None:
    done = trained.nn("diff", *REVS, *checks("embed* unchanged", "layers.* relL2 < 2%", "no nan"))
    assert f"{NAME}   2 changed, 3 same of 5 tensors" in done.text
    assert done.errors == "git-nn: 3 checks passed\n"


def test_a_line_for_each_check_that_failed(trained: Repo) -> None:
    asked = checks("relL2 < 0.5", "embed* unchanged", "only layers* changed", "distance < 1e-6")
    lines = trained.nn("diff", *REVS, *asked, code=1).errors.splitlines()
    assert lines[:2] == [
        f"git-nn: check failed: relL2 < 0.5: {NAME}: head.w: relL2 1",
        f"git-nn: check failed: only layers* changed: {NAME}: head.w: changed, rel Δ 1.0e+00",
    ]
    assert lines[2].startswith(f"git-nn: check failed: distance < 1e-6: {NAME}: distance 0.")
    assert len(lines) == 3


def test_a_script_of_ci_with_a_versioned_file_of_checks(trained: Repo) -> None:
    trained.write("model.checks", b"# frozen\nembed* unchanged\n\nlayers.* relL2 < 5%  # drift\n")
    trained.commit("checks")
    nn = f'"{sys.executable}" -m git_nn.cli.main'
    script = f"set -e; {nn} diff --stat main~2 main --checks model.checks; echo merged"
    assert trained.run("sh", "-c", script).text.endswith("merged\n")
    trained.write("model.checks", b"embed* unchanged\nlayers.* relL2 < 0.1%\n")
    done = trained.run("sh", "-c", script, code=1)
    assert "merged" not in done.text
    assert "layers.* relL2 < 0.1%: m.safetensors: layers.1.mlp.w: relL2 0.01" in done.errors


def test_a_name_that_is_mistyped_fails(trained: Repo) -> None:
    done = trained.nn("diff", *REVS, *checks("embd* unchanged"), code=1)
    assert "embd* unchanged: no tensor of the model is called 'embd*'" in done.errors
    gone = trained.nn("diff", *REVS, *checks("no nan"), "--", "none.safetensors", code=1)
    assert "there is no model that could be checked" in gone.errors


def test_models_that_did_not_change_are_checked_too(trained: Repo) -> None:
    trained.write("notes.txt", b"x")
    trained.commit()
    done = trained.nn("diff", *REVS, *checks("embed* unchanged"))
    assert (done.text, done.errors) == ("", "git-nn: 1 check passed\n")
    trained.nn("diff", *REVS, *checks("embd* unchanged"), code=1)
    assert "did not change" in trained.nn("diff", *REVS, *checks("head* changed"), code=1).errors
    trained.nn("diff", *checks("embed* unchanged"))
    trained.nn("diff", "--cached", *checks("embed* unchanged"))
    trained.write("other.safetensors", safetensors_file({"x": normal(5, 2)}))
    trained.commit()
    trained.nn("diff", *REVS, *checks("embed* unchanged", "x max < 1e9"), code=1)
    trained.nn("diff", *REVS, *checks("embed* unchanged"))
    bare = trained.path.parent / "bare.git"
    trained.git("clone", "-q", "--bare", ".", str(bare))
    Repo(bare).nn("diff", *REVS, *checks("embed* unchanged"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("relL2 << 3", "expected a number at character 8, found '<'"),
        ("__import__('os').system('touch owned')", "cannot be read"),
        ("relL2 < nan", "expected a number at character 9, found 'nan'"),
    ],
)
def test_a_check_that_cannot_be_read_is_wrong_usage(repo: Repo, text: str, said: str) -> None:
    done = repo.nn("diff", *checks(text), code=2)
    assert said in done.errors
    assert done.errors.count("\n") == 1
    assert not (repo.path / "owned").exists()


def test_files_of_checks_that_cannot_be_read(trained: Repo) -> None:
    assert "cannot read none.checks" in trained.nn("diff", "--checks", "none.checks", code=2).errors
    trained.write("bad.checks", b"no nan\nno nana\n")
    assert "bad.checks:2: the check" in trained.nn("diff", "--checks", "bad.checks", code=2).errors
    trained.write("empty.checks", b"# nothing\n")
    assert "there is no check in" in trained.nn("diff", "--checks", "empty.checks", code=2).errors


def test_nan_in_a_tensor_that_is_new(trained: Repo) -> None:
    trained.write(NAME, tuned(extra=np.array([1, np.nan], np.float32)))
    done = trained.nn("diff", *checks("no nan", "no added"), code=1)
    assert f"check failed: no nan: {NAME}: extra: 1 NaN\n" in done.errors
    assert f"check failed: no added: {NAME}: extra: added\n" in done.errors


def test_values_that_are_not_here_fail(trained: Repo) -> None:
    shutil.rmtree(trained.path / ".git" / "nn")
    done = trained.nn("diff", *REVS, *checks("embed* relL2 < 1", "relL2 < 9"), code=1)
    assert "relL2 < 9: m.safetensors: " in done.errors
    assert "values are not here; to get them: git nn fetch REV" in done.errors
    assert "embed*" not in done.errors


def test_two_files_and_files_that_cannot_be_compared(trained: Repo, tmp_path: Path) -> None:
    plain = Repo(tmp_path / "plain")
    plain.write("a.safetensors", safetensors_file(tensors()))
    plain.write("b.safetensors", tuned(head_w=normal(9, 4, 3)))
    pair = ("a.safetensors", "b.safetensors")
    plain.nn("diff", *pair, *checks("only head* changed"))
    plain.nn("diff", pair[0], pair[0], *checks("unchanged"))
    plain.nn("diff", *pair, *checks("head* unchanged"), code=1)
    blob = b"<<<<<<< ours\n" + trained.blob(f"HEAD:{NAME}")
    oid = trained.git("hash-object", "-w", "--stdin", "--no-filters", stdin=blob).text.strip()
    trained.git("update-index", "--add", "--cacheinfo", f"100644,{oid},broken.safetensors")
    trained.git("commit", "-q", "-m", "broken")
    done = trained.nn("diff", *REVS, *checks("no nan"), code=6)
    assert "check failed: no nan: broken.safetensors: cannot be compared" in done.errors


def test_json_has_the_verdicts_and_the_change_points(trained: Repo) -> None:
    asked = ("--json", "--threshold", "0.1", *checks("embed* unchanged", "max < 1e-9"))
    document = json.loads(trained.nn("diff", *REVS, *asked, code=1).text)
    first, second = document["checks"]
    assert (first["check"], first["passed"], first["tensors"]) == ("embed* unchanged", True, 1)
    assert (second["passed"], second["failing"], second["tensors"]) == (False, 2, 5)
    assert (second["path"], second["tensor"]) == (NAME, "head.w")
    (file,) = document["files"]
    assert file["threshold"] == 0.1
    # means: |head| moved by itself, the layer by a hundredth of itself
    assert {t["name"]: t["change_point"] for t in file["tensors"]} == {
        "head.w": True,
        "layers.1.mlp.w": False,
    }
    plain = json.loads(trained.nn("diff", *REVS, "--json").text)
    assert "checks" not in plain
    assert plain["files"][0]["threshold"] is None
    assert {t["change_point"] for t in plain["files"][0]["tensors"]} == {None}


def test_change_points_are_marked_by_option_and_setting(trained: Repo) -> None:
    def marked(*words: str) -> list[str]:
        lines = trained.nn(*words).text.splitlines()
        return [
            line.split()[1] for line in lines if line.startswith("~") and "change point" in line
        ]

    assert marked("diff", *REVS) == []
    assert marked("diff", *REVS, "--threshold", "0.1") == ["head.w"]
    assert marked("diff", *REVS, "--threshold", "1e-9") == ["head.w", "layers.1.mlp.w"]
    trained.git("config", "nn.diff.threshold", "0.1")
    assert marked("diff", *REVS) == ["head.w"]
    assert marked("diff", *REVS, "--threshold", "9") == []
    trained.git("config", "nn.diff.threshold", "much")
    assert "nn.diff.threshold is 'much'" in trained.nn("diff", *REVS, code=2).errors
    for odd in ("nan", "-1", "inf", "x"):
        trained.nn("diff", *REVS, f"--threshold={odd}", code=2)


def test_the_configuration_beside_a_model_is_compared(trained: Repo) -> None:
    trained.write("config.json", b'{"hidden_size": 4, "torch_dtype": "float32"}')
    trained.write("sub/config.json", b'{"a": 1}')
    trained.commit("config")
    assert "    config.json: added\n" in trained.nn("diff", *REVS).text
    trained.write("config.json", b'{"hidden_size": 8, "torch_dtype": "float32"}')
    trained.write("sub/config.json", b'{"a": 2}')
    trained.write("params.json", b'{"lr": 1}')
    alone = trained.nn("diff").text
    assert alone == (
        f"{NAME}   no change, 5 tensors\n  structure:\n    config.json: hidden_size 4 → 8\n"
    )
    trained.nn("diff", "--exit-code", code=1)
    trained.write(NAME, tuned(head_w=normal(9, 4, 3)))
    trained.write("z.safetensors", safetensors_file({"x": normal(5, 2)}))
    trained.commit("both")
    text = trained.nn("diff", *REVS).text
    assert text.count("config.json: hidden_size 4 → 8") == 1
    trained.write("config.json", b'{"hidden_size": 16, "torch_dtype": "float32"}')
    trained.git("add", "config.json")
    assert "config.json: hidden_size 8 → 16" in trained.nn("diff", "--cached").text
    trained.write("config.json", b"{ broken")
    assert trained.nn("diff", "--", NAME).text == ""


def test_the_graph_of_an_onnx_model_is_compared_node_by_node(repo: Repo) -> None:
    def network(activation: str, step: int) -> bytes:
        stride = onnx_file.attribute("stride", 3, step, 2)
        nodes = [
            onnx_file.node("Conv", ["x", "w"], ["a"], stride, name="conv"),
            onnx_file.node(activation, ["a"], ["y"], name="act"),
        ]
        weight = onnx_file.tensor("w", "f32", (2,), np.ones(2, "f4").tobytes())
        return onnx_file.model(onnx_file.graph([weight], nodes))

    repo.nn("track", "*.onnx")
    repo.write("m.onnx", network("Relu", 1))
    repo.commit()
    repo.write("m.onnx", network("Gelu", 2))
    for text in (repo.git("diff", "--", "m.onnx").text, repo.nn("diff").text):
        assert "no tensor changed, container only, 1 same" in text
        assert "    conv: stride 1 → 2\n    act: Relu → Gelu\n" in text
    repo.commit()
    found = json.loads(repo.nn("distance", "--json", *REVS).text)
    assert found["structure"]["low"] == pytest.approx(2 / 3, abs=1e-9)  # w, conv and act
    assert found["parameters"] == {"low": 0, "high": 0}
