"""What a file was cleaned to is believed only while nothing about the file has changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from git_nn.objects import pointer as pointers
from git_nn.objects.pointer import Pointer
from git_nn.remembered import FOLDER, is_settled, recall, remember

POINTER = pointers.parse((Path(__file__).parents[2] / "golden" / "sample.pointer").read_bytes())
SECOND = 1_000_000_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"weights")
    return path


def recalled(store: Path, file: Path, earlier: Pointer | None = None) -> Pointer | None:
    return recall(store, os.fsencode(file), file.stat(), earlier)


def test_an_unchanged_file_is_remembered(tmp_path: Path, file: Path) -> None:
    remember(tmp_path, os.fsencode(file), file.stat(), None, POINTER)
    assert recalled(tmp_path, file) == POINTER


@pytest.mark.parametrize("change", ["content", "time", "replaced", "other path", "other layout"])
def test_whatever_differs_is_not_known(tmp_path: Path, file: Path, change: str) -> None:
    remember(tmp_path, os.fsencode(file), file.stat(), None, POINTER)
    if change == "content":
        file.write_bytes(b"weights!")
    elif change == "time":
        os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))
    elif change == "replaced":
        new = tmp_path / "new"
        new.write_bytes(b"weights")
        os.utime(new, ns=(0, file.stat().st_mtime_ns))
        new.replace(file)
    elif change == "other path":
        moved = tmp_path / "moved"
        file.rename(moved)
        file = moved
    earlier = POINTER if change == "other layout" else None
    assert recalled(tmp_path, file, earlier) is None


@pytest.mark.parametrize("text", [b"", b"\xc1", b"\x92\x01\x02", b"\x90", b"x" * 1000])
def test_a_damaged_memory_is_none(tmp_path: Path, file: Path, text: bytes) -> None:
    remember(tmp_path, os.fsencode(file), file.stat(), None, POINTER)
    (record,) = (tmp_path / FOLDER).iterdir()
    record.write_bytes(text)
    assert recalled(tmp_path, file) is None


def test_a_store_that_cannot_be_written_only_forgets(tmp_path: Path, file: Path) -> None:
    (tmp_path / "cache").write_bytes(b"not a folder")
    remember(tmp_path, os.fsencode(file), file.stat(), None, POINTER)
    assert recalled(tmp_path, file) is None


def test_a_file_that_was_just_written_is_not_settled(file: Path) -> None:
    """A second change within one tick of the clock would leave no trace in its stat data."""
    status = file.stat()
    latest = max(status.st_mtime_ns, status.st_ctime_ns)
    assert not is_settled(status, latest)
    assert not is_settled(status, latest - SECOND)
    assert is_settled(status, latest + 3 * SECOND)


def test_whole_seconds_are_taken_for_a_coarse_clock(file: Path) -> None:
    os.utime(file, ns=(0, 5 * SECOND))
    status = file.stat()
    assert not is_settled(status, status.st_ctime_ns + SECOND)
    assert is_settled(status, status.st_ctime_ns + 3 * SECOND)
