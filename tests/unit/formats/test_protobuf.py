"""The wire format of Protocol Buffers, against bytes written out by hand."""

from __future__ import annotations

import pytest

from git_nn.errors import LayoutError
from git_nn.formats.base import BytesSource
from git_nn.formats.protobuf import Buffered, Field, fields, signed, varints


def read(data: bytes) -> list[Field]:
    return list(fields(BytesSource(data), 0, len(data)))


def test_the_example_of_the_encoding_guide() -> None:
    assert read(b"\x08\x96\x01") == [Field(1, 0, 150, 1, 3)]
    assert read(b"\x12\x07testing") == [Field(2, 2, 0, 2, 9)]
    assert list(varints(BytesSource(b"\x03\x8e\x02\x9e\xa7\x05"), 0, 6)) == [3, 270, 86942]


def test_fixed_numbers_and_negative_ones() -> None:
    (a, b, c) = read(b"\x0d\x01\x00\x00\x80\x11\xff\0\0\0\0\0\0\0" + b"\x18" + b"\xff" * 9 + b"\1")
    assert (a, b) == (Field(1, 5, 0x80000001, 1, 5), Field(2, 1, 255, 6, 14))
    assert signed(c.value) == -1


def test_a_message_inside_the_file_is_read_where_it_stands() -> None:
    data = b"???\x12\x02\x08\x05???"
    (outer,) = fields(BytesSource(data), 3, 7)
    assert list(fields(Buffered(BytesSource(data)), outer.start, outer.stop)) == [
        Field(1, 0, 5, 6, 7)
    ]


BROKEN = {
    "an endless varint": b"\x08" + b"\xff" * 100,
    "a varint at the end": b"\x08\x80",
    "a tag at the end": b"\x80",
    "more than the message has": b"\x12\x05abcd",
    "a length of 2**63": b"\x12" + b"\xff" * 8 + b"\x7f",
    "field number 0": b"\x00\x01",
    "a field number of 2**40": b"\x80\x80\x80\x80\x80\x80\x01\x01",
    "a group": b"\x0b\x0c",
    "wire type 7": b"\x0f\x00",
    "half a fixed64": b"\x09\x00\x00",
}


@pytest.mark.parametrize("label", BROKEN)
def test_a_broken_message_is_refused(label: str) -> None:
    with pytest.raises(LayoutError):
        read(BROKEN[label])


def test_a_range_outside_the_file_is_refused() -> None:
    with pytest.raises(LayoutError):
        list(fields(BytesSource(b"\x08\x01"), 0, 3))
    with pytest.raises(LayoutError):
        list(varints(BytesSource(b"\x80"), 0, 1))


def test_reading_ahead_reads_the_same_bytes() -> None:
    data = bytes(range(256)) * 1000
    plain, buffered = BytesSource(data), Buffered(BytesSource(data))
    for offset, length in ((0, 4), (70_000, 90_000), (255_999, 1), (3, 65_536), (100, 7)):
        assert buffered.read(offset, length) == plain.read(offset, length)
    for offset, length in ((255_999, 2), (-1, 4), (256_000, 1), (4, -2)):
        with pytest.raises(LayoutError):
            buffered.read(offset, length)
