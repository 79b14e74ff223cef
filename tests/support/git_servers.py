"""Bare repositories, and git's own http-backend behind a small web server on loopback."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from git_nn.gitio.repository import Repository, find


def git(folder: Path, *argv: str) -> bytes:
    """What git prints in ``folder``; it must succeed."""
    done = subprocess.run(("git", *argv), cwd=folder, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def bare(path: Path, *, filters: bool = True, object_format: str = "sha1") -> Path:
    """A new bare repository that anybody may push to over HTTP."""
    path.mkdir(parents=True)
    git(path, "init", "-q", "--bare", f"--object-format={object_format}", "-b", "main", ".")
    git(path, "config", "http.receivepack", "true")
    git(path, "config", "uploadpack.allowFilter", str(filters).lower())
    return path


def clone(path: Path, *, object_format: str = "sha1") -> Repository:
    """A new repository, as git-nn sees it."""
    if not path.exists():
        path.mkdir(parents=True)
        git(path, "init", "-q", f"--object-format={object_format}", "-b", "main", ".")
    return find(path, os.environ)


class _Backend(BaseHTTPRequestHandler):
    """CGI, as far as git http-backend needs it."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._run(b"")

    def do_POST(self) -> None:
        self._run(self._body())

    def log_message(self, *_: object) -> None:
        pass

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", "0")))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _run(self, body: bytes) -> None:
        if not self._allowed():
            self._answer(401, [("WWW-Authenticate", 'Basic realm="git"')], b"")
            return
        path, _, query = self.path.partition("?")
        env = {
            **os.environ, "GIT_PROJECT_ROOT": str(self.server.root), "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path, "QUERY_STRING": query, "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)), "REMOTE_USER": "ann", "REMOTE_ADDR": "127.0.0.1",
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }  # fmt: skip
        done = subprocess.run(("git", "http-backend"), input=body, env=env, capture_output=True)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = [tuple(line.split(": ", 1)) for line in head.decode().split("\r\n") if line]
        status = next((value for name, value in headers if name == "Status"), "200")
        self._answer(int(status.split()[0]), [h for h in headers if h[0] != "Status"], content)

    def _allowed(self) -> bool:
        if self.server.password is None:
            return True
        token = base64.b64encode(b"ann:" + self.server.password.encode()).decode()
        return self.headers.get("Authorization") == f"Basic {token}"

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class _Server(ThreadingHTTPServer):
    def __init__(self, root: Path, password: str | None) -> None:
        super().__init__(("127.0.0.1", 0), _Backend)
        self.root, self.password, self.requests = root, password, list[str]()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def http_backend(root: Path, password: str | None = None) -> Iterator[_Server]:
    """All repositories below ``root`` over smart HTTP; with a password, user ann only."""
    with _Server(root, password) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
