"""A terminal for a real process: what it prints there, as wide as the test says."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from pathlib import Path


def on_terminal(
    argv: list[str], cwd: Path, columns: int, *, typed: bytes = b"", code: int = 0, **env: str
) -> str:
    """The output of ``argv`` on a terminal of so many columns; it must exit with ``code``.

    ``typed`` waits on the keyboard from the start, and is in the output where it was echoed.
    Then stderr is on the terminal too, where Python's ``input`` writes its prompt.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    inherited = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    process = subprocess.Popen(
        argv, cwd=cwd, stdin=theirs, stdout=theirs, stderr=theirs if typed else subprocess.DEVNULL,
        env={**inherited, "TERM": "xterm-256color", **env},
    )  # fmt: skip
    os.close(theirs)
    os.write(ours, typed)
    found = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # EIO: the other side is closed
            break
        if not part:
            break
        found += part
    os.close(ours)
    assert process.wait(60) == code, found.decode()
    return found.decode("utf-8").replace("\r\n", "\n")
