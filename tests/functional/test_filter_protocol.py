"""The filter speaks Git's protocol to the letter, whatever Git sends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

from git_nn.objects import pointer as pointers
from tests.support.git import Repo
from tests.support.models import normal, safetensors_file

FLUSH = b"0000"


@dataclass
class Filter:
    """The far end of the protocol, as Git plays it; written from Git's documentation."""

    process: subprocess.Popen[bytes]

    @property
    def stdin(self) -> IO[bytes]:
        assert self.process.stdin
        return self.process.stdin

    def send(self, *lines: str) -> None:
        for line in lines:
            data = line.encode() + b"\n"
            self.stdin.write(b"%04x" % (len(data) + 4) + data)
        self.stdin.write(FLUSH)
        self.stdin.flush()

    def send_content(self, data: bytes, size: int = 65516) -> None:
        for at in range(0, len(data), size):
            piece = data[at : at + size]
            self.stdin.write(b"%04x" % (len(piece) + 4) + piece)
        self.stdin.write(FLUSH)
        self.stdin.flush()

    def packets(self) -> Iterator[bytes]:
        assert self.process.stdout
        while (head := self.process.stdout.read(4)) != FLUSH:
            assert len(head) == 4, "the filter ended"
            length = int(head, 16) - 4
            assert 0 < length <= 65516
            yield self.process.stdout.read(length)

    def lines(self) -> list[str]:
        return [packet.decode().rstrip("\n") for packet in self.packets()]

    def greet(self) -> None:
        self.send("git-filter-client", "version=2")
        assert self.lines() == ["git-filter-server", "version=2"]
        self.send("capability=clean", "capability=smudge", "capability=delay")
        assert self.lines() == ["capability=clean", "capability=smudge", "capability=delay"]

    def ask(self, command: str, content: bytes, *more: str, size: int = 65516) -> tuple[str, bytes]:
        self.send(f"command={command}", *(more or ("pathname=model.safetensors",)))
        self.send_content(content, size)
        status = self.lines()
        if status != ["status=success"]:
            return status[0], b""
        answer = b"".join(self.packets())
        return (self.lines() or status)[0], answer

    def close(self) -> tuple[int, str]:
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors.decode()


@pytest.fixture
def peer(repo: Repo) -> Iterator[Filter]:
    process = subprocess.Popen(
        [sys.executable, "-m", "git_nn.drivers.filter_process"],
        cwd=repo.path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[2]),
        },
    )
    far = Filter(process)
    far.greet()
    yield far
    process.kill()
    process.communicate()


MODEL = safetensors_file({"a": normal(1, 100, 30), "b": normal(2, 7)})
SIZES = [0, 1, 2, 65515, 65516, 65517, 131032, 200_000]


@pytest.mark.parametrize("size", SIZES)
def test_content_of_any_length_goes_in_and_comes_back(peer: Filter, size: int) -> None:
    data = os.urandom(size)
    status, text = peer.ask("clean", data)
    assert status == "status=success"
    assert text.startswith(b"git-nn pointer 1\n") or (size == 0 and text == b"")
    assert peer.ask("smudge", text) == ("status=success", data)


@pytest.mark.parametrize("size", [1, 4, 100, 65516])
def test_how_the_content_is_cut_into_packets_does_not_matter(peer: Filter, size: int) -> None:
    assert peer.ask("clean", MODEL[:3000], size=size) == peer.ask("clean", MODEL[:3000])


def test_many_requests_are_answered_in_one_process(peer: Filter) -> None:
    _, text = peer.ask("clean", MODEL)
    for _ in range(20):
        assert peer.ask("clean", MODEL) == ("status=success", text)
        assert peer.ask("smudge", text) == ("status=success", MODEL)
    assert peer.close() == (0, "")


def test_clean_of_a_pointer_is_the_pointer(peer: Filter) -> None:
    _, text = peer.ask("clean", MODEL)
    assert peer.ask("clean", text) == ("status=success", text)


def test_smudge_of_what_is_no_pointer_is_itself(peer: Filter) -> None:
    assert peer.ask("smudge", MODEL) == ("status=success", MODEL)
    assert peer.ask("smudge", b"") == ("status=success", b"")


def test_a_failure_is_an_error_for_this_file_only(peer: Filter) -> None:
    _, text = peer.ask("clean", MODEL)
    marked = text.replace(b"\n\ntensor a", b"\n<<<<<<< ours\n\ntensor a")
    newer = text.replace(b"pointer 1", b"pointer 9")
    for bad in (newer, text[:-5], b"git-nn pointer "):
        assert peer.ask("clean", bad)[0] == "status=error"
        assert peer.ask("smudge", bad)[0] == "status=error"
        path = "pathname=in the work tree"
        assert peer.ask("smudge", bad, path, "can-delay=1") == ("status=success", bad)
    assert peer.ask("clean", marked)[0] == "status=error"
    assert peer.ask("smudge", marked) == ("status=success", marked)  # a merge without a driver
    assert peer.ask("clean", MODEL) == ("status=success", text)
    code, errors = peer.close()
    assert code == 0
    assert errors.count("git-nn: model.safetensors: ") == 7
    assert errors.count("in the work tree stays a pointer: ") == 3
    assert "conflict markers" in errors
    assert "git nn resolve" in errors
    assert "upgrade" in errors


def test_missing_content_is_delayed_then_the_pointer_and_a_warning(peer: Filter) -> None:
    text = pointers.render(pointers.parse(peer.ask("clean", MODEL)[1])).replace(
        b"skeleton ", b"skeleton 0000", 1
    )
    text = text[: text.index(b"0000") + 64] + text[text.index(b"0000") + 68 :]
    status, _ = peer.ask("smudge", text, "pathname=m.bin", "can-delay=1")
    assert status == "status=delayed"
    peer.send("command=list_available_blobs")
    assert peer.lines() == ["pathname=m.bin"]
    assert peer.lines() == ["status=success"]
    assert peer.ask("smudge", b"", "pathname=m.bin") == ("status=success", text)
    peer.send("command=list_available_blobs")
    assert peer.lines() == []
    assert peer.lines() == ["status=success"]
    code, errors = peer.close()
    assert code == 0
    assert "m.bin stays a pointer" in errors


def test_where_the_answer_is_kept_as_a_file_a_pointer_never_stands_for_weights(
    peer: Filter,
) -> None:
    _, text = peer.ask("clean", MODEL)
    lost = text.replace(text.split(b"skeleton ")[1][:4], b"0000", 1)
    assert peer.ask("smudge", lost, "pathname=m.bin", "treeish=HEAD")[0] == "status=error"


def test_an_unknown_command_is_an_error_and_not_the_end(peer: Filter) -> None:
    assert peer.ask("frobnicate", b"data")[0] == "status=error"
    assert peer.ask("clean", b"data")[0] == "status=success"


@pytest.mark.parametrize("junk", [b"", b"0000", b"zzzz", b"0003", b"000cgit-x", b"\xff" * 100])
def test_a_peer_that_does_not_speak_the_protocol_ends_us_at_once(repo: Repo, junk: bytes) -> None:
    program = (sys.executable, "-m", "git_nn.drivers.filter_process")
    assert repo.run(*program, stdin=junk, code=None, timeout=20).code != 0
