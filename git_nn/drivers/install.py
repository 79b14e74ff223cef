"""What ``git nn install`` writes into a configuration, and takes out of it again.

Invariants:
1. Only the keys of ``settings`` are touched, and of them only values that we wrote, unless
   the person says --force.
2. Installing twice changes nothing; installing another version replaces our own values.
3. After ``uninstall`` the file has the bytes that it had before. Git's own writer makes a
   file that was not there, and changes the white space at the end of another: what was
   there is kept in filter.nn.restore meanwhile, where it is not the usual line feed.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from git_nn.drivers.launcher import Launcher, launcher
from git_nn.errors import GitError, UsageError
from git_nn.gitio import config
from git_nn.gitio.repository import Repository, find, scrub

# Whoever changes what drivers/textconv prints adds one: the word is ignored there, but Git
# drops what it has cached of textconv when the command is another.
TEXTCONV_VERSION = 1

SCOPES = ("global", "local", "system", "worktree")
_OURS = re.compile(
    r"git_nn\.(drivers\.(filter_process|diff|textconv|merge)|cli\.main resolve)\b|\Agit-nn\b"
)
_RESTORE, _MISSING = "filter.nn.restore", "missing"
_PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Setting:
    """A key with its value, and what it is for."""

    key: str
    value: str
    why: str

    @property
    def section(self) -> str:
        return self.key.partition(".")[0]

    def is_ours(self, value: str) -> bool:
        return value == self.value or _OURS.search(value) is not None


@dataclass(frozen=True, slots=True)
class Place:
    """A configuration file: the scope by which Git knows it, and where git is run for it."""

    scope: str
    repo: Repository

    def git(self, *argv: str, check: bool = True) -> bytes:
        return self.repo.git("config", f"--{self.scope}", *argv, check=check)

    def values(self) -> config.Config:
        return config.parse(self.git("--list", "-z", check=False))

    @property
    def file(self) -> Path | None:
        """The file that Git writes; None for the system's, whose path only Git knows."""
        if self.scope == "global":
            return _global_file(self.repo.env)
        if self.scope == "worktree":
            own = config.load(self.repo).boolean("extensions.worktreeconfig", default=False)
            return self.repo.git_dir / "config.worktree" if own else self.repo.common_dir / "config"
        return self.repo.common_dir / "config" if self.scope == "local" else None


def place(scope: str, start: Path, env: Mapping[str, str]) -> Place:
    """Where a scope's configuration stands; UsageError where it needs a repository."""
    if scope in ("local", "worktree"):
        return Place(scope, find(start, env))
    # No repository is needed, nor looked for: git only runs in this folder.
    return Place(scope, Repository(start, start, None, scrub(env)))


def settings(how: Launcher) -> tuple[Setting, ...]:
    """Everything that is configured, in the order in which it is written."""

    def command(module: str, *words: str) -> str:
        return how.command(f"git_nn.drivers.{module}", *words)

    def expanded(module: str, *words: str) -> str:
        # Git expands %f and the like in these values, so a % in a path is doubled.
        return " ".join((command(module).replace("%", "%%"), *words))

    return (
        Setting("filter.nn.clean", expanded("filter_process", "clean", "%f"),
                "git add stores one file, where Git cannot use the process below"),
        Setting("filter.nn.smudge", expanded("filter_process", "smudge", "%f"),
                "git checkout writes one file, where Git cannot use the process below"),
        Setting("filter.nn.process", command("filter_process"),
                "git add and git checkout pass all files through one process"),
        Setting("filter.nn.required", "true",
                "a failure of git-nn fails the git command; nothing is stored half"),
        Setting("diff.nn.command", command("diff"),
                "git diff shows tensors"),
        Setting("diff.nn.textconv", command("textconv", f"text-{TEXTCONV_VERSION}"),
                "git log -p, show and blame show tensors"),
        Setting("diff.nn.cachetextconv", "true",
                "what textconv printed is kept in refs/notes/textconv/nn"),
        Setting("merge.nn.name", "git-nn: weights, tensor by tensor",
                "how Git names the merge driver"),
        Setting("merge.nn.driver", expanded("merge", "%O", "%A", "%B", "%L", "%P"),
                "git merge, rebase, cherry-pick and stash merge tensor by tensor"),
        Setting("mergetool.nn.cmd",
                how.command("git_nn.cli.main", "resolve", "--interactive", "--path", '"$MERGED"'),
                "git mergetool --tool=nn asks for every tensor in conflict"),
        Setting("mergetool.nn.trustExitCode", "true",
                "git mergetool believes it when tensors are still open"),
    )  # fmt: skip


def install(where: Place, *, force: bool = False) -> list[Setting]:
    """Write what is not there yet; returns what was written.

    Raises UsageError where a key has a value that we did not write, and not ``force``.
    """
    wanted = settings(launcher())
    found = where.values()
    foreign = [
        (setting.key, value)
        for setting in wanted
        for value in found.get_all(setting.key)
        if not setting.is_ours(value)
    ]
    if foreign and not force:
        key, value = foreign[0]
        raise UsageError(
            f"{key} is already set to {value!r}, which git-nn did not write",
            hint=f"run 'git nn install --{where.scope} --force' to replace it",
        )
    todo = [setting for setting in wanted if found.get_all(setting.key) != [setting.value]]
    if len(todo) == len(wanted):
        _remember(where)
    for setting in todo:
        _patient(lambda s=setting: where.git("--replace-all", s.key, s.value))  # type: ignore[misc]
    return todo


def uninstall(where: Place) -> list[str]:
    """Take out every value that we wrote; returns the keys that had one."""
    found = where.values()
    known = settings(Launcher("python", ()))
    foreign = {
        setting.section
        for setting in known
        for value in found.get_all(setting.key)
        if not setting.is_ours(value)
    }
    removed = []
    for setting in known:
        if setting.value == "true" and setting.section in foreign:
            continue  # it goes with somebody else's command
        for value in dict.fromkeys(found.get_all(setting.key)):
            if setting.is_ours(value):
                _unset(where, setting.key, value)
                removed.append(setting.key)
    before = found.get(_RESTORE)
    if before is not None:
        _unset(where, _RESTORE, before)
        _restore(where.file, before)
    return removed


def _unset(where: Place, key: str, value: str) -> None:
    _patient(lambda: where.git("--fixed-value", "--unset-all", key, value))


def _patient(write: Callable[[], bytes]) -> None:
    """Do ``write``, waiting while another process holds the lock of the file."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            write()
        except GitError as error:
            locked = "could not lock" in error.stderr and "File exists" in error.stderr
            if not locked or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def _global_file(env: Mapping[str, str]) -> Path | None:
    """By Git's own rule: ~/.gitconfig, unless only the XDG file exists."""
    if named := env.get("GIT_CONFIG_GLOBAL"):
        return Path(named)
    home = env.get("HOME")
    if not home:
        return None
    own = Path(home) / ".gitconfig"
    xdg = Path(env.get("XDG_CONFIG_HOME") or Path(home) / ".config") / "git" / "config"
    return xdg if xdg.exists() and not own.exists() else own


def _remember(where: Place) -> None:
    """Note what Git's writer will change beside our keys: white space at the end, in hex."""
    path = where.file
    if path is None:
        return
    try:
        tail = _tail(path.read_bytes())
    except OSError:
        _patient(lambda: where.git(_RESTORE, _MISSING))
        return
    if tail not in (b"\n", b"\r\n"):
        _patient(lambda: where.git(_RESTORE, tail.hex()))


def _tail(data: bytes) -> bytes:
    return data[len(data.rstrip(b" \t\r\n")) :]


def _restore(path: Path | None, before: str) -> None:
    """Bring back the end of a file, or that it was not there; under Git's own lock."""
    if path is None or path.is_symlink():
        return
    lock = path.with_name(path.name + ".lock")
    try:
        fd = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError:  # somebody is writing: another line feed does no harm
        return
    try:
        with os.fdopen(fd, "wb") as file:
            data = path.read_bytes()
            if before == _MISSING:
                if not data:
                    path.unlink()
                return
            file.write(data[: len(data) - len(_tail(data))] + bytes.fromhex(before))
            file.flush()
            os.fchmod(fd, path.stat().st_mode & 0o777)
        lock.replace(path)
    except ValueError:  # not what ``_remember`` wrote
        return
    finally:
        lock.unlink(missing_ok=True)
