"""doctor names each thing that is wrong with the command that mends it, and that mends it."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.support.git import Repo
from tests.support.models import normal, safetensors_file

MODEL = safetensors_file({"a": normal(1, 16)})
LINE = b"filter=nn diff=nn merge=nn -text\n"


def problems(repo: Repo, *, code: int = 1) -> str:
    """What doctor prints about problems; notes are left out."""
    text = repo.nn("doctor", code=code).text
    return re.sub(r"^note: .*\n  to mend: .*\n", "", text, flags=re.MULTILINE)


def test_a_good_set_up_has_no_problems(repo: Repo) -> None:
    repo.nn("install", "--hooks")
    repo.write("m.safetensors", MODEL)
    repo.commit()
    assert problems(repo, code=0) == "git-nn is set up well here\n"


def test_doctor_works_outside_of_a_repository(tmp_path: Path) -> None:
    assert "git nn install" in problems(Repo(tmp_path))
    Repo(tmp_path).nn("install")
    problems(Repo(tmp_path), code=0)


def test_a_missing_filter_is_found(repo: Repo) -> None:
    repo.nn("uninstall", "--local")
    assert "to mend: git nn install\n" in problems(repo)


def test_a_missing_key_is_found(repo: Repo) -> None:
    repo.git("config", "--unset", "diff.nn.textconv")
    assert "diff.nn.textconv is not set\n  to mend: git nn install --local\n" in problems(repo)
    repo.nn("install", "--local")
    problems(repo, code=0)


def test_a_foreign_value_is_found(repo: Repo) -> None:
    repo.git("config", "filter.nn.process", "neural-net-filter")
    text = problems(repo)
    assert "filter.nn.process is 'neural-net-filter'" in text
    assert "git nn install --local --force" in text
    repo.nn("install", "--local", "--force")
    problems(repo, code=0)


@pytest.mark.parametrize("program", ["gone", "without"])
def test_a_program_that_cannot_start_is_found(repo: Repo, tmp_path: Path, program: str) -> None:
    python = tmp_path / "other python"
    if program == "without":
        python.write_text("#!/bin/sh\nexit 1\n")
        python.chmod(0o755)
    command = f"'{python}' -I -m git_nn.drivers.filter_process"
    repo.git("config", "filter.nn.process", command)
    said = "which is gone" if program == "gone" else "cannot import git_nn"
    assert said in problems(repo)
    repo.nn("install", "--local")
    problems(repo, code=0)


def test_another_version_is_found(repo: Repo, tmp_path: Path) -> None:
    other = tmp_path / "checkout" / "git_nn"
    (other / "drivers").mkdir(parents=True)
    (other / "__init__.py").write_text('__version__ = "0.0.1"\n')
    launch = other / "drivers" / "launch.py"
    command = f"{sys.executable} -I {launch} git_nn.drivers.filter_process"
    repo.git("config", "filter.nn.process", command)
    assert "starts git-nn 0.0.1, and this is" in problems(repo)


def test_pointers_in_the_work_tree_are_found(repo: Repo) -> None:
    repo.write("m.safetensors", MODEL)
    repo.commit()
    repo.write("m.safetensors", repo.blob(":m.safetensors"))
    assert "m.safetensors\n  to mend: git nn pull\n" in problems(repo)
    repo.nn("pull")
    problems(repo, code=0)


def test_files_that_are_raw_in_git_are_found(repo: Repo) -> None:
    blob = repo.git("hash-object", "-w", "--no-filters", "--stdin", stdin=MODEL).text.strip()
    repo.git("update-index", "--add", "--cacheinfo", f"100644,{blob},m.safetensors")
    repo.write("m.safetensors", MODEL)
    below = Repo(repo.path / "sub dir")
    below.path.mkdir()
    fix = "git add ../.gitattributes && git add --renormalize :/ && git commit"
    assert f"m.safetensors\n  to mend: {fix}\n" in problems(below)
    below.run("sh", "-c", f"{fix} -q -m converted")
    problems(repo, code=0)
    assert repo.status() == ""
    assert repo.blob("HEAD:m.safetensors").startswith(b"git-nn pointer 1\n")


def test_pointers_without_a_rule_are_found(repo: Repo) -> None:
    repo.write("m.safetensors", MODEL)
    repo.commit()
    repo.git("rm", "-q", ".gitattributes")
    repo.git("commit", "-q", "-m", "no rules")
    fix = "git nn track '*.safetensors' && git add .gitattributes"
    found = f"pointers in Git without a rule: m.safetensors\n  to mend: {fix}\n"
    assert found in problems(repo)
    below = Repo(repo.path / "sub")
    below.path.mkdir()
    fix = "git -C .. nn track '*.safetensors' && git -C .. add .gitattributes"
    assert f"  to mend: {fix}\n" in problems(below)
    below.run("sh", "-c", fix)
    problems(repo, code=0)


@pytest.mark.parametrize(
    ("behind", "attribute"),
    [
        (b"* text=auto\n", "text auto"),
        (b"*.safetensors filter=lfs\n", "filter lfs"),
        (b"*.safetensors -diff\n", "diff unset"),
        (b"m.* !merge\n", "merge unspecified"),
    ],
)
def test_a_later_line_that_shadows_ours_is_found(repo: Repo, behind: bytes, attribute: str) -> None:
    repo.write("sub/m.safetensors", MODEL)
    repo.commit()
    rules = b"*.safetensors " + LINE
    repo.write(".gitattributes", behind + rules)
    assert attribute not in repo.nn("doctor", code=None).text
    repo.write(".gitattributes", rules + behind)
    text = problems(repo)
    assert f"makes {attribute} for sub/m.safetensors" in text
    assert "move the line for *.safetensors to the end" in text


def test_a_nearer_file_that_shadows_ours_is_found(repo: Repo) -> None:
    repo.write("sub/m.safetensors", MODEL)
    repo.commit()
    repo.write("sub/.gitattributes", b"*.safetensors -filter\n")
    assert "makes filter unset for sub/m.safetensors" in problems(repo)


def test_rules_of_a_folder_are_held_against_its_own_files(repo: Repo) -> None:
    (repo.path / "sub[1]").mkdir()
    repo.write("sub[1]/deep/m.onnx", MODEL)
    repo.write("m.onnx", b"not tracked")
    repo.write("sub[1]/.gitattributes", b"*.onnx " + LINE + b"/deep/*.onnx " + LINE)
    repo.commit()
    assert problems(repo, code=0) == "git-nn is set up well here\n"
    repo.write("sub[1]/deep/.gitattributes", b"m.onnx -merge\n")
    assert problems(repo).count("makes merge unset for sub[1]/deep/m.onnx") == 2


def test_a_rule_without_the_drivers_is_found(repo: Repo) -> None:
    repo.write(".gitattributes", b"*.h5 filter=nn -text\n")
    text = problems(repo)
    assert "the line for *.h5 lacks diff=nn merge=nn" in text
    assert "*.h5 filter=nn diff=nn merge=nn -text" in text


def test_hooks_of_another_git_nn_are_found(repo: Repo) -> None:
    repo.nn("install", "--hooks")
    path = repo.path / ".git/hooks/pre-commit"
    path.write_text(path.read_text().replace(sys.executable, "/gone/python"))
    assert "git nn install --hooks" in problems(repo)
    repo.nn("install", "--hooks")
    problems(repo, code=0)
    path.chmod(0o644)
    assert f"chmod +x {path}" in problems(repo)


def test_the_hook_that_rejects_every_weight_file_is_found(repo: Repo) -> None:
    config = (
        b"repos:\n- repo: https://example.com/hooks\n  hooks:\n"
        b"  - id: check-added-large-files\n    args: [--maxkb=100]\n  - id: check-yaml\n"
    )
    repo.write(".pre-commit-config.yaml", config)
    text = problems(repo)
    assert "check-added-large-files" in text
    (line,) = [line for line in text.splitlines() if line.lstrip().startswith("exclude:")]
    pattern = line.split("'")[1]
    for name in ("a/m.h5", "m.safetensors", "m.pt", "m.bin"):
        assert re.search(pattern, name)
    assert not re.search(pattern, "m.py")
    repo.write(
        ".pre-commit-config.yaml", config.replace(b"    args", line.encode() + b"\n    args")
    )
    problems(repo, code=0)


def test_a_store_of_the_future_is_found(repo: Repo) -> None:
    repo.write("m.safetensors", MODEL)
    repo.commit()
    path = repo.path / ".git/nn/format"
    path.write_bytes(b"git-nn store 99\n")
    text = problems(repo)
    assert "upgrade" in text


def test_an_unreadable_attributes_file_is_no_bug(repo: Repo) -> None:
    repo.write(".gitattributes", bytes(range(256)) + b'\n"open quote filter=nn\n')
    assert "Traceback" not in repo.nn("doctor", code=None).errors


def test_a_bare_repository_is_examined(repo: Repo, tmp_path: Path) -> None:
    repo.git("init", "-q", "--bare", str(tmp_path / "bare"))
    bare = Repo(tmp_path / "bare")
    bare.nn("install")
    assert problems(bare, code=0) == "git-nn is set up well here\n"


# -- env ---------------------------------------------------------------------------------------


def test_env_names_versions_paths_and_settings(repo: Repo) -> None:
    repo.write("m.safetensors", MODEL)
    repo.commit()
    repo.git("config", "nn.largeThreshold", "1g")
    lines = dict(line.split(": ", 1) for line in repo.nn("env").text.splitlines())
    for name in ("git-nn", "git", "python", "platform", "numpy", "h5py", "HDF5", "zstandard"):
        assert re.search(r"[0-9]", lines[name]), name
    assert lines["work tree"] == str(repo.path)
    assert lines["nn.largethreshold"] == "1g"
    assert lines["filter.nn.required"] == "true"
    assert "1 packs" in lines["store"]


def test_env_never_prints_secrets(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    repo.git("config", "nn.url", "https://me:hunter2@hun@ter2.example/x")
    repo.git("config", "nn.remote.token", "hunter2")
    monkeypatch.setenv("GIT_NN_PASSWORD", "hunter2")
    monkeypatch.setenv("GIT_NN_PROXY", "http://hunter2@proxy/")
    text = repo.nn("env").text
    assert "hunter2" not in text
    assert "https://***@ter2.example/x" in text


def test_env_works_outside_of_a_repository(tmp_path: Path) -> None:
    assert "filter.nn.process: not set" in Repo(tmp_path).nn("env").text


def test_doctor_fetches_nothing_in_a_partial_clone(repo: Repo, tmp_path: Path) -> None:
    repo.write("sub/notes.txt", b"far away")
    repo.commit()
    repo.git("config", "uploadpack.allowFilter", "true")
    url = repo.path.as_uri()
    repo.git("clone", "-q", "--filter=blob:none", "--sparse", url, str(tmp_path / "clone"))
    clone = Repo(tmp_path / "clone")
    clone.nn("install", "--local")
    missing = clone.git("rev-list", "--objects", "--missing=print", "HEAD").text
    assert missing.count("?") == 1
    problems(clone, code=0)
    assert clone.git("rev-list", "--objects", "--missing=print", "HEAD").text == missing


def test_doctor_and_env_change_nothing(repo: Repo) -> None:
    repo.write("m.safetensors", MODEL)
    repo.commit()
    before = {p: p.stat().st_mtime_ns for p in repo.path.rglob("*")}
    repo.nn("doctor")
    repo.nn("env")
    assert {p: p.stat().st_mtime_ns for p in repo.path.rglob("*")} == before


def pretend(version: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a git on PATH that says it is of another version."""
    real = shutil.which("git")
    fake = folder / "bin" / "git"
    fake.parent.mkdir()
    fake.write_text(
        f'#!/bin/sh\n[ "$1" = version ] && echo "git version {version}" && exit\nexec {real} "$@"\n'
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}{os.pathsep}{os.environ['PATH']}")


def test_notes_follow_the_problems(
    repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo.git("config", "--unset", "diff.nn.textconv")
    pretend("2.42.9", tmp_path, monkeypatch)
    lines = repo.nn("doctor", code=1).text.splitlines()
    assert [line.split(":")[0] for line in lines[::2]] == ["problem", "note"]
    assert "Git 2.42.9" in lines[2]


def test_an_old_git_is_found(repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend("2.30.9", tmp_path, monkeypatch)
    assert "Git 2.30.9 is too old\n  to mend: install Git 2.31 or newer" in problems(repo)
