"""Bare repositories, and git's own http-backend behind nginx on loopback."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from git_nn.gitio.repository import Repository, find


def git(folder: Path, *argv: str) -> bytes:
    """What git prints in ``folder``; it must succeed."""
    done = subprocess.run(("git", *argv), cwd=folder, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def put_entry(folder: Path, ref: str, path: str, data: bytes) -> None:
    """Make ``data`` what stands under ``path`` in the tree of a ref, in a commit of its own."""
    index = folder / "index-of-put-entry"
    who = {
        f"GIT_{role}_{part}": "x" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")
    }
    env = {**os.environ, **who, "GIT_INDEX_FILE": str(index)}

    def run(*argv: str, stdin: bytes = b"") -> str:
        done = subprocess.run(("git", *argv), cwd=folder, env=env, input=stdin, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    blob = run("hash-object", "-w", "--stdin", stdin=data)
    run("read-tree", ref)
    run("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}")
    run("update-ref", ref, run("commit-tree", run("write-tree"), "-m", "another entry"))
    index.unlink()


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


_CONFIGURATION = """\
{user}
worker_processes 1;
pid {folder}/pid;
error_log {folder}/errors;
events {{ }}
http {{
  access_log {folder}/access;
  client_max_body_size 0;
  client_body_temp_path {folder}/body;
  fastcgi_temp_path {folder}/fastcgi;
  proxy_temp_path {folder}/proxy;
  scgi_temp_path {folder}/scgi;
  uwsgi_temp_path {folder}/uwsgi;
  server {{
    listen 127.0.0.1:{port};
    {password}
    location / {{
      fastcgi_pass unix:{folder}/cgi;
      fastcgi_param SCRIPT_FILENAME {program};
      fastcgi_param GIT_PROJECT_ROOT {root};
      fastcgi_param GIT_HTTP_EXPORT_ALL "";
      fastcgi_param GIT_PROTOCOL $http_git_protocol;
      fastcgi_param PATH_INFO $uri;
      fastcgi_param QUERY_STRING $query_string;
      fastcgi_param REQUEST_METHOD $request_method;
      fastcgi_param CONTENT_TYPE $content_type;
      fastcgi_param CONTENT_LENGTH $content_length;
      fastcgi_param REMOTE_USER $remote_user;
      fastcgi_param REMOTE_ADDR $remote_addr;
    }}
  }}
}}
"""


@dataclass(frozen=True)
class GitServer:
    url: str
    _access: Path

    @property
    def requests(self) -> list[str]:
        """Method and path of each request that was answered."""
        return [line.split('"')[1] for line in self._access.read_text().splitlines()]


@contextmanager
def http_backend(root: Path, password: str | None = None) -> Iterator[GitServer]:
    """All repositories below ``root`` by git http-backend behind nginx, on loopback.

    With a password for user ann only. Both listen on sockets that are made here, so nobody need
    wait for them: connections wait until they are ready.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="nginx")))
        web = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        cgi = stack.enter_context(socket.socket(socket.AF_UNIX))
        cgi.bind(str(folder / "cgi"))
        cgi.listen(64)
        (folder / "users").write_text(f"ann:{{PLAIN}}{password}\n")
        port = web.getsockname()[1]
        text = _CONFIGURATION.format(
            folder=folder, port=port, root=root, user="user root;" if os.geteuid() == 0 else "",
            program=git(root, "--exec-path").decode().strip() + "/git-http-backend",
            password=f"auth_basic git; auth_basic_user_file {folder}/users;" if password else "",
        )  # fmt: skip
        (folder / "conf").write_text(text)
        for _ in range(4):
            stack.enter_context(_running(("/usr/sbin/fcgiwrap",), stdin=cgi))
        argv = ("/usr/sbin/nginx", "-p", str(folder), "-c", str(folder / "conf"), "-e", "errors")
        handed = {"NGINX": f"{web.fileno()};"}  # its own way to take over a socket
        stack.enter_context(_running(argv, env=os.environ | handed, pass_fds=[web.fileno()]))
        yield GitServer(f"http://127.0.0.1:{port}", folder / "access")


@contextmanager
def _running(argv: Sequence[str], **options: Any) -> Iterator[None]:
    process = subprocess.Popen(argv, **options)
    try:
        yield
    finally:
        process.terminate()
        process.wait()
