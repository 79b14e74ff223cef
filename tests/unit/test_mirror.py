"""The mirror of what Git sends: how far it is equal, and that a change is noticed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from git_nn.drivers.mirror import Mirror
from git_nn.errors import StoreError

CONTENT = bytes(range(256)) * 1000


@pytest.fixture
def file(tmp_path: Path) -> Iterator[tuple[Mirror, Path]]:
    path = tmp_path / "m.bin"
    path.write_bytes(CONTENT)
    fd = os.open(path, os.O_RDONLY)
    yield Mirror(fd, os.fsencode(path)), path
    os.close(fd)


def packets(content: bytes) -> Iterator[bytes]:
    return (content[at : at + 65516] for at in range(0, len(content), 65516))


def test_equal_content_is_whole(file: tuple[Mirror, Path]) -> None:
    mirror, _ = file
    assert mirror.follow(packets(CONTENT))
    assert mirror.is_whole()


@pytest.mark.parametrize("at", [0, 65515, 65516, 100_000, len(CONTENT) - 1])
def test_content_that_differs_is_given_back_from_its_start(
    file: tuple[Mirror, Path], at: int
) -> None:
    mirror, _ = file
    sent = bytearray(CONTENT)
    sent[at] ^= 1
    rest = packets(bytes(sent))
    assert not mirror.follow(rest)
    assert b"".join([*mirror.so_far(), *rest]) == sent


def test_less_and_more_content_is_not_whole(file: tuple[Mirror, Path]) -> None:
    mirror, _ = file
    assert mirror.follow(packets(CONTENT[:-1]))
    assert not mirror.is_whole()
    assert b"".join(mirror.so_far()) == CONTENT[:-1]
    assert not mirror.follow([CONTENT[-1:] + b"more"])


@pytest.mark.parametrize("change", ["content", "time", "length"])
def test_a_file_that_changed_cannot_be_read_back(file: tuple[Mirror, Path], change: str) -> None:
    mirror, path = file
    assert mirror.follow([CONTENT[:1000]])
    if change == "content":
        path.write_bytes(CONTENT[::-1])
    elif change == "length":
        os.truncate(path, 500)
    os.utime(path, ns=(0, 1))
    assert not mirror.is_whole()
    with pytest.raises(StoreError, match="changed while"):
        list(mirror.so_far())
