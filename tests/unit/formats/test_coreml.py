"""coreml: blob storage written by hand from its header file."""

from __future__ import annotations

import random
import struct
import time

import pytest

from git_nn.formats import table
from git_nn.formats.base import BytesSource
from git_nn.objects.layout import Layout
from git_nn.objects.tensor import dtype_bits, is_dtype
from tests.contract.format_contract import FormatContract, Sample, Tensor, bounded_memory, survive
from tests.support.coreml_file import KINDS, weights


def content(length: int, seed: object = 0) -> bytes:
    return random.Random(str(seed)).randbytes(length)


def layout_of(data: bytes) -> Layout:
    layout = table.detect(BytesSource(data))
    assert layout.format == "coreml", layout.notes
    return layout


class TestCoreml(FormatContract):
    name = "coreml"

    def samples(self) -> dict[str, Sample]:
        kinds = [kind for kind in KINDS if is_dtype(kind)]
        blobs = [(kind, content(dtype_bits(kind) * 3, kind)) for kind in kinds]
        tensors = {f"blob.{i}": Tensor(kind, (24,), data) for i, (kind, data) in enumerate(blobs)}
        odd = [("u1", b"a"), ("u2", b"ab"), ("u3", b"abc"), ("u6", b"abcd"), (99, b"abcde")]
        return {
            "every dtype": Sample(weights(blobs), tensors),
            "without a dtype": Sample(
                weights(odd),
                {f"blob.{i}": Tensor("u8", (i + 1,), data) for i, (_, data) in enumerate(odd)},
            ),
            "an empty blob": Sample(
                weights([("f32", b""), ("u8", b"x")]),
                {"blob.0": Tensor("f32", (0,), b""), "blob.1": Tensor("u8", (1,), b"x")},
            ),
        }


def test_four_bit_numbers_with_padding_are_bytes() -> None:
    found = layout_of(weights([("i4", b"abc", 4), ("i4", b"abc", 0)])).payloads
    assert [(p.dtype, p.shape) for p in found] == [("u8", (3,)), ("i4", (6,))]


def test_reserved_bytes_may_hold_anything() -> None:
    """Older writers leave them as they were in memory."""
    data = weights([("f16", b"abcd", 2**60)])
    assert [(p.dtype, p.shape) for p in layout_of(data).payloads] == [("f16", (2,))]


def test_2000_blobs_are_read_in_time() -> None:
    data = weights([("f16", content(20, i)) for i in range(2000)])
    started = time.process_time()
    assert len(layout_of(data).payloads) == 2000
    assert time.process_time() - started < 0.3


GOOD = weights([("f16", content(100)), ("f32", content(8, 1))])


def patched(at: int, code: str, value: int) -> bytes:
    data = bytearray(GOOD)
    struct.pack_into(code, data, at, value)
    return bytes(data)


LIES = {
    "a blob too many": patched(0, "<I", 3),
    "2**32 - 1 blobs": patched(0, "<I", 2**32 - 1),
    "version 1": patched(4, "<I", 1),
    "another sentinel": patched(256, "<I", 0xDEADBEEE),
    "a size beyond the file": patched(72, "<Q", 2**63),
    "an offset beyond the file": patched(80, "<Q", 2**63),
    "an offset before it": patched(80, "<Q", 64),
    "an offset in the next one": patched(80, "<Q", 300),
    "only a header": GOOD[:64],
    "half a blob": GOOD[:150],
    "no blobs": weights([]),
}


@pytest.mark.parametrize("label", LIES)
def test_a_file_that_lies_is_opaque(label: str) -> None:
    with bounded_memory():
        assert survive(LIES[label], label).format == "opaque"
    assert layout_of(GOOD).payloads[0].shape == (50,)
