"""The list of packs of a Git LFS server: whose it is, and how often the server is asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from git_nn.errors import RemoteError
from git_nn.gitio.repository import Repository
from git_nn.remote import lfs_batch, retry
from git_nn.remote.base import Outgoing
from git_nn.remote.lfs import LfsRemote
from git_nn.remote.lfs_access import home_of
from tests.contract.remote_contract import Shop, made, names, whole
from tests.support.git_servers import bare, clone, git
from tests.support.lfs_server import LfsServer
from tests.support.proxy import Answer, Asked, Change, Forward, Proxy, proxy, received, reply

REF = "refs/nn/catalog"


@pytest.fixture
def between(lfs_server: LfsServer) -> Iterator[Proxy]:
    with proxy(lfs_server.url) as server:
        yield server


class Hosts:
    """Git repositories with Git LFS servers of their own, all behind one recorder."""

    def __init__(self, folder: Path, between: Proxy, server: LfsServer) -> None:
        self.folder, self.between, self.server = folder, between, server

    def git(self, name: str) -> Path:
        path = self.folder / f"{name}.git"
        return path if path.exists() else bare(path)

    def remote(self, name: str, repo: Repository | None = None) -> LfsRemote:
        endpoint = f"{self.between.url}/org/{self.folder.name}-{name}.git/info/lfs"
        repo = repo or clone(self.folder / f"clone-of-{name}")
        return LfsRemote(repo, self.git(name).as_uri(), endpoint=endpoint)

    def publish(self, name: str, *packs: Outgoing) -> None:
        with self.remote(name) as remote:
            remote.publish(packs)

    def copy(self, source: str, target: str) -> None:
        """The refs, as 'git clone --mirror' and 'git push --mirror' bring them."""
        git(self.git(source), "push", "-q", "--mirror", str(self.git(target)))

    def asked(self) -> int:
        return self.between.count("POST", "/batch")

    def stored(self, name: str, pack: Outgoing) -> Path:
        pointer = git(
            self.git(name), "cat-file", "blob", f"{REF}:packs/{pack.name[:2]}/{pack.name}"
        )
        oid = pointer.decode().partition("sha256:")[2][:64]
        return self.server.stored(f"{self.folder.name}-{name}", oid)


@pytest.fixture
def hosts(tmp_path: Path, between: Proxy, lfs_server: LfsServer) -> Hosts:
    return Hosts(tmp_path, between, lfs_server)


def held(remote: LfsRemote) -> set[str]:
    with remote:
        return names(remote)


# -- a catalogue that came from another host


def test_a_catalogue_that_was_copied_to_another_host_lists_nothing_there(
    hosts: Hosts, tmp_path: Path
) -> None:
    packs = [made(tmp_path, seed) for seed in (1, 2)]
    hosts.publish("a", *packs)
    hosts.copy("a", "b")
    assert git(hosts.git("b"), "rev-parse", REF) == git(hosts.git("a"), "rev-parse", REF)
    assert held(hosts.remote("b")) == set()
    assert held(hosts.remote("a")) == {pack.name for pack in packs}


def test_what_a_copied_catalogue_lists_is_sent_by_the_next_push(
    hosts: Hosts, tmp_path: Path
) -> None:
    one, two = made(tmp_path, 1), made(tmp_path, 2)
    hosts.publish("a", one, two)
    hosts.copy("a", "b")
    hosts.publish("b", two)
    before = hosts.asked()
    with hosts.remote("b") as remote:
        assert names(remote) == {two.name}  # and not ``one``, which nobody has sent there
        assert hosts.asked() == before  # the catalogue is that server's own now
        assert whole(remote, two) == two.path.read_bytes()
    assert hosts.stored("b", two).read_bytes() == two.path.read_bytes()
    listed = git(hosts.git("b"), "ls-tree", "-r", "--name-only", REF).decode()
    assert one.name not in listed


def test_packs_that_the_other_server_has_are_believed_and_stay(
    hosts: Hosts, tmp_path: Path
) -> None:
    one, two, three = (made(tmp_path, seed) for seed in (1, 2, 3))
    hosts.publish("b", one)
    hosts.publish("a", one, two)
    hosts.copy("a", "b")  # over the catalogue of b
    assert held(hosts.remote("b")) == {one.name}
    hosts.publish("b", three)
    assert held(hosts.remote("b")) == {one.name, three.name}


def test_a_catalogue_that_comes_back_is_not_believed(hosts: Hosts, tmp_path: Path) -> None:
    """Published at b alone, after the catalogue of a had been copied there with its objects."""
    one, two = made(tmp_path, 1), made(tmp_path, 2)
    hosts.publish("a", one)
    hosts.copy("a", "b")
    hosts.publish("b", one, two)
    hosts.copy("b", "a")
    assert held(hosts.remote("a")) == {one.name}


def test_a_catalogue_without_a_home_is_checked_and_then_has_one(
    hosts: Hosts, tmp_path: Path
) -> None:
    one, two = made(tmp_path, 1), made(tmp_path, 2)
    hosts.publish("a", one)
    hosts.remote("a")._list.catalogue.remove(["home"])
    before = hosts.asked()
    with hosts.remote("a") as remote:
        assert names(remote) == {one.name}
        assert hosts.asked() == before + 1
        remote.publish([two])
    before = hosts.asked()
    assert held(hosts.remote("a")) == {one.name, two.name}
    assert hosts.asked() == before


def test_a_hundred_packs_are_asked_for_at_once(hosts: Hosts, tmp_path: Path) -> None:
    hosts.publish("a", *(made(tmp_path, seed, 50) for seed in range(130)))
    hosts.copy("a", "b")
    before = len(hosts.between.asked)
    assert held(hosts.remote("b")) == set()
    sizes = [len(json.loads(one.body)["objects"]) for one in hosts.between.asked[before:]]
    assert len(sizes) == 2
    assert sum(sizes) in (131, 132)  # and what nobody has
    assert max(sizes) <= 100


def claims_all(asked: Asked, forward: Forward) -> Answer:
    """A server that signs a download of whatever it is asked for, and looks at nothing."""
    question = json.loads(asked.body)
    if question["operation"] == "upload":
        return forward(asked)
    place = {"download": {"href": f"http://{asked.headers['Host']}/nothing"}}
    objects = [{**one, "actions": place} for one in question["objects"]]
    return Answer(200, body=json.dumps({"objects": objects}).encode())


def test_a_server_that_would_give_anything_away_is_asked_what_it_wants(
    hosts: Hosts, tmp_path: Path
) -> None:
    one, two = made(tmp_path, 1), made(tmp_path, 2)
    hosts.publish("a", one, two)
    hosts.publish("b", one)
    hosts.copy("a", "b")
    hosts.between.fault("POST", "/batch", claims_all, 9)
    assert held(hosts.remote("b")) == {one.name}


@pytest.mark.parametrize("change", [reply(403), reply(500)], ids=["forbidden", "down"])
def test_where_the_server_does_not_say_what_it_has_nothing_is_taken_for_lost(
    hosts: Hosts, tmp_path: Path, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "FIRST", 0.001)
    one, two = made(tmp_path, 1), made(tmp_path, 2)
    hosts.publish("a", one)
    hosts.copy("a", "b")
    before = git(hosts.git("b"), "rev-parse", REF)
    hosts.between.fault("POST", "/batch", change, 99)
    with hosts.remote("b") as remote, pytest.raises(RemoteError):
        remote.publish([two])
    assert git(hosts.git("b"), "rev-parse", REF) == before


@pytest.mark.parametrize(
    "url",
    [
        "git@Host.example:team/models.git", "ssh://git@host.example:2222/team/models",
        "https://host.example/team/models.git", "https://ann:s3cret@host.example:443/team/models/",
        "https://host.example/team/models.git/info/lfs", "http://host.example/team/models",
    ],
)  # fmt: skip
def test_a_home_is_the_same_however_the_server_is_reached(url: str) -> None:
    same = home_of("https://host.example/team/models")
    assert home_of(url) == same
    assert len(same) == 64


@pytest.mark.parametrize(
    "url",
    ["https://host.example/team/other", "https://host.example:8443/team/models",
     "https://example/team/models", "git@host.example:models", "/team/models"],
)  # fmt: skip
def test_another_place_is_another_home(url: str) -> None:
    assert home_of(url) != home_of("https://host.example/team/models")


# -- addresses for many packs at once


def stocked(hosts: Hosts, tmp_path: Path, count: int) -> tuple[Shop, list[bytes]]:
    """A store whose ``count`` objects were published in a pack each."""
    near = Shop(tmp_path / "near")
    data = [bytes([n % 251]) * (3000 + n) for n in range(count)]
    with hosts.remote("a") as remote:
        for one in data:
            near.send(remote, [near.put(one)])
    hosts.between.asked.clear()
    return near, data


def test_many_packs_need_one_question(hosts: Hosts, tmp_path: Path) -> None:
    near, data = stocked(hosts, tmp_path, 12)
    far = Shop(tmp_path / "far")
    oids = [near.put(one) for one in data]
    with hosts.remote("a") as remote:
        far.bring(remote, oids)
    assert [far.get(oid) for oid in oids] == data
    assert hosts.between.count("GET") == 12
    assert hosts.asked() == 1


def expiring(when: str) -> Change:
    def change(answer: Answer) -> Answer:
        found = json.loads(answer.body)
        for one in found["objects"]:
            one["actions"]["download"] |= {"expires_at": when, "expires_in": 0}
        return replace(answer, body=json.dumps(found).encode())

    return received(change)


def test_addresses_that_have_expired_are_asked_for_again(
    hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packs = [made(tmp_path, seed) for seed in range(3)]
    hosts.publish("a", *packs)
    hosts.between.asked.clear()
    now = datetime.now(UTC)
    hosts.between.fault("POST", "/batch", expiring((now + timedelta(hours=1)).isoformat()))
    with hosts.remote("a") as remote:
        remote.expect([pack.name for pack in packs])
        assert whole(remote, packs[0]) == packs[0].path.read_bytes()
        assert whole(remote, packs[1]) == packs[1].path.read_bytes()
        assert hosts.asked() == 1
        real = lfs_batch.time.monotonic
        monkeypatch.setattr(
            lfs_batch, "time", type("Later", (), {"monotonic": lambda: real() + 3600})
        )
        assert whole(remote, packs[2]) == packs[2].path.read_bytes()
        assert hosts.asked() == 2


def test_one_object_that_is_gone_does_not_keep_the_others_back(
    hosts: Hosts, tmp_path: Path
) -> None:
    packs = [made(tmp_path, seed) for seed in range(3)]
    hosts.publish("a", *packs)
    hosts.stored("a", packs[1]).unlink()
    with hosts.remote("a") as remote:
        remote.expect([pack.name for pack in packs])
        assert whole(remote, packs[0]) == packs[0].path.read_bytes()
        with pytest.raises(RemoteError, match="knows no such"):
            whole(remote, packs[1])
        assert whole(remote, packs[2]) == packs[2].path.read_bytes()
