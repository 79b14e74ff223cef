"""FlatBuffers, against bytes written out by hand from the format's description."""

from __future__ import annotations

import struct
import time

import pytest

from git_nn.errors import LayoutError
from git_nn.formats.base import BytesSource
from git_nn.formats.flatbuffer import FlatBuffer
from tests.contract.format_contract import bounded_memory

# root at 16; its fields: a u16 of 7, one that is not there, a vector of two int32, a text
EXAMPLE = (
    struct.pack("<I", 16)
    + struct.pack("<6H", 12, 16, 4, 0, 8, 12)
    + struct.pack("<iIII", 12, 7, 8, 16)
    + struct.pack("<Iii", 2, -1, 5)
    + struct.pack("<I", 3) + b"abc\0"
)  # fmt: skip


def read(data: bytes = EXAMPLE) -> FlatBuffer:
    return FlatBuffer(BytesSource(data))


def everything(file: FlatBuffer) -> tuple[int, tuple[int, ...], str]:
    root = file.root()
    return file.scalar(root, 0, 2), file.integers(root, 2, 2), file.text(root, 3, 3)


def test_fields_of_a_table() -> None:
    file = read()
    root = file.root()
    assert root == 16
    assert everything(file) == (7, (-1, 5), "abc")
    assert file.scalar(root, 1, 4, default=9) == 9
    assert file.scalar(root, 77, 4, default=9) == 9
    assert file.tables(root, 2, 2) == [36 + 2**32 - 1, 40 + 5]
    assert (file.text(root, 1, 3), file.integers(root, 1, 3)) == ("", ())


def test_vectors_are_bounded_before_they_are_read() -> None:
    file = read()
    with pytest.raises(LayoutError, match="too long"):
        file.integers(file.root(), 2, 1)
    for count in (5, 2**29):
        with pytest.raises(LayoutError, match="leaves the file"):
            read(EXAMPLE[:32] + struct.pack("<I", count) + EXAMPLE[36:]).vector(16, 2, 4, 2**32)


@pytest.mark.parametrize("length", range(len(EXAMPLE) - 1))
def test_a_file_that_ends_early_is_refused(length: int) -> None:
    with pytest.raises(LayoutError):
        everything(read(EXAMPLE[:length]))


def test_tables_that_each_tell_of_32000_fields_take_little_memory() -> None:
    file = read(b"\xfe\xff" * 500_000)
    started = time.process_time()
    with bounded_memory():
        for i in range(50_000):
            file.slot(2 * i, 1)
    assert time.process_time() - started < 5
