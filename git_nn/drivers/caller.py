"""Which git command called us; read from the process table, since Git does not say.

What a smudge may answer depends on what Git will do with the answer (design, section
7): only under commands where nothing else runs before Git ends may a large file wait,
and only a diff may be given a pointer to look at. Where the command is unknown, the
answer is always the whole file: slow, never wrong.

Aliases need no thought: Git runs the command that an alias stands for as a process of its
own (tried: 2.39), and so the nearest git process is never one with an alias.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Git's own options before the command that take their value as a word of its own
_WITH_VALUE = frozenset(
    {"-C", "-c", "--git-dir", "--work-tree", "--namespace", "--exec-path", "--super-prefix",
     "--config-env", "--attr-source"}
)  # fmt: skip
_DEPTH = 12


@dataclass(frozen=True, slots=True)
class Command:
    """A git command: its name ('' where unknown), its arguments, and those of its ancestors."""

    name: str = ""
    arguments: tuple[str, ...] = ()
    outer: tuple[str, ...] = ()

    def is_within(self, *names: str) -> bool:
        return self.name in names or any(outer in names for outer in self.outer)


def calling_command(start: int | None = None) -> Command:
    """The nearest git command above this process, with the git commands above that one."""
    commands = [
        _parse(argv)
        for argv in _ancestors(os.getppid() if start is None else start)
        if _is_git(argv)
    ]
    if not commands:
        return Command()
    name, *arguments = commands[0]
    return Command(name, tuple(arguments), tuple(words[0] for words in commands[1:]))


def _is_git(argv: list[str]) -> bool:
    if not argv:
        return False
    program = argv[0].rsplit("/", 1)[-1].removesuffix(".exe")
    return program == "git" or (program.startswith("git-") and not program.startswith("git-nn"))


def _parse(argv: list[str]) -> list[str]:
    """The command and its arguments; [''] where there is none."""
    program = argv[0].rsplit("/", 1)[-1].removesuffix(".exe")
    if program != "git":
        return [program.removeprefix("git-"), *argv[1:]]
    words = argv[1:]
    while words and words[0].startswith("-"):
        words = words[2:] if words[0] in _WITH_VALUE else words[1:]
    return words or [""]


def _ancestors(pid: int) -> Iterator[list[str]]:
    for _ in range(_DEPTH):
        if pid <= 1:
            return
        parent, argv = _process(pid)
        yield argv
        pid = parent


def _process(pid: int) -> tuple[int, list[str]]:
    """(parent's pid, arguments) of a process; (0, []) where it cannot be read."""
    folder = Path("/proc") / str(pid)
    try:
        status = (folder / "stat").read_bytes()
        command = (folder / "cmdline").read_bytes()
    except OSError:
        return _process_by_ps(pid)
    parent = int(status.rpartition(b")")[2].split()[1])
    return parent, [os.fsdecode(word) for word in command.split(b"\0")[:-1]]


def _process_by_ps(pid: int) -> tuple[int, list[str]]:
    """For systems without /proc. Arguments with spaces come apart, which the parser survives."""
    try:
        done = subprocess.run(
            ["ps", "-o", "ppid=,args=", "-p", str(pid)], capture_output=True, check=False
        )
    except OSError:
        return 0, []
    words = os.fsdecode(done.stdout).split()
    return (int(words[0]), words[1:]) if words and words[0].isdigit() else (0, [])
