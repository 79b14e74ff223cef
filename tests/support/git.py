"""Runs the real git binary, and git-nn as Git would run it, in a scrubbed environment."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_KEPT = ("LANG", "LD_LIBRARY_PATH", "TMPDIR", "VIRTUAL_ENV", "SYSTEMROOT", "CI")
_COUNTED = ("PYTEST", "COVERAGE", "HYPOTHESIS")
PATTERNS = ("*.h5", "*.safetensors", "*.pt", "*.bin")


def scrubbed_environment(home: Path) -> dict[str, str]:
    """An environment without GIT_* and without this machine's Git configuration."""
    env = {k: v for k, v in os.environ.items() if k in _KEPT or k.startswith(_COUNTED)}
    env.update(
        HOME=str(home),
        PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        GIT_CONFIG_GLOBAL=str(home / ".gitconfig"),
        GIT_CONFIG_NOSYSTEM="1",
        GIT_TERMINAL_PROMPT="0",
        GIT_AUTHOR_NAME="A U Thor",
        GIT_AUTHOR_EMAIL="author@example.com",
        GIT_COMMITTER_NAME="C O Mitter",
        GIT_COMMITTER_EMAIL="committer@example.com",
        GIT_AUTHOR_DATE="2026-01-02T03:04:05Z",
        GIT_COMMITTER_DATE="2026-01-02T03:04:05Z",
        GIT_EDITOR="true",
        LC_ALL="C.UTF-8",
        PYTHONDONTWRITEBYTECODE="1",
    )
    return env


@dataclass(frozen=True)
class Result:
    code: int
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        return self.out.decode("utf-8", "replace")

    @property
    def errors(self) -> str:
        return self.err.decode("utf-8", "replace")


@dataclass(frozen=True)
class Repo:
    """A work tree; every method runs a real process in it."""

    path: Path

    @classmethod
    def create(cls, path: Path, *, patterns: tuple[str, ...] = PATTERNS) -> Repo:
        path.mkdir(parents=True)
        repo = cls(path)
        repo.git("init", "-q", "-b", "main", ".")
        repo.nn("install", "--local")
        if patterns:
            repo.nn("track", *patterns)
        return repo

    def run(
        self,
        *argv: str,
        code: int | None = 0,
        stdin: bytes = b"",
        env: dict[str, str] | None = None,
        timeout: float = 120,
    ) -> Result:
        """Run a program here; ``code`` is the exit status it must have (None: any)."""
        done = subprocess.run(
            argv,
            cwd=self.path,
            input=stdin,
            capture_output=True,
            timeout=timeout,
            env={**os.environ, **(env or {})},
        )
        result = Result(done.returncode, done.stdout, done.stderr)
        if code is not None:
            assert result.code == code, f"{argv} -> {result.code}\n{result.text}\n{result.errors}"
        return result

    def git(self, *argv: str, **options: object) -> Result:
        return self.run("git", *argv, **options)  # type: ignore[arg-type]

    def nn(self, *argv: str, **options: object) -> Result:
        return self.run(sys.executable, "-m", "git_nn.cli.main", *argv, **options)  # type: ignore[arg-type]

    def write(self, name: str, data: bytes) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def commit(self, message: str = "commit") -> str:
        """Add everything and commit it; returns the commit id."""
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)
        return self.git("rev-parse", "HEAD").text.strip()

    def status(self) -> str:
        return self.git("status", "--porcelain").text

    def blob(self, spec: str) -> bytes:
        """A blob as Git stores it, for example ``HEAD:model.h5``: the pointer."""
        return self.git("cat-file", "blob", spec).out
