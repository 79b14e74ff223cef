"""What it costs that Git starts us: no filter where nothing changed, one per command, quickly."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.git import Repo
from tests.support.models import normal, safetensors_file

NAME = "model.safetensors"
HEAVY = {"h5py", "pygit2", "git", "rich", "click", "ml_dtypes", "torch"}
BUDGET = 12  # times what Python itself takes to start; 7 to 8.5 were measured, h5py alone is 5


def model(seed: int) -> bytes:
    """About 1 KB."""
    return safetensors_file({"w": normal(seed, 12, 16), "b": normal(seed + 1, 16)})


@dataclass(frozen=True)
class Counted:
    """A repository in which every start of the filter process is a line in ``log``."""

    repo: Repo
    log: Path

    def starts(self, *argv: str) -> int:
        """How many filters a git command starts."""
        self.log.write_bytes(b"")
        self.repo.git(*argv)
        return self.log.read_bytes().count(b"started\n")

    def age(self) -> None:
        """Make every file as old as those of a person are, whom Git's racy check does not meet."""
        then = time.time() - 60
        for path in self.repo.path.glob("*.*"):
            os.utime(path, (then, then))
        self.repo.git("update-index", "-q", "--refresh")


@pytest.fixture
def counted(repo: Repo, tmp_path: Path) -> Counted:
    """Three models, committed; one filter process is configured, with a counter before it."""
    for seed in range(3):
        repo.write(f"{seed}-{NAME}", model(seed))
    repo.commit("base")
    command = repo.git("config", "filter.nn.process").text.strip()
    made = Counted(repo, tmp_path / "log")
    repo.git("config", "filter.nn.process", f"echo started >>'{made.log}'; exec {command}")
    made.age()
    return made


def test_where_nothing_changed_no_filter_starts(counted: Counted) -> None:
    for argv in (
        ("status",), ("status", "--ignored"), ("diff",), ("diff", "--stat", "HEAD"),
        ("add", "."), ("commit", "-q", "--allow-empty", "-a", "-m", "nothing"), ("ls-files", "-m"),
        ("checkout", "-q", "HEAD", "--", "."), ("switch", "-q", "-c", "other"), ("stash", "list"),
        ("log", "--stat"), ("reset", "-q", "--hard"),
    ):  # fmt: skip
        assert (argv, counted.starts(*argv)) == (argv, 0)


def test_one_filter_serves_all_files_of_a_command(counted: Counted) -> None:
    for seed in range(3):
        counted.repo.write(f"{seed}-{NAME}", model(seed + 10))
    assert counted.starts("add", ".") == 1
    counted.repo.git("commit", "-q", "-m", "all three")
    assert counted.starts("checkout", "-q", "HEAD~1") == 1
    assert counted.repo.read(f"2-{NAME}") == model(2)


def test_a_file_that_was_only_touched_is_cleaned_once(counted: Counted) -> None:
    (counted.repo.path / f"0-{NAME}").touch()
    then = time.time() - 30
    os.utime(counted.repo.path / f"0-{NAME}", (then, then))
    assert counted.starts("status", "--porcelain") == 1
    assert counted.starts("status", "--porcelain") == 0


def test_the_filter_imports_nothing_that_safetensors_does_not_need(
    repo: Repo, tmp_path: Path
) -> None:
    """In the real process, with its repository, settings and store: see test_architecture.py."""
    command = repo.git("config", "filter.nn.process").text.strip()
    python, rest = command.split(" ", 1)
    log = tmp_path / "imports"
    repo.git("config", "filter.nn.process", f"{python} -X importtime {rest} 2>>'{log}'")
    repo.write(NAME, model(0))
    repo.commit("base")
    repo.write(NAME, model(1))
    for argv in (("add", "."), ("stash", "-q"), ("stash", "pop", "-q")):
        log.write_bytes(b"")
        repo.git(*argv)
        lines = log.read_text().splitlines()
        loaded = {line.rpartition("|")[2].strip().split(".")[0] for line in lines}
        assert {"git_nn", "blake3", "zstandard"} <= loaded, argv
        assert not loaded & HEAVY, argv
    assert repo.read(NAME) == model(1)


def test_the_filter_adds_less_than_its_budget_to_git_add(repo: Repo) -> None:
    """Of processor time, which the tests beside this one do not add to."""

    def spent() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    def seconds(seed: int, name: str) -> float:
        repo.write(name, model(seed))
        start = spent()
        repo.git("add", name)
        return spent() - start

    def bare() -> float:
        start = spent()
        subprocess.run([sys.executable, "-I", "-c", "import argparse"], check=True)
        return spent() - start

    seconds(0, NAME)  # the store's folders are made, the program is in the page cache
    ours, plain, python = zip(
        *((seconds(n, NAME), seconds(n, "plain.dat"), bare()) for n in range(1, 8)), strict=True
    )
    added, unit = min(ours) - min(plain), min(python)
    assert added < BUDGET * unit, f"{added:.3f} s added; Python alone takes {unit:.3f} s"
