"""giftless, a Git LFS server that nobody here wrote, in a process of its own on loopback.

It ignores Range, keeps whatever bytes it is sent, and lets anybody in: a good adversary.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class LfsServer:
    """``url`` and the folder that has its objects as files."""

    url: str
    folder: Path

    def endpoint(self, repo: str) -> str:
        return f"{self.url}/org/{repo}.git/info/lfs"

    def stored(self, repo: str, oid: str) -> Path:
        return self.folder / "org" / repo / oid


@contextmanager
def giftless(folder: Path) -> Iterator[LfsServer]:
    argv = (sys.executable, "-W", "ignore", "-m", "tests.support.lfs_server", str(folder))
    root = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen(argv, cwd=root, env=env, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        try:
            yield LfsServer(f"http://127.0.0.1:{int(server.stdout.readline())}", folder)
        finally:
            server.terminate()


def _serve(folder: str) -> None:
    import logging

    from giftless.app import init_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    adapter = {
        "factory": "giftless.transfer.basic_streaming:factory",
        "options": {
            "storage_class": "giftless.storage.local_storage:LocalStorage",
            "storage_options": {"path": folder},
            "action_lifetime": 900,
        },
    }
    settings = {
        "TRANSFER_ADAPTERS": {"basic": adapter},
        "AUTH_PROVIDERS": ["giftless.auth.allow_anon:read_write"],
    }
    server = make_server("127.0.0.1", 0, init_app(additional_config=settings), threaded=True)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    _serve(sys.argv[1])
