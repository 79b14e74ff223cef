"""The skeleton has one encoding and covers every payload exactly once."""

from __future__ import annotations

import msgpack
import pytest

from git_nn.errors import PointerError
from git_nn.objects import skeleton as skeletons
from git_nn.objects.oid import oid_of
from git_nn.objects.skeleton import Blob, Crc32, Crc32Chain, Literal, Part, Skeleton, chain_digits

SAMPLE = Skeleton(
    (
        Literal(b"header"),
        Part("w.10", 4, 4),
        Crc32(6, 10),
        Part("w.2", 0, 8),
        Blob(oid_of(b"long"), 70_000),
        Part("w.10", 0, 4),
        Crc32Chain(((0, 6), (6, 10))),
    )
)
VALUE = [
    1,
    ["w.2", "w.10"],
    [
        b"header",
        [1, 4, 4],
        [6, 10],
        [0, 0, 8],
        [bytes(oid_of(b"long")), 70_000],
        [1, 0, 4],
        [[0, 6], [6, 10]],
    ],
]


def test_the_encoding_is_the_one_in_the_specification() -> None:
    assert skeletons.encode(SAMPLE) == msgpack.packb(VALUE, use_bin_type=True)
    assert skeletons.decode(skeletons.encode(SAMPLE)) == SAMPLE


def test_size_and_payload_lengths_are_those_of_the_file() -> None:
    assert SAMPLE.size == 6 + 4 + 4 + 8 + 70_000 + 4 + 20
    assert SAMPLE.payload_lengths() == {"w.10": 8, "w.2": 8}
    assert [part.offset for part in SAMPLE.parts("w.10")] == [0, 4]


def test_the_digits_are_those_that_torch_wrote() -> None:
    """Read from a file of torch 2.13: the CRC-32s of its members and its serialization id."""
    crcs = [
        0x75DFDA00, 0x83DCEFB7, 0xE971773F, 0x19E33D85, 0x4F6EE394, 0xD5306BCE, 0x1607F0F2,
        0x2BBA6EE0, 0x55679ED1,
    ]  # fmt: skip
    assert chain_digits(crcs) == b"11901194614516483194"
    assert chain_digits([0]) == b"00000000002654435769"


def test_names_that_are_no_utf8_survive() -> None:
    skeleton = Skeleton((Part("\udcff", 0, 1),))
    assert skeletons.decode(skeletons.encode(skeleton)) == skeleton


@pytest.mark.parametrize(
    "value",
    [
        [2, [], []],
        [1, [], [b""]],
        [1, ["w"], []],
        [1, ["w", "a"], [[0, 0, 1], [1, 0, 1]]],
        [1, ["w"], [[0, 0, 4], [0, 2, 4]]],
        [1, ["w"], [[0, 1, 4]]],
        [1, ["w"], [[0, 0, 0]]],
        [1, ["w"], [[0, 0, -4]]],
        [1, ["w"], [[-1, 0, 4]]],
        [1, ["w"], [[1, 0, 4]]],
        [1, [], [[0, 100]]],
        [1, [], [[3, 2], b"abc"]],
        [1, [], [[]]],
        [1, [], [[[0, 100]]]],
        [1, [], [[[0, 20], [5]]]],
        [1, [], [[[0, 20], 5]]],
        [1, [], [[[0, 20], [0, 1, 2]]]],
        [1, [], [[[0, 20], [0, True]]]],
        [1, [], [[b"short", 3]]],
        [1, [], ["text"]],
        [1, [7], []],
        [1, []],
        "skeleton",
    ],
    ids=str,
)
def test_a_skeleton_that_is_not_valid_is_refused(value: object) -> None:
    with pytest.raises(PointerError):
        skeletons.decode(msgpack.packb(value, use_bin_type=True))


def test_a_longer_encoding_of_the_same_value_is_refused() -> None:
    canonical = msgpack.packb([1, [], [b"abc"]], use_bin_type=True)
    padded = canonical.replace(b"\xc4\x03abc", b"\xc5\x00\x03abc")
    assert skeletons.decode(canonical).size == 3
    with pytest.raises(PointerError, match="canonical"):
        skeletons.decode(padded)


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x93", b"\xdd\xff\xff\xff\xff", b"\x91" * 5000])
def test_bytes_that_are_no_record_are_refused(data: bytes) -> None:
    with pytest.raises(PointerError):
        skeletons.decode(data)
