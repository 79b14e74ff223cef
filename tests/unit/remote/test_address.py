"""Where weights are: what follows from Git's addresses and from settings, and what is refused."""

from __future__ import annotations

import pytest

from git_nn.errors import UsageError
from git_nn.remote.address import follow, parse, redacted

FOLLOWED = {
    "/srv/models.git": ("folder", "/srv/models.git", True),
    "../models": ("folder", "../models", True),
    "file:///srv/a%20b.git": ("folder", "/srv/a b.git", True),
    "C:/models": ("folder", "C:/models", True),
    "ssh://ann@host:2222/srv/models.git": ("ssh", "ssh://ann@host:2222/srv/models.git", True),
    "git+ssh://host/x": ("ssh", "git+ssh://host/x", True),
    "ann@host:models.git": ("ssh", "ann@host:models.git", True),
    "host:~/models": ("ssh", "host:~/models", True),
    "[::1]:models": ("ssh", "[::1]:models", True),
    "https://host/ann/models.git": ("lfs", "", False),
    "http://host/models": ("lfs", "", False),
    "git://host/models": ("git", "", False),
    "ext::sh -c whoami": ("ssh", "ext::sh -c whoami", True),
}
WRITTEN = {
    "/mnt/weights": ("folder", "/mnt/weights"),
    "file:///mnt/a%20b": ("folder", "/mnt/a b"),
    "weights": ("folder", "weights"),
    "ssh://host/srv": ("ssh", "ssh://host/srv"),
    "host:srv": ("ssh", "host:srv"),
    "s3://bucket/a/b": ("bucket", "s3://bucket/a/b"),
    "gs://bucket": ("bucket", "gs://bucket"),
    "az://container/x": ("bucket", "az://container/x"),
    "lfs": ("lfs", ""),
    "lfs+https://server/x": ("lfs", "https://server/x"),
    "git": ("git", ""),
}
REFUSED = [
    "-oProxyCommand=whoami", "--upload-pack=whoami", "https://host/x", "ftp://host/x",
    "javascript://x", "data://x", "gopher://host/_x", "s4://bucket", "lfs+ftp://host",
    "s3://bucket/a\nb", "host:a\r\nb", "ssh://host/\0", "\x1b[31m", "lfs+file:///etc",
]  # fmt: skip


@pytest.mark.parametrize("url", FOLLOWED)
def test_what_follows_from_the_address_of_git(url: str) -> None:
    found = follow(url)
    assert (found.kind, found.url, found.beside) == FOLLOWED[url]
    assert found.git_url == url


@pytest.mark.parametrize("text", WRITTEN)
def test_what_a_person_may_write(text: str) -> None:
    found = parse(text, "https://git.example/x")
    assert (found.kind, found.url) == WRITTEN[text]
    assert not found.beside


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UsageError) as told:
        parse(text)
    assert str(told.value).isprintable()


@pytest.mark.parametrize(
    "url",
    [
        "https://ann:s3cret@host/x", "https://s3cret@host/x?token=s3cret#s3cret",
        "s3://key:s3cret@bucket/x", "ssh://ann:s3cret@host/x", "lfs+https://ann:s3cret@host/",
    ],
)  # fmt: skip
def test_no_label_tells_a_secret(url: str) -> None:
    assert "s3cret" not in redacted(url)
    assert "host" in redacted(url) or "bucket" in redacted(url)
