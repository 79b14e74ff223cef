"""Where a Git LFS server is, and who we are to it; and what its own client makes of our packs."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from git_nn.errors import RemoteError
from git_nn.gitio.config import load
from git_nn.gitio.repository import Repository
from git_nn.remote.address import address_of
from git_nn.remote.lfs import LfsRemote
from git_nn.remote.lfs_access import answers_over_ssh, ask_ssh
from git_nn.remote.ssh_place import ssh_place
from git_nn.remote.table import open_remote
from tests.contract.remote_contract import made, names, whole
from tests.support.git import Repo
from tests.support.git_servers import bare, clone, git
from tests.support.lfs_server import LfsServer
from tests.support.proxy import Answer, Asked, Forward, Proxy, certificate, proxy, received

RIGHT = f"Basic {base64.b64encode(b'ann:s3cret').decode()}"


def strict(asked: Asked, forward: Forward) -> Answer:
    """A server that wants to know who asks."""
    if asked.headers.get("Authorization") != RIGHT:
        return Answer(401, {"WWW-Authenticate": "Basic"}, b"{}")
    return forward(asked)


@pytest.fixture
def server(lfs_server: LfsServer) -> Iterator[Proxy]:
    with proxy(lfs_server.url) as between:
        between.fault("POST", "/batch", strict, 99)
        yield between


def helper(repo: Repository, password: str, log: Path) -> None:
    """A credential helper that knows one password and writes down what it is asked."""
    script = f'!f() {{ echo "$1" >> {log}; cat >> {log}; test "$1" != get || printf'
    script += f" 'username=ann\\npassword={password}\\n'; }}; f"
    repo.git("config", "credential.helper", "")
    repo.git("config", "--add", "credential.helper", script)


def test_git_is_asked_for_the_password_and_told_that_it_was_right(
    tmp_path: Path, server: Proxy
) -> None:
    far, repo = bare(tmp_path / "far.git"), clone(tmp_path / "clone")
    helper(repo, "s3cret", tmp_path / "log")
    pack = made(tmp_path, 1)
    endpoint = f"{server.url}/org/{tmp_path.name}.git/info/lfs"
    with LfsRemote(repo, far.as_uri(), endpoint=endpoint) as remote:
        remote.publish([pack])
        assert whole(remote, pack) == pack.path.read_bytes()
    log = (tmp_path / "log").read_text()
    assert f"host={server.url.removeprefix('http://')}\n" in log
    assert [word for word in log.split() if "=" not in word] == ["get", "store"]


def test_a_wrong_password_is_forgotten_and_never_shown(tmp_path: Path, server: Proxy) -> None:
    far, repo = bare(tmp_path / "far.git"), clone(tmp_path / "clone")
    helper(repo, "wr0ng", tmp_path / "log")
    with (
        LfsRemote(repo, far.as_uri(), endpoint=f"{server.url}/org/r.git/info/lfs") as remote,
        pytest.raises(RemoteError, match="does not accept who we are") as caught,
    ):
        remote.publish([made(tmp_path, 1)])
    assert "wr0ng" not in str(caught.value)
    log = (tmp_path / "log").read_text()
    assert [word for word in log.split() if "=" not in word] == ["get", "erase"]


def test_without_a_password_the_next_step_is_told(tmp_path: Path, server: Proxy) -> None:
    far, repo = bare(tmp_path / "far.git"), clone(tmp_path / "clone")
    with (
        LfsRemote(repo, far.as_uri(), endpoint=f"{server.url}/org/r.git/info/lfs") as remote,
        pytest.raises(RemoteError, match="credential helper"),
    ):
        remote.publish([made(tmp_path, 1)])


def test_a_header_of_the_configuration_is_sent_to_its_server(tmp_path: Path, server: Proxy) -> None:
    """As CI systems log in."""
    far, repo = bare(tmp_path / "far.git"), clone(tmp_path / "clone")
    repo.git("config", f"http.{server.url}/.extraheader", f"AUTHORIZATION: {RIGHT}")
    pack = made(tmp_path, 1)
    server.fault("POST", "/batch", strict, 99)
    endpoint = f"{server.url}/org/{tmp_path.name}.git/info/lfs"
    with LfsRemote(repo, far.as_uri(), endpoint=endpoint) as remote:
        remote.publish([pack])
        assert names(remote) == {pack.name}


@pytest.mark.parametrize("key", ["remote.origin.lfsurl", "lfs.url"])
def test_the_configuration_names_the_server(
    tmp_path: Path, lfs_server: LfsServer, key: str
) -> None:
    far, repo = bare(tmp_path / "far.git"), clone(tmp_path / "clone")
    repo.git("config", "remote.origin.url", far.as_uri())
    repo.git("config", "lfs.url", "https://127.0.0.1:9/")
    repo.git("config", key, lfs_server.endpoint(tmp_path.name))
    pack = made(tmp_path, 1)
    with LfsRemote(repo, far.as_uri()) as remote:
        remote.publish([pack])
        assert whole(remote, pack) == pack.path.read_bytes()


def test_the_file_lfsconfig_of_a_repository_names_no_server(tmp_path: Path) -> None:
    far, repo = bare(tmp_path / "far.git"), clone(tmp_path / "clone")
    assert repo.work_tree is not None
    (repo.work_tree / ".lfsconfig").write_text("[lfs]\n\turl = http://127.0.0.1:9/\n")
    with LfsRemote(repo, far.as_uri()) as remote, pytest.raises(RemoteError, match=r"lfs\.url"):
        remote.publish([made(tmp_path, 1)])


def test_a_certificate_counts_as_the_configuration_says(
    tmp_path: Path, lfs_server: LfsServer
) -> None:
    far, repo = bare(tmp_path / "far.git"), clone(tmp_path / "clone")
    path, tls = certificate(tmp_path)
    pack = made(tmp_path, 1)
    with proxy(lfs_server.url, tls) as server:
        plain = server.url.replace("https", "http").encode()
        server.fault("POST", "/batch", received(
            lambda it: replace(it, body=it.body.replace(plain, server.url.encode()))
        ), 9)  # fmt: skip
        endpoint = f"{server.url}/org/{tmp_path.name}.git/info/lfs"
        with (
            LfsRemote(repo, far.as_uri(), endpoint=endpoint) as remote,
            pytest.raises(RemoteError, match="safely"),
        ):
            remote.publish([pack])
        assert server.asked == []
        repo.git("config", f"http.{server.url}/.sslCAInfo", str(path))
        with LfsRemote(repo, far.as_uri(), endpoint=endpoint) as remote:
            remote.publish([pack])
        repo.git("config", "--unset", f"http.{server.url}/.sslCAInfo")
        repo.git("config", "http.sslVerify", "false")
        with LfsRemote(repo, far.as_uri(), endpoint=endpoint) as remote:
            assert whole(remote, pack) == pack.path.read_bytes()
        assert server.count("POST", "/batch") == 2


def test_a_proxy_of_the_configuration_is_used(tmp_path: Path, lfs_server: LfsServer) -> None:
    far, repo = bare(tmp_path / "far.git"), clone(tmp_path / "clone")
    with proxy(lfs_server.url) as between:
        repo.git("config", "http.proxy", between.url.replace("://", "://ann:s3cret@"))
        endpoint = lfs_server.endpoint(tmp_path.name)
        with LfsRemote(repo, far.as_uri(), endpoint=endpoint) as remote:
            remote.publish([made(tmp_path, 1)])
        assert {asked.headers["Proxy-Authorization"] for asked in between.asked} == {RIGHT}
        assert between.count("PUT", lfs_server.url) == 1


# -- ssh


def fake_ssh(tmp_path: Path, answer: object, status: int = 0) -> dict[str, str]:
    """An ssh that writes down its arguments and says this."""
    (tmp_path / "said").write_text(json.dumps(answer))
    script = tmp_path / "an ssh"
    script.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" >> {tmp_path}/args\ncat {tmp_path}/said\nexit {status}\n'
    )
    script.chmod(0o755)
    return {"GIT_SSH_COMMAND": f"'{script}' -4"}


def test_the_host_of_an_ssh_address_says_where_its_server_is(tmp_path: Path, server: Proxy) -> None:
    endpoint = f"{server.url}/org/{tmp_path.name}.git/info/lfs"
    said = {"href": endpoint, "header": {"Authorization": RIGHT}, "expires_in": 600}
    far = bare(tmp_path / "far.git")
    repo = clone(tmp_path / "clone").with_env(**fake_ssh(tmp_path, said))
    repo.git("config", "remote.origin.url", far.as_uri())
    repo.git("config", "remote.origin.lfsurl", "ssh://git@host.example:2222/a b.git")
    pack = made(tmp_path, 1)
    with LfsRemote(repo, far.as_uri()) as remote:
        remote.publish([pack])
        assert whole(remote, pack) == pack.path.read_bytes()
    asked = (tmp_path / "args").read_text().splitlines()
    assert asked[:5] == ["-4", "-p", "2222", "git@host.example",
                         "git-lfs-authenticate '/a b.git' upload"]  # fmt: skip
    assert asked[9:] == ["git-lfs-authenticate '/a b.git' download"]


@pytest.mark.parametrize(
    ("said", "status", "expected"),
    [
        ({"href": "https://host.example/lfs"}, 0, True),
        ("git-lfs-authenticate: not found", 127, False),
        ({"href": 7}, 0, False),
        ({"href": "file:///etc/passwd"}, 0, False),
        ({"href": "https://host.example/lfs", "header": {"X": "a\r\nb"}}, 0, False),
        ("Permission denied", 255, False),
    ],
)
def test_a_host_has_a_server_if_it_says_so(
    tmp_path: Path, said: object, status: int, expected: bool
) -> None:
    repo = clone(tmp_path / "clone").with_env(**fake_ssh(tmp_path, said, status))
    assert bool(answers_over_ssh(repo, "git@host.example:a.git")) is expected


def test_a_host_is_asked_once_a_day_and_again_where_it_could_not_be_asked(tmp_path: Path) -> None:
    address = address_of(repo := clone(tmp_path / "clone"), load(repo), "o", "git@host.example:a")

    def kinds(said: object, status: int) -> set[type]:
        there = repo.with_env(**fake_ssh(tmp_path, said, status))
        found: set[type] = set()
        for _ in range(2):
            with suppress(RemoteError), open_remote(there, address) as remote:
                found.add(type(remote))
        return found

    def asked() -> int:
        file = tmp_path / "args"
        count = file.read_text().count("git-lfs-authenticate") if file.exists() else 0
        file.unlink(missing_ok=True)
        return count

    kinds("Permission denied", 255)
    assert asked() == 2
    assert kinds({"href": "https://host.example/lfs"}, 0) == {LfsRemote}
    assert asked() == 1
    (note,) = (repo.nn_dir / "cache/remotes").glob("*/lfs")
    os.utime(note, (time.time() - 90000,) * 2)
    kinds("git-lfs-authenticate: not found", 127)
    assert asked() == 1
    assert note.read_text() == "no\n"


def test_a_path_is_no_command_for_the_host(tmp_path: Path) -> None:
    repo = clone(tmp_path / "clone").with_env(**fake_ssh(tmp_path, {}))
    place = ssh_place("host.example:a; touch $(x)")
    assert place is not None
    ask_ssh(repo, place, "download")
    assert (tmp_path / "args").read_text().splitlines()[-1] == (
        "git-lfs-authenticate 'a; touch $(x)' download"
    )


# -- the client of Git LFS itself


def test_git_lfs_gets_our_packs_by_the_pointers_of_the_catalogue(
    tmp_path: Path, lfs_server: LfsServer
) -> None:
    far, repo = bare(tmp_path / "far.git"), clone(tmp_path / "clone")
    packs = [made(tmp_path, 1), made(tmp_path, 2, 400_000)]
    endpoint = lfs_server.endpoint(tmp_path.name)
    with LfsRemote(repo, far.as_uri(), endpoint=endpoint) as remote:
        remote.publish(packs)
    git(tmp_path, "init", "-q", "theirs")
    theirs = Repo(tmp_path / "theirs")
    theirs.git("remote", "add", "origin", far.as_uri())
    theirs.git("config", "lfs.url", endpoint)
    theirs.git("fetch", "-q", "origin", "refs/nn/catalog:refs/heads/catalog")
    theirs.run("git-lfs", "fetch", "origin", "catalog")
    theirs.run("git-lfs", "fsck", "--objects", "catalog")
    found = {path.name: path for path in (theirs.path / ".git/lfs/objects").rglob("?" * 64)}
    expected = {hashlib.sha256(pack.path.read_bytes()).hexdigest(): pack for pack in packs}
    assert found.keys() == expected.keys()
    for oid, pack in expected.items():
        assert found[oid].read_bytes() == pack.path.read_bytes()
