"""What can be wrong with the set-up of this machine: Git, its configuration, our programs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from git_nn import __version__
from git_nn.drivers.install import Setting, settings
from git_nn.drivers.launcher import PACKAGE, launcher, probe
from git_nn.gitio.config import Config, load
from git_nn.gitio.repository import Repository

OLDEST_GIT = (2, 31)
GIT_WITH_4_GIB = (2, 43)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong and the command, or the line, that mends it.

    A note is worth knowing and nothing is broken: doctor exits with 0.
    """

    message: str
    fix: str
    note: bool = False


def git_version(repo: Repository) -> tuple[int, ...]:
    match = re.search(rb"(\d+)\.(\d+)(?:\.(\d+))?", repo.git("version"))
    return tuple(int(part) for part in match.groups(default=b"0")) if match else ()


def check_git(repo: Repository) -> Iterator[Problem]:
    version = git_version(repo)
    name = ".".join(map(str, version))
    if version < OLDEST_GIT:
        yield Problem(f"Git {name} is too old", "install Git 2.31 or newer")
    elif version < GIT_WITH_4_GIB:
        message = f"Git {name} hashes files of n * 4 GiB on every status"
        yield Problem(message, "install Git 2.43 or newer", note=True)


def check_configuration(repo: Repository) -> Iterator[Problem]:
    """Every key is set, to what this git-nn would write, and starts a git-nn."""
    config = load(repo)
    wanted = settings(launcher())
    unset = [s for s in wanted if config.get(s.key) is None]
    if len(unset) == len(wanted):
        yield Problem("Git does not know the filter and the drivers", "git nn install")
        return
    for setting in unset:
        yield Problem(f"{setting.key} is not set", _install(repo, wanted, config))
    for setting in wanted:
        value = config.get(setting.key)
        if value is not None and not setting.is_ours(value):
            message = f"{setting.key} is {value!r}, which git-nn did not write"
            yield Problem(message, f"{_install(repo, [setting], config)} --force")
    yield from _check_programs(repo, wanted, config)


def _install(repo: Repository, wanted: list[Setting] | tuple[Setting, ...], config: Config) -> str:
    """The install command for the scope from which the values come."""
    key = next((s.key for s in wanted if config.get(s.key) is not None), wanted[0].key)
    scope = repo.git("config", "--show-scope", "--get", key, check=False).split(b"\t")[0].decode()
    known = scope in ("local", "system", "worktree")
    return f"git nn install --{scope}" if known else "git nn install"


def _check_programs(
    repo: Repository, wanted: tuple[Setting, ...], config: Config
) -> Iterator[Problem]:
    values = {s: config.get(s.key) for s in wanted}
    stale = {s: v for s, v in values.items() if v not in (None, s.value) and s.is_ours(v or "")}
    told: set[str] = set()
    for setting, value in stale.items():
        fault = _fault(value or "") or "is what another version of git-nn wrote"
        if fault not in told:
            told.add(fault)
            yield Problem(f"{setting.key} {fault}", _install(repo, [setting], config))


def _fault(command: str) -> str:
    """Why the program of a configured command does not start; '' where it does."""
    python, flags, paths = _start_of(command)
    if not Path(python).exists():
        return f"names {python}, which is gone"
    found = probe(python, flags, *paths)
    if found is None:
        return f"names {python}, which cannot import git_nn"
    version, file, missing = found
    if missing:
        return f"names {python}, which lacks {', '.join(missing)}"
    if version != __version__:
        return f"starts git-nn {version}, and this is {__version__}"
    if file != str(PACKAGE / "__init__.py"):
        return f"starts the git-nn in {Path(file).parent}, and this is {PACKAGE}"
    return ""


def _start_of(command: str) -> tuple[str, tuple[str, ...], list[str]]:
    """The interpreter, its flags, and the folder of a source checkout, of a command of ours."""
    try:
        python, *words = shlex.split(command.replace("%%", "%"))
    except ValueError:
        return command, (), []
    flags = tuple(takewhile(lambda word: word.startswith("-") and word != "-m", words))
    rest = words[len(flags) :]
    launched = bool(rest) and rest[0].endswith("launch.py")
    return python, flags, [str(Path(rest[0]).parents[2])] if launched else []
