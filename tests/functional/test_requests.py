"""How often a remote is asked, and for how many bytes: cost follows what is needed."""

from __future__ import annotations

import os
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from git_nn.gitio.repository import find
from git_nn.objects.pointer import parse
from git_nn.remote.folder import FolderKeys
from git_nn.remote.keys import KeyedRemote, Keys
from git_nn.remote.sftp import Sftp
from git_nn.remote.ssh import open_folder
from git_nn.store.local import LocalStore
from git_nn.transfer.push import push
from tests.contract.remote_contract import made
from tests.support.git import Repo
from tests.support.git_servers import bare, clone, http_backend
from tests.support.lfs_server import LfsServer
from tests.support.models import normal, safetensors_file
from tests.support.proxy import proxy
from tests.support.ssh_server import SshServer

NAME = "m.safetensors"


def model(seed: int) -> bytes:
    return safetensors_file({"same": normal(0, 40, 30), "other": normal(seed, 10, 30)})


class Counted:
    """Keys that note what they are asked for."""

    def __init__(self, keys: Keys, asked: list[str]) -> None:
        self._keys = keys
        self._asked = asked

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._keys, name)
        if name not in ("list", "read", "write", "size", "move", "remove"):
            return found

        def noted(key: str, *rest: object) -> object:
            self._asked.append(f"{name} {Path(key).suffix or key}")
            return found(key, *rest)

        return noted


@pytest.fixture
def near(repo: Repo) -> Repo:
    repo.write(NAME, model(1))
    repo.commit()
    return repo


def test_a_push_with_nothing_new_asks_once_whatever_it_is_pushed_to(
    near: Repo, tmp_path: Path
) -> None:
    """As in any key-value store; a bucket's requests are counted in test_bucket_faults."""
    found = find(near.path, os.environ)
    store, head = LocalStore(found.nn_dir), near.git("rev-parse", "HEAD").text.strip()
    asked: list[str] = []
    for expected in (
        ["list packs/", "read format", "write format", "write .nnp", "size .nnp",
         "write .idx", "list packs/"],
        ["list packs/"],
    ):  # fmt: skip
        with KeyedRemote(Counted(FolderKeys(tmp_path / "far"), asked)) as remote:
            push(found, store, remote, [head])
        assert asked == expected
        asked.clear()


def test_a_pack_is_sent_once_however_often_it_is_published(tmp_path: Path) -> None:
    pack = made(tmp_path, 1)
    asked: list[str] = []
    with KeyedRemote(Counted(FolderKeys(tmp_path / "far"), asked)) as remote:
        remote.packs()
        for _ in range(2):
            remote.publish([pack])
    with KeyedRemote(Counted(FolderKeys(tmp_path / "far"), asked)) as remote:
        remote.publish([pack])
        remote.packs()
        remote.publish([pack])
    assert asked.count("write .nnp") == 1


def test_a_push_with_nothing_new_is_one_connection_of_ssh(
    near: Repo, far: Repo, ssh_server: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    script = tmp_path / "ssh"
    script.write_text(f'#!/bin/sh\necho ssh >> {log}\nexec {ssh_server.command} "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(script))
    near.git("remote", "add", "origin", ssh_server.address(far.path))
    near.nn("push", "origin")
    assert log.read_text() == "ssh\n" * 2  # whether there is a Git LFS server, and SFTP
    near.nn("push", "origin")
    assert log.read_text() == "ssh\n" * 3


def test_many_folders_are_listed_over_ssh_in_few_rounds(
    ssh_server: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_SSH_COMMAND", ssh_server.command)
    pack = made(tmp_path, 1)
    names = [f"{number:02x}{'0' * 62}" for number in range(256)]
    for name in names:
        folder = tmp_path / "far/packs" / name[:2]
        folder.mkdir(parents=True)
        (folder / f"{name}.idx").write_bytes(pack.index)
        (folder / f"{name}.nnp").write_bytes(b"pack")
    rounds = asked = 0
    ask, answer = Sftp._ask, Sftp._answer

    def noted_ask(self: Sftp, kind: int, body: bytes) -> object:
        nonlocal asked
        asked += 1
        return ask(self, kind, body)

    def noted_answer(self: Sftp, future: Future[Any], wanted: int) -> memoryview:
        nonlocal rounds, asked
        rounds, asked = rounds + bool(asked), 0
        return answer(self, future, wanted)

    url = ssh_server.address(tmp_path / "far")
    keys = open_folder(clone(tmp_path / "clone"), url, beside=False)
    monkeypatch.setattr(Sftp, "_ask", noted_ask)
    monkeypatch.setattr(Sftp, "_answer", noted_answer)
    with KeyedRemote(keys) as remote:
        found = {pack.name: pack.size for pack in remote.packs()}
    assert found == dict.fromkeys(names, 4)
    assert rounds <= 24  # each folder alone would be 1,024


def test_a_push_with_nothing_new_asks_the_lfs_server_for_nothing(
    near: Repo, tmp_path: Path, lfs_server: LfsServer
) -> None:
    bare(tmp_path / "far.git")
    with http_backend(tmp_path) as server, proxy(lfs_server.endpoint(tmp_path.name)) as lfs:
        near.git("remote", "add", "origin", f"{server.url}/far.git")
        path = lfs_server.endpoint(tmp_path.name).split("/", 3)[3]
        near.git("config", "lfs.url", f"{lfs.url}/{path}")
        near.git("push", "-q", "origin", "main")
        assert lfs.asked
        lfs.asked.clear()
        before = len(server.requests)
        near.nn("push", "origin")
        assert lfs.asked == []
        (first, *rest) = server.requests[before:]  # Git's own handshake, then the refs
        assert first.startswith("GET /far.git/info/refs")
        assert len(rest) == 1


def test_of_a_thousand_versions_a_clone_fetches_one(near: Repo, far: Repo, tmp_path: Path) -> None:
    near.nn("install")
    text = near.blob(f"HEAD:{NAME}")
    old = parse(text).stored["other"].oid.hex()
    with LocalStore(near.path / ".git/nn").batch() as batch:
        others = [batch.put([normal(seed, 10, 30).tobytes()])[0] for seed in range(2, 1002)]
    stream = ["reset refs/heads/main\nfrom refs/heads/main^0\n"]
    for oid in others:
        new = text.decode().replace(old, oid.hex())
        stream.append(
            f"commit refs/heads/main\ncommitter C <c@x> 1700000000 +0000\ndata 1\nc\n"
            f"M 100644 inline {NAME}\ndata {len(new)}\n{new}\n"
        )
    near.git("fast-import", "--quiet", stdin="".join(stream).encode())
    weights = tmp_path / "weights"
    near.git("config", "nn.url", str(weights))
    near.git("push", "-q", str(far.path), "main")
    place = tmp_path / "clone"
    near.git("clone", "-q", "-c", f"nn.url={weights}", str(far.path), str(place))
    assert (place / NAME).read_bytes() == model(1001)
    store = LocalStore(place / ".git/nn")
    # the skeleton and two tensors, and what else is in the small pack of the first version
    assert 3 <= sum(len(pack.frames) for pack in store.packs()) <= 6
    assert packed(weights) > 1_000_000
    assert packed(place / ".git/nn") < 10_000


def packed(store: Path) -> int:
    """Bytes of all packs."""
    return sum(path.stat().st_size for path in store.rglob("*.nnp"))
