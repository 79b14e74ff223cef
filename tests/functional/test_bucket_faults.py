"""What passes between git-nn and a bucket, how often, and what happens where it breaks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import pytest

from git_nn.remote.cloud import open_bucket
from git_nn.remote.keys import KeyedRemote
from tests.contract.remote_contract import made, whole
from tests.support.git import Repo
from tests.support.models import normal, safetensors_file
from tests.support.proxy import Answer, Asked, Forward, Proxy, proxy, unanswered
from tests.support.s3_server import S3Server


@dataclass(frozen=True)
class Place:
    url: str
    proxy: Proxy

    def connect(self) -> KeyedRemote:
        return KeyedRemote(open_bucket(self.url, os.environ))

    def asked(self) -> list[str]:
        """The method and the kind of object of each request since this was last asked."""
        found = [f"{one.method} {_kind(one.path)}" for one in self.proxy.asked]
        self.proxy.asked.clear()
        return found


def _kind(path: str) -> str:
    if "list-type=2" in path:
        return "list"
    return {".nnp": "pack", ".idx": "index"}.get(path[-4:], path.rpartition("/")[2])


@pytest.fixture
def place(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    bucket = f"bucket-{uuid4().hex}"
    s3_server.make_bucket(bucket)
    with proxy(s3_server.endpoint) as server:
        for key, value in (s3_server.environment | {"AWS_ENDPOINT_URL": server.url}).items():
            monkeypatch.setenv(key, value)
        yield Place(f"s3://{bucket}/weights", server)


@pytest.fixture
def near(repo: Repo, far: Repo, place: Place) -> Repo:
    repo.git("remote", "add", "origin", str(far.path))
    repo.git("config", "nn.url", place.url)
    repo.write("m.safetensors", safetensors_file({"w": normal(1, 60, 50)}))
    repo.commit()
    return repo


def test_a_push_asks_for_no_more_than_it_must(near: Repo, place: Place) -> None:
    near.nn("push", "origin")
    sent = ["PUT pack", "HEAD pack", "PUT index", "GET list"]
    assert place.asked() == ["GET list", "GET format", "PUT format", *sent]
    near.nn("push", "origin")
    assert place.asked() == ["GET list"]
    near.write("m.safetensors", safetensors_file({"w": normal(2, 60, 50)}))
    near.commit()
    near.nn("push", "origin")
    assert place.asked() == ["GET list", "GET format", *sent]


def test_a_server_that_knows_no_conditions_is_sent_none(place: Place, tmp_path: Path) -> None:
    def refuse(asked: Asked, forward: Forward) -> Answer:
        if "If-None-Match" not in asked.headers:
            return forward(asked)
        return Answer(501, {}, b"<Error><Code>NotImplemented</Code></Error>")

    place.proxy.fault("PUT", "", refuse, times=1000)
    packs = [made(tmp_path, seed) for seed in (1, 2)]
    with place.connect() as remote:
        remote.publish(packs)
        assert place.proxy.count("PUT", ".nnp") == 2
        assert [whole(remote, pack) for pack in packs] == [p.path.read_bytes() for p in packs]


def test_an_upload_whose_answer_is_lost_is_found_there(place: Place, tmp_path: Path) -> None:
    pack = made(tmp_path, 1)
    place.proxy.fault("PUT", ".nnp", unanswered)
    with place.connect() as remote:
        remote.publish([pack])
        assert whole(remote, pack) == pack.path.read_bytes()


def test_what_is_left_of_a_broken_upload_is_replaced(place: Place, tmp_path: Path) -> None:
    """As by a server that keeps the first bytes of a body, against the rules."""

    def keep_half(asked: Asked, forward: Forward) -> None:
        forward(replace(asked, body=asked.body[: len(asked.body) // 2]))

    pack = made(tmp_path, 1)
    place.proxy.fault("PUT", ".nnp", keep_half)
    with place.connect() as remote:
        remote.publish([pack])
        assert whole(remote, pack) == pack.path.read_bytes()
