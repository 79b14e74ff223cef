"""Large files: bounded memory, written after Git has finished, and status stays quiet."""

from __future__ import annotations

import hashlib
import os
import resource
import sys
from pathlib import Path

import pytest

from tests.support.git import Repo
from tests.support.models import normal, safetensors_file

MODEL = safetensors_file({f"w{i}": normal(i, 100_000) for i in range(4)})
TUNED = safetensors_file({f"w{i}": normal(i + (i == 2) * 9, 100_000) for i in range(4)})


@pytest.fixture
def large(repo: Repo) -> Repo:
    """Every file is large: nothing but the threshold differs from a 70 GB one."""
    repo.git("config", "nn.largeThreshold", "1k")
    repo.write("m.safetensors", MODEL)
    repo.commit("base")
    repo.git("branch", "base")
    repo.write("m.safetensors", TUNED)
    repo.commit("tuned")
    return repo


def filters_run(repo: Repo, *argv: str) -> bool:
    """Whether git starts a clean filter for this command."""
    trace = repo.git(*argv, env={"GIT_TRACE": "1"}).errors
    return "filter_process" in trace


@pytest.mark.parametrize(
    "command",
    [("checkout", "-q", "base"), ("switch", "-q", "base"), ("reset", "-q", "--hard", "base")],
    ids=lambda c: c[0],
)
def test_a_checkout_writes_the_file_when_git_has_finished(
    large: Repo, command: tuple[str, ...]
) -> None:
    large.git(*command)
    assert large.read("m.safetensors") == MODEL
    assert large.status() == ""


def test_merge_stash_restore_and_rebase_bring_weights(large: Repo) -> None:
    large.write("m.safetensors", MODEL)
    large.git("stash", "-q")
    assert large.read("m.safetensors") == TUNED
    large.git("stash", "pop", "-q")
    assert large.read("m.safetensors") == MODEL
    large.git("restore", ".")
    assert large.read("m.safetensors") == TUNED
    large.git("checkout", "-q", "-b", "side", "base")
    large.write("other.h5", MODEL)
    large.commit("side")
    large.git("merge", "-q", "--no-edit", "main")
    assert large.read("m.safetensors") == TUNED
    assert large.status() == ""
    large.git("reset", "-q", "--hard", "HEAD~1")
    large.git("rebase", "-q", "main")
    assert large.read("m.safetensors") == TUNED
    assert large.read("other.h5") == MODEL
    assert large.status() == ""


def test_commands_that_rebase_executes_meet_weights(large: Repo) -> None:
    check = f"cmp m.safetensors {large.path.parent / 'expected'}"
    (large.path.parent / "expected").write_bytes(TUNED)
    large.git("rebase", "-q", "--force-rebase", "--exec", check, "base")
    assert large.status() == ""


def test_a_foreign_hook_meets_weights(large: Repo) -> None:
    hook = large.path / ".git/hooks/post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\ncp m.safetensors ../seen\n")
    hook.chmod(0o755)
    large.git("checkout", "-q", "base")
    assert (large.path.parent / "seen").read_bytes() == MODEL
    (large.path / "hooks").mkdir()
    hook.rename(large.path / "hooks" / hook.name)
    large.git("config", "core.hooksPath", "hooks")
    large.git("checkout", "-q", "main")
    assert (large.path.parent / "seen").read_bytes() == TUNED


def test_a_clone_has_weights_and_a_clean_status(large: Repo, tmp_path: Path) -> None:
    large.nn("install")
    large.git("config", "--global", "nn.largeThreshold", "1k")
    large.git("clone", "-q", str(large.path), str(tmp_path / "clone"))
    clone = Repo(tmp_path / "clone")
    assert clone.read("m.safetensors") == TUNED
    assert clone.status() == ""


def test_an_alias_is_the_command_that_it_stands_for(large: Repo) -> None:
    large.git("config", "alias.co", "checkout -q")
    large.git("-c", "core.pager=cat", "co", "base")
    assert large.read("m.safetensors") == MODEL


def test_difftool_shows_the_driver_that_the_attribute_names(large: Repo) -> None:
    """Git prefers the attribute's driver to any difftool, so this is git diff's table."""
    shown = large.git("difftool", "-y", "-x", "cmp", "base", "main").text
    assert "~ w2" in shown
    assert "3 same of 4 tensors" in shown


def _peak(repo: Repo, *argv: str) -> int:
    """Largest resident size in bytes of any process that a git command started, itself included."""
    script = (
        "import resource, subprocess, sys; "
        "code = subprocess.run(sys.argv[1:]).returncode; "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"
    )
    out = repo.run(sys.executable, "-c", script, "git", *argv, timeout=280).text
    return int(out.strip().splitlines()[-1]) * 1024


def test_four_gigabytes_need_little_memory(repo: Repo) -> None:
    """Mostly zeros, so that the test is about sizes and not about the speed of a disk.

    RUSAGE_CHILDREN gives the largest process, not the sum, so each may have half.
    """
    size = 4 * 2**30 + 4096
    header = b'{"w":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (size, size)
    header += b" " * (-len(header) % 8)
    path = repo.path / "m.safetensors"
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + size)
        for at in range(2**20, size, 2**30):
            file.seek(at)
            file.write(os.urandom(1000))
    digest = _sha256(path)
    assert _peak(repo, "add", ".") < 256 * 2**20
    repo.git("commit", "-q", "-m", "large")
    path.unlink()
    assert _peak(repo, "checkout", "-q", "--", ".") < 256 * 2**20
    assert _sha256(path) == digest
    assert not filters_run(repo, "status", "--porcelain")
    assert resource.RLIMIT_AS


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
