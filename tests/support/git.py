"""Runs the real git binary, and git-nn as Git would run it, in a scrubbed environment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import git_nn

_KEPT = ("LANG", "LD_LIBRARY_PATH", "TMPDIR", "VIRTUAL_ENV", "SYSTEMROOT", "CI")
_COUNTED = ("PYTEST", "COVERAGE", "HYPOTHESIS")
PACKAGE = Path(git_nn.__file__).parent
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


def _can_fork() -> bool:
    """Threads of these libraries do not come along into a copy of the process, which then hangs."""
    if "obstore" in sys.modules and "AWS_ENDPOINT_URL" in os.environ:
        return False
    return not {"jax", "torch", "tensorflow", "keras", "xgboost", "lightgbm"} & sys.modules.keys()


def forked(
    argv: tuple[str, ...], folder: Path, stdin: bytes, env: dict[str, str], timeout: float
) -> Result:
    """``git nn ARGV`` in a copy of this process: starting Python and its imports cost more CPU
    than most commands. What a person starts is tested by test_start_up, test_demo and others."""
    _import_all()
    with ExitStack() as stack:
        streams = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
        streams[0].write(stdin)
        streams[0].seek(0)
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            _become(argv, folder, [stream.fileno() for stream in streams], env)
        status = _ended(pid, timeout)
        for stream in streams[1:]:
            stream.seek(0)
        out, err = (stream.read() for stream in streams[1:])
    return Result(os.waitstatus_to_exitcode(status), out, err)


@cache
def _import_all() -> None:
    """What commands import, and how Git is to start us: once, for all copies of this process."""
    from git_nn.drivers.launcher import launcher

    for room in ("cli", "drivers", "transfer", "remote", "store", "merge", "differences", "check"):
        for file in (PACKAGE / room).glob("[!_]*.py"):
            if file.name != "launch.py":
                import_module(f"git_nn.{room}.{file.stem}")
    import_module("pygit2")
    launcher()


def _become(argv: tuple[str, ...], folder: Path, fds: list[int], env: dict[str, str]) -> NoReturn:
    code = 70
    try:
        for number, fd in enumerate(fds):
            os.dup2(fd, number)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(env)
        sys.stdin, sys.stdout, sys.stderr = map(os.fdopen, range(3), "rww")
        from git_nn.cli.main import main

        sys.argv = ["git-nn", *argv]
        main(list(argv))
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # noqa: BLE001 - nothing of the copy may go on in the tests
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


def _ended(pid: int, timeout: float) -> int:
    """The wait status; a process that takes too long is killed."""
    alarm = threading.Timer(timeout, os.kill, (pid, signal.SIGKILL))
    alarm.daemon = True
    alarm.start()
    try:
        return os.waitpid(pid, 0)[1]
    finally:
        alarm.cancel()


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

    def nn(
        self,
        *argv: str,
        code: int | None = 0,
        stdin: bytes = b"",
        env: dict[str, str] | None = None,
        timeout: float = 120,
    ) -> Result:
        """Run git-nn here, in a process of its own that need not start Python again."""
        if not _can_fork():
            words = (sys.executable, "-m", "git_nn.cli.main", *argv)
            return self.run(*words, code=code, stdin=stdin, env=env, timeout=timeout)
        result = forked(argv, self.path, stdin, {**os.environ, **(env or {})}, timeout)
        if code is not None:
            assert result.code == code, f"{argv} -> {result.code}\n{result.text}\n{result.errors}"
        return result

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
