"""OpenSSH's own sshd on loopback, with a throw-away key, for tests that need another machine."""

from __future__ import annotations

import getpass
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class SshServer:
    """``command`` is for GIT_SSH_COMMAND; ``address`` makes an ssh address of a path."""

    port: int
    command: str

    def address(self, path: Path) -> str:
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}{path}"


def free_port() -> int:
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextmanager
def sshd(folder: Path) -> Iterator[SshServer]:
    """A server for the block; it writes nothing outside of ``folder``."""
    for name in ("host", "user"):
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(argv, check=True)
    shutil.copy(folder / "user.pub", folder / "authorized")
    port = free_port()
    (folder / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\n"
        f"AuthorizedKeysFile {folder}/authorized\nStrictModes no\nUsePAM no\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n"
        "Subsystem sftp internal-sftp\nMaxStartups 100\nAcceptEnv *\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)  # where Debian's sshd separates its privileges
    argv = ["/usr/sbin/sshd", "-D", "-e", "-f", str(folder / "config")]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(argv, stderr=log)
    command = (
        f"ssh -F none -i {folder}/user -o IdentitiesOnly=yes -o BatchMode=yes "
        f"-o UserKnownHostsFile={folder}/known "
        "-o StrictHostKeyChecking=accept-new -o LogLevel=ERROR"
    )
    try:
        _wait(port, server, folder / "log")
        yield SshServer(port, command)
    finally:
        server.terminate()
        server.wait()


def _wait(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    """Until it listens; a connection that is refused is tried again at once."""
    while server.poll() is None:
        with closing(socket.socket()) as tried:
            tried.settimeout(1)
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return
    raise RuntimeError(log.read_text())
