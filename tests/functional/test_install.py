"""install and uninstall change exactly what they say, down to the byte."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import venv
from pathlib import Path

import numpy as np
import pytest

import git_nn
from tests.support.git import Repo
from tests.support.models import normal, safetensors_file

ROOT = Path(git_nn.__file__).parents[1]
MODEL = safetensors_file({"a": normal(1, 8)})
KEYS = (
    "filter.nn.clean", "filter.nn.smudge", "filter.nn.process", "filter.nn.required",
    "diff.nn.command", "diff.nn.textconv", "diff.nn.cachetextconv",
    "merge.nn.name", "merge.nn.driver", "mergetool.nn.cmd", "mergetool.nn.trustExitCode",
)  # fmt: skip


@pytest.fixture
def bare(tmp_path: Path) -> Repo:
    """A repository that git-nn is not installed in."""
    path = tmp_path / "bare"
    path.mkdir()
    repo = Repo(path)
    repo.git("init", "-q", "-b", "main", ".")
    return repo


@pytest.fixture
def home(scrubbed: Path) -> Path:
    return scrubbed


@pytest.mark.parametrize("scope", ["global", "local", "worktree", "system"])
def test_install_writes_every_key_once(
    bare: Repo, scope: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GIT_CONFIG_NOSYSTEM")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", str(tmp_path / "system"))
    bare.nn("install", f"--{scope}")
    bare.nn("install", f"--{scope}")
    for key in KEYS:
        values = bare.git("config", f"--{scope}", "--get-all", key).text.splitlines()
        assert len(values) == 1, key
    assert bare.git("config", "filter.nn.required").text == "true\n"
    assert bare.git("config", "diff.nn.cachetextconv").text == "true\n"


def test_the_default_is_for_the_user(bare: Repo, home: Path) -> None:
    before = (bare.path / ".git/config").read_bytes()
    bare.nn("install")
    assert (bare.path / ".git/config").read_bytes() == before
    assert b'[filter "nn"]' in (home / ".gitconfig").read_bytes()


def test_global_needs_no_repository(tmp_path: Path, home: Path) -> None:
    Repo(tmp_path).nn("install")
    assert (home / ".gitconfig").exists()


def test_a_second_install_writes_nothing(bare: Repo) -> None:
    bare.nn("install", "--local")
    config = bare.path / ".git/config"
    before = (config.read_bytes(), config.stat().st_mtime_ns, config.stat().st_ino)
    assert "already" in bare.nn("install", "--local").text
    assert (config.read_bytes(), config.stat().st_mtime_ns, config.stat().st_ino) == before


CONFIGS = {
    "settings": b"[user]\n\tname = x\n[alias]\n\tst = status\n",
    "crlf": b"[user]\r\n\tname = x\r\n",
    "comments": b"# mine\n[core] ; here\n\tpager = less # there\n\n\n",
    "no last line feed": b"[user]\n\tname = x",
    "our section in use": b'[diff "nn"]\n\txfuncname = ^tensor\n[user]\n\tname = x\n',
    "empty": b"",
}


@pytest.mark.parametrize("name", CONFIGS)
def test_uninstall_gives_the_bytes_of_before(bare: Repo, home: Path, name: str) -> None:
    config = home / ".gitconfig"
    config.write_bytes(CONFIGS[name])
    bare.nn("install")
    assert config.read_bytes() != CONFIGS[name]
    bare.nn("uninstall")
    assert config.read_bytes() == CONFIGS[name]


def test_uninstall_removes_a_file_that_was_not_there(bare: Repo, home: Path) -> None:
    local = (bare.path / ".git/config").read_bytes()
    bare.nn("install")
    bare.nn("install", "--local")
    bare.nn("uninstall")
    bare.nn("uninstall", "--local")
    assert not (home / ".gitconfig").exists()
    assert (bare.path / ".git/config").read_bytes() == local
    assert "is not in" in bare.nn("uninstall").text


def test_uninstall_keeps_a_file_that_got_other_settings(bare: Repo, home: Path) -> None:
    bare.nn("install")
    bare.git("config", "--global", "user.name", "x")
    bare.nn("uninstall")
    assert (home / ".gitconfig").read_bytes() == b"[user]\n\tname = x\n"


def test_older_values_of_ours_are_replaced(bare: Repo) -> None:
    old = "/gone/bin/python -m git_nn.drivers.filter_process"
    bare.git("config", "--local", "filter.nn.process", old)
    bare.git("config", "--local", "--add", "filter.nn.process", old)
    bare.nn("install", "--local")
    values = bare.git("config", "--get-all", "filter.nn.process").text.splitlines()
    assert len(values) == 1
    assert values != [old]


def test_values_of_somebody_else_are_left_alone_without_force(bare: Repo) -> None:
    config = bare.path / ".git/config"
    bare.git("config", "filter.nn.process", "neural-net-filter")
    before = config.read_bytes()
    failed = bare.nn("install", "--local", code=2)
    assert "filter.nn.process is already set to 'neural-net-filter'" in failed.errors
    assert "--force" in failed.errors
    assert config.read_bytes() == before
    bare.nn("uninstall", "--local")
    assert config.read_bytes() == before
    bare.nn("install", "--local", "--force")
    assert "git_nn" in bare.git("config", "filter.nn.process").text


def test_uninstall_leaves_what_goes_with_somebody_elses_filter(bare: Repo) -> None:
    bare.git("config", "filter.nn.process", "neural-net-filter")
    bare.git("config", "filter.nn.required", "true")
    before = (bare.path / ".git/config").read_bytes()
    bare.nn("uninstall", "--local")
    assert (bare.path / ".git/config").read_bytes() == before


def test_verbose_explains_every_line(bare: Repo) -> None:
    text = bare.nn("install", "--local", "-v").text
    for key in KEYS:
        assert f"{key} = " in text


def test_the_textconv_command_has_a_version(bare: Repo) -> None:
    bare.nn("install", "--local")
    words = bare.git("config", "diff.nn.textconv").text.split()
    assert words[-2:] == ["git_nn.drivers.textconv", "text-1"]


def test_install_waits_for_the_lock_of_another_process(bare: Repo) -> None:
    lock = bare.path / ".git/config.lock"
    lock.touch()
    timer = threading.Timer(0.7, lock.unlink)
    timer.start()
    bare.nn("install", "--local")
    timer.join()
    assert "git_nn" in bare.git("config", "merge.nn.driver").text


def test_install_says_which_file_stays_locked(bare: Repo) -> None:
    (bare.path / ".git/config.lock").touch()
    failed = bare.nn("install", "--local", code=128)
    assert "config" in failed.errors
    assert "Traceback" not in failed.errors


def test_local_outside_of_a_repository_is_an_error(tmp_path: Path) -> None:
    assert "not in a Git repository" in Repo(tmp_path).nn("install", "--local", code=2).errors


# -- the commands that are written ---------------------------------------------------------

TRAP = b"import os\nopen(os.environ['TRAP'], 'a').write(__file__)\nraise SystemExit(1)\n"


def test_nothing_in_a_work_tree_is_ever_imported(
    bare: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare.nn("install", "--local", "--hooks")
    bare.nn("track", "*.safetensors")
    names = (
        "git_nn",
        "json",
        "runpy",
        "numpy",
        "blake3",
        "click",
        "sitecustomize",
        "usercustomize",
    )
    for name in names:
        bare.write(f"{name}.py", TRAP)
    bare.write("git_nn/__init__.py", TRAP)
    trap = tmp_path / "trap"
    monkeypatch.setenv("TRAP", str(trap))
    monkeypatch.setenv("PYTHONPATH", "")  # to Python an empty entry is the current folder
    monkeypatch.setenv("PYTHONSTARTUP", str(bare.path / "json.py"))
    bare.write("m.safetensors", MODEL)
    bare.commit()
    bare.git("checkout", "-q", "-b", "other")
    bare.write("m.safetensors", safetensors_file({"a": normal(2, 8)}))
    bare.git("diff")
    bare.commit("other")
    bare.git("log", "-p")
    bare.git("checkout", "-q", "main")
    bare.write("m.safetensors", safetensors_file({"a": normal(1, 8), "b": normal(3, 8)}))
    bare.commit("main")
    bare.git("merge", "-q", "--no-edit", "other")
    monkeypatch.undo()
    assert not trap.exists(), trap.read_text()


def interpreter(folder: Path) -> Path:
    """A Python that finds our libraries, but git_nn only where PYTHONPATH says so."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    (packages,) = (folder / "lib").glob("python*/site-packages")
    places = {str(Path(module.__file__).parents[1]) for module in (np, pytest)}
    (packages / "ours.pth").write_text("\n".join(sorted(places)))
    return python


@pytest.mark.parametrize("folder", ["plain", "with space", "it's 100%f $HOME;"])
def test_a_source_checkout_works_from_any_path(bare: Repo, tmp_path: Path, folder: str) -> None:
    python = interpreter(tmp_path / folder)
    checkout = tmp_path / folder / "checkout"
    checkout.mkdir()
    (checkout / "git_nn").symlink_to(ROOT / "git_nn")
    env = {"PYTHONPATH": str(checkout)}
    bare.run(str(python), "-m", "git_nn.cli.main", "install", "--local", "--hooks", env=env)
    bare.nn("track", "*.safetensors")
    bare.write("m.safetensors", MODEL)
    bare.commit()
    assert bare.blob("HEAD:m.safetensors").startswith(b"git-nn pointer 1\n")
    (bare.path / "m.safetensors").unlink()
    bare.git("config", "--unset", "filter.nn.process")
    bare.git("checkout", "--", "m.safetensors")
    assert bare.read("m.safetensors") == MODEL


def test_an_interpreter_without_the_libraries_is_refused(bare: Repo, tmp_path: Path) -> None:
    venv.create(tmp_path / "v", with_pip=False, symlinks=True)
    python = str(tmp_path / "v/bin/python")
    places = {str(Path(module.__file__).parents[1]) for module in (np, pytest)}
    env = {"PYTHONPATH": os.pathsep.join([str(ROOT), *places])}
    done = subprocess.run(
        [python, "-m", "git_nn.cli.main", "install", "--local"],
        cwd=bare.path, env={**os.environ, **env}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "PYTHONPATH" in done.stderr
    assert "pip install" in done.stderr
    assert bare.git("config", "filter.nn.process", code=1).text == ""


def test_the_interpreter_is_named_by_its_absolute_path(bare: Repo) -> None:
    bare.nn("install", "--local")
    for key in ("filter.nn.process", "diff.nn.command", "diff.nn.textconv", "merge.nn.driver"):
        assert bare.git("config", key).text.startswith(sys.executable)
