"""A Git LFS server, and a network, on a bad day: each fault is mended or told, and never kept."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from git_nn.errors import RemoteError
from git_nn.gitio.repository import Repository
from git_nn.remote import retry
from git_nn.remote.base import Outgoing
from git_nn.remote.lfs import LfsRemote
from tests.contract.remote_contract import made, names, whole
from tests.support.git_servers import bare, clone, git
from tests.support.lfs_server import LfsServer
from tests.support.proxy import (
    Answer,
    Asked,
    Forward,
    Proxy,
    broken,
    cut,
    proxy,
    ranged,
    received,
    reply,
    sent,
    unanswered,
)

OURS = f"Basic {base64.b64encode(b'ann:s3cret').decode()}"


@dataclass(frozen=True)
class Place:
    """A clone, its Git remote, and a Git LFS server behind a proxy."""

    folder: Path
    proxy: Proxy
    server: LfsServer
    repo: Repository
    waits: list[float]

    @property
    def far(self) -> Path:
        return self.folder / "far.git"

    @property
    def endpoint(self) -> str:
        return f"{self.proxy.url}/org/{self.folder.name}.git/info/lfs"

    def remote(self, endpoint: str = "") -> LfsRemote:
        return LfsRemote(self.repo, self.far.as_uri(), endpoint=endpoint or self.endpoint)

    def stored(self) -> list[Path]:
        folder = self.server.stored(self.folder.name, "")
        return sorted(folder.iterdir()) if folder.exists() else []


@pytest.fixture
def place(
    tmp_path: Path, lfs_server: LfsServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    waits: list[float] = []
    monkeypatch.setattr(retry, "time", SimpleNamespace(sleep=waits.append))
    bare(tmp_path / "far.git")
    with proxy(lfs_server.url) as between:
        yield Place(tmp_path, between, lfs_server, clone(tmp_path / "clone"), waits)


def publish(place: Place, *packs: Outgoing, endpoint: str = "") -> None:
    with place.remote(endpoint) as remote:
        remote.publish(packs)


def assert_whole(place: Place, *packs: Outgoing) -> None:
    """Another connection sees these packs and no more, and the server has their bytes."""
    with place.remote() as remote:
        assert names(remote) == {pack.name for pack in packs}
        assert all(whole(remote, pack) == pack.path.read_bytes() for pack in packs)
    assert sorted(path.read_bytes() for path in place.stored()) == sorted(
        pack.path.read_bytes() for pack in packs
    )


def assert_nothing_published(place: Place) -> None:
    assert git(place.far, "for-each-ref") == b""


# -- on the way up


@pytest.mark.parametrize("change", [broken, unanswered], ids=["before", "after"])
def test_an_upload_that_breaks_off_is_done_again(place: Place, change: Callable[..., None]) -> None:
    """Before the server has it, or after, when nobody told us."""
    pack = made(place.folder, 1)
    place.proxy.fault("PUT", "", change)
    publish(place, pack)
    assert_whole(place, pack)
    assert len(place.waits) == 1


def test_a_server_that_keeps_the_beginning_only_is_found_out(place: Place) -> None:
    pack = made(place.folder, 1)
    place.proxy.fault("PUT", "", sent(lambda body: body[:1000]))
    publish(place, pack)
    assert_whole(place, pack)
    assert place.proxy.count("PUT") == 2


def without_verify(answer: Answer) -> Answer:
    found = json.loads(answer.body)
    for one in found["objects"]:
        one.get("actions", {}).pop("verify", None)
    return replace(answer, body=json.dumps(found).encode())


def test_a_server_without_verify_is_asked_again(place: Place) -> None:
    pack = made(place.folder, 1)
    place.proxy.fault("POST", "/batch", received(without_verify), 9)
    place.proxy.fault("PUT", "", sent(lambda body: body[:1000]))
    publish(place, pack)
    assert place.proxy.count("POST", "/verify") == 0
    assert_whole(place, pack)


def test_an_upload_that_never_arrives_whole_is_not_published(place: Place) -> None:
    place.proxy.fault("PUT", "", sent(lambda body: body[:1000]), 99)
    with pytest.raises(RemoteError, match="has not arrived whole"):
        publish(place, made(place.folder, 1))
    assert_nothing_published(place)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_server_that_stumbles_is_asked_again(place: Place, status: int) -> None:
    pack = made(place.folder, 1)
    place.proxy.fault("PUT", "", reply(status))
    place.proxy.fault("POST", "/batch", reply(status))
    publish(place, pack)
    assert_whole(place, pack)


def test_a_server_that_says_how_long_to_wait_is_believed(place: Place) -> None:
    pack = made(place.folder, 1)
    place.proxy.fault("PUT", "", reply(429, Retry_After="17"))
    publish(place, pack)
    assert place.waits == [17]
    assert_whole(place, pack)


def test_a_wait_that_nobody_would_wait_ends_the_push(place: Place) -> None:
    place.proxy.fault("POST", "/batch", reply(429, b'{"message": "come back"}', Retry_After="3600"))
    with pytest.raises(RemoteError, match="come back"):
        publish(place, made(place.folder, 1))
    assert place.waits == []


@pytest.mark.parametrize(
    ("status", "words"),
    [(413, "refuses so large a body"), (507, "no space left"), (509, "bandwidth"), (403, "rights")],
)
def test_a_refusal_is_told_and_not_repeated(place: Place, status: int, words: str) -> None:
    place.proxy.fault("PUT", "", reply(status), 99)
    with pytest.raises(RemoteError, match=words):
        publish(place, made(place.folder, 1))
    assert place.proxy.count("PUT") == 1
    assert_nothing_published(place)


def test_a_batch_that_is_too_large_is_asked_in_parts(place: Place) -> None:
    packs = [made(place.folder, seed) for seed in (1, 2, 3)]

    def strict(asked: Asked, forward: Forward) -> Answer:
        few = len(json.loads(asked.body)["objects"]) < 2
        return forward(asked) if few else Answer(413, body=b"{}")

    place.proxy.fault("POST", "/batch", strict, 99)
    publish(place, *packs)
    assert_whole(place, *packs)


def test_an_address_that_has_expired_is_asked_for_again(place: Place) -> None:
    pack = made(place.folder, 1)
    place.proxy.fault("PUT", "", reply(401))
    publish(place, pack)
    assert_whole(place, pack)
    with place.remote() as remote:
        assert whole(remote, pack) == pack.path.read_bytes()
        place.proxy.fault("GET", "", reply(403))
        assert whole(remote, pack) == pack.path.read_bytes()


# -- "already have it"


def left(place: Place, pack: Outgoing) -> Path:
    """The object of a pack as a push left it that died before it could publish."""
    publish(place, pack)
    git(place.far, "update-ref", "-d", "refs/nn/catalog")
    place.proxy.asked.clear()
    (path,) = place.stored()
    return path


def test_what_the_server_has_already_is_read_back_and_not_sent(place: Place) -> None:
    pack = made(place.folder, 1)
    left(place, pack)
    publish(place, pack)
    assert place.proxy.count("PUT") == 0
    assert place.proxy.count("GET") == 1
    assert_whole(place, pack)


def test_wrong_bytes_that_the_server_has_already_are_not_published(place: Place) -> None:
    pack = made(place.folder, 1)
    path = left(place, pack)
    path.write_bytes(bytes(pack.size))
    with pytest.raises(RemoteError, match="cannot be read back"):
        publish(place, pack)
    assert_nothing_published(place)


def test_a_server_that_lies_about_what_it_has_is_found_out(place: Place) -> None:
    def lie(answer: Answer) -> Answer:
        found = json.loads(answer.body)
        for one in found["objects"]:
            del one["actions"]
        return replace(answer, body=json.dumps(found).encode())

    place.proxy.fault("POST", "/batch", received(lie))
    with pytest.raises(RemoteError, match="cannot be read back"):
        publish(place, made(place.folder, 1))
    assert_nothing_published(place)


def test_a_push_that_loses_the_race_for_the_catalogue_adds_to_it(place: Place) -> None:
    ours, theirs = made(place.folder, 1), made(place.folder, 2)

    def meanwhile(asked: Asked, forward: Forward) -> Answer:
        other = clone(place.folder / "other")
        LfsRemote(other, place.far.as_uri(), endpoint=place.endpoint).publish([theirs])
        return forward(asked)

    place.proxy.fault("POST", "/verify", meanwhile)
    publish(place, ours)
    assert_whole(place, ours, theirs)


# -- redirects


def test_an_upload_follows_a_redirect_with_its_body(place: Place) -> None:
    pack = made(place.folder, 1)

    def away(asked: Asked, _: Forward) -> Answer:
        return Answer(307, {"Location": f"{asked.path}?again"})

    place.proxy.fault("PUT", "", away)
    publish(place, pack)
    assert_whole(place, pack)


def test_a_redirect_takes_no_password_along(place: Place) -> None:
    pack = made(place.folder, 1)
    endpoint = place.endpoint.replace("://", "://ann:s3cret@")
    with proxy(place.server.url) as thief:

        def away(asked: Asked, _: Forward) -> Answer:
            return Answer(307, {"Location": f"{thief.url}{asked.path}"})

        place.proxy.fault("POST", "/batch", away, 9)
        publish(place, pack, endpoint=endpoint)
        assert place.proxy.asked[0].headers["Authorization"] == OURS
        assert thief.count("POST", "/batch") > 0
        assert OURS not in [asked.headers.get("Authorization") for asked in thief.asked]
    assert_whole(place, pack)


def test_another_host_that_has_the_objects_gets_no_password(place: Place) -> None:
    pack = made(place.folder, 1)
    endpoint = place.endpoint.replace("://", "://ann:s3cret@")
    with proxy(place.server.url) as thief:

        def elsewhere(answer: Answer) -> Answer:
            body = answer.body.replace(place.proxy.url.encode(), thief.url.encode())
            return replace(answer, body=body)

        place.proxy.fault("POST", "/batch", received(elsewhere), 9)
        publish(place, pack, endpoint=endpoint)
        assert_whole(place, pack)
        assert (thief.count("PUT"), thief.count("GET")) == (1, 1)
        assert OURS not in [asked.headers.get("Authorization") for asked in thief.asked]


def test_a_redirect_in_a_circle_ends(place: Place) -> None:
    place.proxy.fault("PUT", "", lambda asked, _: Answer(308, {"Location": asked.path}), 99)
    with pytest.raises(RemoteError, match="again and again"):
        publish(place, made(place.folder, 1))


@pytest.mark.parametrize("where", ["file:///etc/passwd", "ftp://127.0.0.1/", "http://a:b@host/"])
def test_a_redirect_to_what_is_no_web_address_is_refused(place: Place, where: str) -> None:
    place.proxy.fault("POST", "/batch", reply(307, Location=where))
    with pytest.raises(RemoteError, match="no address to follow"):
        publish(place, made(place.folder, 1))


# -- on the way down


@pytest.fixture
def pack(place: Place) -> Outgoing:
    """A published pack of 300 kB."""
    pack = made(place.folder, 1, 300_000)
    publish(place, pack)
    place.proxy.asked.clear()
    return pack


def read(place: Place, pack: Outgoing, start: int = 0, stop: int | None = None) -> bytes:
    with place.remote() as remote:
        return b"".join(remote.read(pack.name, start, pack.size if stop is None else stop))


@pytest.mark.parametrize("at", [0, 1, 100_000, 299_999])
def test_a_download_that_breaks_off_goes_on(place: Place, pack: Outgoing, at: int) -> None:
    place.proxy.fault("GET", "", cut(at))
    assert read(place, pack) == pack.path.read_bytes()
    assert place.proxy.count("GET") == 2


def test_a_download_goes_on_where_it_broke_off(place: Place, pack: Outgoing) -> None:
    place.proxy.fault("GET", "", cut(100_000))
    place.proxy.fault("GET", "", ranged)
    assert read(place, pack) == pack.path.read_bytes()
    assert place.proxy.asked[-1].headers["Range"] == f"bytes=100000-{pack.size - 1}"


def test_a_part_comes_from_servers_with_ranges_and_without(place: Place, pack: Outgoing) -> None:
    expected = pack.path.read_bytes()[1000:2000]
    place.proxy.fault("GET", "", ranged)
    assert read(place, pack, 1000, 2000) == expected
    assert read(place, pack, 1000, 2000) == expected
    assert place.proxy.count("GET") == 2


@pytest.mark.parametrize("told", ["bytes 0-999/*", "bytes 1000-1001", "bytes 1000-5000/9000", ""])
def test_another_range_than_was_asked_for_is_refused(
    place: Place, pack: Outgoing, told: str
) -> None:
    place.proxy.fault("GET", "", reply(206, bytes(1000), Content_Range=told), 99)
    with pytest.raises(RemoteError, match="another range"):
        read(place, pack, 1000, 2000)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda it: replace(it, body=it.body[:-1]), "bytes of an object of"),
        (lambda it: replace(it, body=it.body + b"1"), "bytes of an object of"),
        (lambda it: replace(it, body=bytes(len(it.body))), "other bytes than"),
        (lambda it: replace(it, headers={"Content-Encoding": "gzip"}), "packs its answers"),
    ],
    ids=["short", "long", "wrong", "bomb"],
)
def test_a_body_that_is_not_the_object_is_refused(
    place: Place, pack: Outgoing, change: Callable[[Answer], Answer], words: str
) -> None:
    place.proxy.fault("GET", "", received(change), 99)
    with pytest.raises(RemoteError, match=words):
        read(place, pack)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_download_waits_for_a_server_that_stumbles(
    place: Place, pack: Outgoing, status: int
) -> None:
    place.proxy.fault("GET", "", reply(status, Retry_After="5"))
    assert read(place, pack) == pack.path.read_bytes()
    assert place.waits == [5]


def test_an_object_that_is_gone_is_told_at_once(place: Place, pack: Outgoing) -> None:
    place.stored()[0].unlink()
    with pytest.raises(RemoteError, match="knows no such"):
        read(place, pack)
    assert place.waits == []


@pytest.mark.parametrize(
    "text",
    [
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize {2**40}\n",
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{'../' * 21}0\nsize 1\n",
        "",
        "version https://git-lfs.github.com/spec/v1\n" * 50,
    ],
    ids=["large", "path", "empty", "long"],
)
def test_an_entry_that_is_no_pack_is_passed_over_and_replaced(
    place: Place, pack: Outgoing, text: str
) -> None:
    with place.remote() as remote:
        with remote._list.catalogue.desk() as desk:
            blob = desk.blob(text.encode())
            desk.add({f"packs/{pack.name[:2]}/{pack.name}": blob})
        assert names(remote) == set()
        remote.publish([pack])
        assert whole(remote, pack) == pack.path.read_bytes()
