"""What a Git LFS server may say, and what is refused: no server and no git here."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any

import pytest

from git_nn.errors import RemoteError
from git_nn.remote import http, lfs_access, lfs_batch
from git_nn.remote.http import Request
from git_nn.remote.lfs_batch import Item
from git_nn.remote.ssh_place import ssh_place

ITEM = Item("ab" * 32, 1000)
URL = "https://host.example/r.git/info/lfs"
SECRET = "c2VjcmV0"


def answer(href: object = "https://store.example/o", **action: object) -> dict[str, Any]:
    actions = {"download": {"href": href, **action}}
    return {"objects": [{"oid": ITEM.oid, "size": ITEM.size, "actions": actions}]}


def asked(found: Mapping[str, Any], operation: str = "download") -> lfs_batch.Actions:
    return lfs_batch.granted(lfs_batch._answers(found, [ITEM], operation, URL)[ITEM])


def test_an_action_is_an_address_and_headers() -> None:
    action = asked(answer(header={"Authorization": SECRET}, expires_in=60))["download"]
    assert action.href == "https://store.example/o"
    assert action.headers == {"Authorization": SECRET}
    assert action.is_fresh
    assert SECRET not in repr(action)


def test_an_action_that_has_expired_is_not_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    action = asked(answer(expires_in=60))["download"]
    monkeypatch.setattr(lfs_batch, "time", SimpleNamespace(monotonic=lambda: action.deadline + 1))
    assert not action.is_fresh


@pytest.mark.parametrize(
    "href",
    [
        "file:///etc/passwd", "javascript:alert(1)", "ftp://host.example/o", "/o", "", "https://",
        "https://user:word@host.example/", "https://host.example/\r\nX: y", "https://a.example/ b",
        "https://[::1/", "https://host.example:99999/", None, 7, "ssh://host.example/o",
    ],
)  # fmt: skip
def test_an_address_that_is_no_web_address_is_refused(href: object) -> None:
    with pytest.raises(RemoteError):
        asked(answer(href))


@pytest.mark.parametrize(
    "header",
    [
        {"X": "a\r\nAuthorization: b"}, {"X\r\nY": "a"}, {"X": "a\0"}, {"X": 7}, {"": "a"},
        {"X y": "a"}, ["X"], "X: y", {"X": "a" * 20_000}, {"X": "\u2028"},
    ],
)  # fmt: skip
def test_a_header_that_would_smuggle_something_in_is_refused(header: object) -> None:
    with pytest.raises(RemoteError, match="header"):
        asked(answer(header=header))


def test_headers_of_the_connection_stay_ours() -> None:
    header = {"Host": "evil.example", "Content-Length": "5", "Transfer-Encoding": "chunked"}
    assert asked(answer(header={**header, "X-Amz-Date": "1"}))["download"].headers == {
        "X-Amz-Date": "1"
    }


@pytest.mark.parametrize(
    "found",
    [
        {},
        {"objects": None},
        {"objects": [None, 7]},
        {"objects": []},
        {"objects": [{"oid": "cd" * 32, "size": 1000}]},
        {"objects": [{"oid": ITEM.oid, "size": 999}]},
        {"objects": [{"oid": ITEM.oid, "size": 1000}]},
        {"objects": [{"oid": ITEM.oid, "size": 1000, "actions": ["download"]}]},
        {**answer(), "transfer": "tus"},
    ],
)
def test_an_answer_that_says_not_where_the_object_is_is_refused(found: dict[str, Any]) -> None:
    with pytest.raises(RemoteError, match=r"host\.example"):
        asked(found)


def test_no_action_for_an_upload_means_that_the_server_has_it() -> None:
    assert asked({"objects": [{"oid": ITEM.oid, "size": 1000}]}, "upload") == {}


@pytest.mark.parametrize(
    ("code", "passing"), [(404, False), (410, False), (422, False), (503, True)]
)
def test_an_error_of_one_object_is_told(code: int, passing: bool) -> None:
    error = {"code": code, "message": "no\x1b[31m such\nthing"}
    with pytest.raises(RemoteError, match=r"no \[31m such thing") as caught:
        asked({"objects": [{"oid": ITEM.oid, "size": 1000, "error": error}]})
    assert caught.value.transient is passing


def test_a_pointer_comes_back_and_only_the_canonical_one() -> None:
    text = lfs_batch.pointer_text(ITEM)
    assert lfs_batch.parse_pointer(text) == ITEM
    for other in (text + b"\n", text[:-1], text.replace(b"\n", b"\r\n"), text + b"x y\n",
                  text.replace(b"size 1", b"size 01"), text.replace(b"ab", b"AB")):  # fmt: skip
        assert lfs_batch.parse_pointer(other) is None


# -- redirects and waits


def moved(start: str, location: str, status: int = 307, method: str = "POST") -> Request:
    response = SimpleNamespace(status=status, headers={"Location": location})
    headers = {"Authorization": SECRET, "X-Token": SECRET, "Cookie": SECRET, "Accept": "a/b"}
    return http._redirected(Request(method, start, headers, b"body"), response)  # type: ignore[arg-type]


def test_a_redirect_within_a_server_keeps_all() -> None:
    request = moved("https://host.example/a", "/b")
    assert request.url == "https://host.example/b"
    assert request.headers["Authorization"] == SECRET
    assert request.body == b"body"


@pytest.mark.parametrize(
    "target",
    [
        "https://other.example/a", "https://host.example:444/a", "https://sub.host.example/a",
        "//other.example/a", "https://host.example.other.example/a",
    ],
)  # fmt: skip
def test_a_redirect_to_another_server_takes_no_credential_along(target: str) -> None:
    assert SECRET not in moved("https://host.example/a", target).headers.values()


@pytest.mark.parametrize("target", ["http://host.example/a", "http://other.example/"])
def test_a_redirect_from_https_to_http_is_refused(target: str) -> None:
    with pytest.raises(RemoteError, match="not safe"):
        moved("https://host.example/a", target)


def test_an_upload_is_not_turned_into_a_question() -> None:
    with pytest.raises(RemoteError):
        moved("https://host.example/a", "/b", 303, "PUT")


def test_seconds_and_dates_say_how_long_to_wait() -> None:
    assert http.retry_after({"Retry-After": "12"}) == 12
    later = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    assert 3500 < http.retry_after({"Retry-After": later}) <= 3600
    for nothing in ("", "-5", "soon", "Wed, 21 Oct 2015 07:28:00 GMT"):
        assert http.retry_after({"Retry-After": nothing}) == 0


@pytest.mark.parametrize(
    ("host", "listed", "excepted"),
    [
        ("a.example", "example", True), ("a.example", ".example, other", True),
        ("aexample", "example", False), ("a.example", "*", True), ("a.example", "", False),
    ],
)  # fmt: skip
def test_no_proxy_names_hosts_and_domains(host: str, listed: str, excepted: bool) -> None:
    assert http._is_excepted(host, listed) is excepted


# -- addresses


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("https://host.example/a/b", "https://host.example/a/b.git/info/lfs"),
        ("https://host.example/a/b.git", "https://host.example/a/b.git/info/lfs"),
        ("https://ann:word@host.example:8443/a/", "https://host.example:8443/a.git/info/lfs"),
        ("https://host.example/a.git/info/lfs", "https://host.example/a.git/info/lfs"),
    ],
)
def test_the_server_of_a_web_address(url: str, endpoint: str) -> None:
    assert lfs_access._http_endpoint(url) == endpoint


@pytest.mark.parametrize("url", ["/folder", "file:///folder", "git://host.example/a", ""])
def test_other_addresses_have_no_server(url: str) -> None:
    with pytest.raises(RemoteError, match=r"lfs\.url"):
        lfs_access._http_endpoint(url)


@pytest.mark.parametrize(
    ("url", "host", "port", "path"),
    [
        ("git@host.example:a/b.git", "git@host.example", "", "a/b.git"),
        ("host.example:/a/b", "host.example", "", "/a/b"),
        ("ssh://git@host.example:2222/a/b.git", "git@host.example", "2222", "/a/b.git"),
        ("ssh://ann:word@host.example/~/a%20b", "ann@host.example", "", "~/a b"),
        ("[::1]:a", "::1", "", "a"),
        ("git@[::1]:a", "git@::1", "", "a"),
        ("ssh://[::1]:22/a", "::1", "22", "/a"),
    ],
)
def test_the_parts_of_an_ssh_address(url: str, host: str, port: str, path: str) -> None:
    place = ssh_place(url)
    assert place == lfs_access.SshPlace(host, port, path)


@pytest.mark.parametrize("url", ["/a/b", "a", "https://host.example/a", "./a:b"])
def test_other_addresses_are_no_ssh(url: str) -> None:
    assert ssh_place(url) is None


@pytest.mark.parametrize(
    "url", ["ssh://-oProxyCommand=x/a", "-oProxyCommand=x:a", "ssh://-l@host/a", "host:-a"]
)
def test_an_ssh_address_that_would_be_an_option_is_refused(url: str) -> None:
    with pytest.raises(RemoteError, match="no address"):
        ssh_place(url)


def test_who_we_are_is_not_shown() -> None:
    user = lfs_access._User.of("https://ann:s3cret@host.example/")
    assert user is not None
    assert "s3cret" not in repr(user)
    assert base64.b64decode(user.basic.removeprefix("Basic ")) == b"ann:s3cret"
