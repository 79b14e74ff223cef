"""Flax's MessagePack: files written with the msgpack library, and files that lie."""

from __future__ import annotations

import struct
import time
from typing import Any

import ml_dtypes
import msgpack
import numpy as np
import pytest

from git_nn.errors import LayoutError
from git_nn.formats import flax, table
from git_nn.formats.base import BytesSource
from git_nn.formats.msgpack_tokens import Token, token
from git_nn.objects.layout import Extent, Layout
from tests.contract.format_contract import FormatContract, Sample, Tensor, survive
from tests.support.flax_file import Scalar, chunked, ndarray, to_bytes
from tests.support.models import normal

DTYPES: dict[str, Any] = {
    "f64": "f8", "f32": "f4", "f16": "f2", "i64": "i8", "i32": "i4", "i16": "i2", "i8": "i1",
    "u64": "u8", "u32": "u4", "u16": "u2", "u8": "u1", "bool": "?", "c64": "c8", "c128": "c16",
    "bf16": ml_dtypes.bfloat16, "f8_e4m3": ml_dtypes.float8_e4m3, "f8_e5m2": ml_dtypes.float8_e5m2,
    "f8_e4m3fn": ml_dtypes.float8_e4m3fn, "f8_e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
    "f8_e5m2fnuz": ml_dtypes.float8_e5m2fnuz, "f8_e8m0": ml_dtypes.float8_e8m0fnu,
}  # fmt: skip
ODD = "evil\x1b[31m\n../\u202e é%"


def arrays() -> dict[str, np.ndarray]:
    return {name: np.arange(6).reshape(2, 3).astype(dtype) for name, dtype in DTYPES.items()}


def as_tensors(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    names = {np.dtype(dtype): name for name, dtype in DTYPES.items()}
    return {n: Tensor(names[a.dtype], a.shape, a.tobytes()) for n, a in arrays.items()}


def layout_of(data: bytes) -> Layout:
    return table.detect(BytesSource(data))


KERNEL, BIAS, LONG = normal(1, 4, 5), normal(2, 5), normal(3, 300, 300)


def train_state() -> bytes:
    return to_bytes({
        "step": 7, "rate": 0.5, "run": "first", "nothing": None, "done": True, "z": 1 + 2j,
        "params": {"Dense_0": {"kernel": KERNEL, "bias": BIAS}, ODD: {"w": BIAS}},
        "opt_state": {"0": {}, "1": {"count": np.array(7, "i4"), "mu": Scalar(np.float32(3))}},
        "list": [BIAS, {"a": KERNEL}], "raw": b"bytes", 5: {-3: BIAS}, "empty": BIAS[:0],
        "large": LONG,
    })  # fmt: skip


STATE = {
    "params/Dense_0/kernel": KERNEL, "params/Dense_0/bias": BIAS, f"params/{ODD}/w": BIAS,
    "opt_state/1/count": np.array(7, "i4"), "opt_state/1/mu": np.array(3, "f4"),
    "list/0": BIAS, "list/1/a": KERNEL, "5/-3": BIAS, "empty": BIAS[:0], "large": LONG,
}  # fmt: skip


class TestFlax(FormatContract):
    name = "flax"

    def samples(self) -> dict[str, Sample]:
        wide = {f"layer_{i}": np.full(3, i, "f4") for i in range(40)}
        chunks = {"a": {"w": chunked(KERNEL, 7), "b": BIAS}}
        return {
            "train state": Sample(train_state(), as_tensors(STATE)),
            "every dtype": Sample(to_bytes(arrays()), as_tensors(arrays())),
            "more than fifteen keys": Sample(to_bytes(wide), as_tensors(wide)),
            "chunks": Sample(to_bytes(chunks), as_tensors({"a/w": KERNEL, "a/b": BIAS})),
        }


def test_structure_is_the_plain_values() -> None:
    assert table.structure("flax", BytesSource(train_state())) == {
        "step": 7, "rate": 0.5, "run": "first", "nothing": None, "done": True,
    }  # fmt: skip
    odd = to_bytes({"nan": float("nan"), "w": BIAS, "long": "x" * 5000})
    assert table.structure("flax", BytesSource(odd)) == {"nan": "nan"}


def test_chunks_of_an_array_are_one_payload_in_their_order() -> None:
    (payload,) = layout_of(to_bytes({"w": chunked(KERNEL, 7)})).payloads
    assert [extent.length for extent in payload.extents] == [28, 28, 24]
    turned = chunked(KERNEL, 10)
    turned["chunks"] = {"1": turned["chunks"]["1"], "0": turned["chunks"]["0"]}
    (payload,) = layout_of(to_bytes({"w": turned})).payloads
    first, second = payload.extents
    assert first.offset > second.offset


@pytest.mark.parametrize("change", ["shape", "missing", "rank", "dtype", "no shape", "not true"])
def test_chunks_that_do_not_fill_their_array_keep_their_own_names(change: str) -> None:
    lying = chunked(KERNEL, 10)
    match change:
        case "shape":
            lying["shape"] = {"0": 4, "1": 6}
        case "missing":
            del lying["chunks"]["1"]
        case "rank":
            lying["chunks"]["1"] = lying["chunks"]["1"].reshape(2, 5)
        case "dtype":
            lying["chunks"]["1"] = lying["chunks"]["1"].view("i4")
        case "no shape":
            del lying["shape"]
        case "not true":
            lying["__msgpack_chunked_array__"] = 1
    layout = survive(to_bytes({"w": lying}))
    assert layout.format == "flax"
    assert {p.name for p in layout.payloads} == {f"w/chunks/{i}" for i in lying["chunks"]}


def test_an_array_of_a_dtype_without_a_name_is_its_bytes() -> None:
    (payload,) = layout_of(to_bytes({"w": ndarray((2,), "void64", bytes(16))})).payloads
    assert (payload.dtype, payload.shape, payload.length) == ("u8", (16,), 16)


def test_equal_paths_get_numbers() -> None:
    data = to_bytes({"a/b": BIAS, "a": {"b": KERNEL}, "a/b~2": BIAS})
    assert {p.name for p in layout_of(data).payloads} == {"a/b", "a/b~2", "a/b~2~2"}


def test_what_is_too_long_or_no_text_for_a_name_stays_literal() -> None:
    deep: Any = BIAS
    for _ in range(10):
        deep = {"n" * 1000: deep}
    layout = survive(to_bytes({"w": BIAS, "n" * 5000: BIAS, "deep": deep}))
    assert [payload.name for payload in layout.payloads] == ["w"]
    raw = to_bytes({"w": BIAS}).replace(b"\xa1w", b"\xa1\xff")
    assert [payload.name for payload in layout_of(raw).payloads] == ["\udcff"]


def test_the_same_keys_as_old_versions_write_them() -> None:
    """Before msgpack 1.0 text and bytes had one type."""
    inner = msgpack.packb(((5,), "float32", BIAS.tobytes()), use_bin_type=False)
    data = msgpack.packb({"w": msgpack.ExtType(1, inner)}, use_bin_type=False)
    assert inner.find(BIAS.tobytes()) > 0
    (payload,) = layout_of(data).payloads
    assert payload.extents == (Extent(data.find(BIAS.tobytes()), 20),)


def array(count: bytes, tail: bytes) -> bytes:
    """A map with one extension whose content begins like an array's."""
    inner = b"\x93" + count + tail
    return b"\x81\xa1w\xc9" + struct.pack(">I", len(inner)) + b"\x01" + inner


GOOD = to_bytes({"w": BIAS})
TWO = msgpack.ExtType(1, msgpack.packb(((5,), "float32")))
HOSTILE = {
    "a second map": GOOD + GOOD,
    "a byte too much": GOOD + b"\0",
    "a byte too few": GOOD[:-1],
    "a map of 2**32 - 1 entries": b"\xdf\xff\xff\xff\xff" + GOOD[1:],
    "a map of one entry more": b"\x82" + GOOD[1:],
    "an array of 2**32 - 1 values": b"\x82" + GOOD[1:] + b"\xa1x\xdd\xff\xff\xff\xff\xc0",
    "text of 4 GB": b"\x82" + GOOD[1:] + b"\xa1x\xdb\xff\xff\xff\xffab",
    "a shape of 2**32 - 1 dimensions": array(b"\xdd\xff\xff\xff\xff", b"\x01" * 70),
    "a rank of 100": array(b"\xdc\x00\x64", b"\x01" * 100 + b"\xa7float32\xc4\x04abcd"),
    "huge dimensions": array(b"\x92" + (b"\xcf" + b"\xff" * 8) * 2, b"\xa5int32\xc4\x00"),
    "dimensions that overflow to the right size": to_bytes(
        {"w": ndarray((2**32, 2**32), "float32", b"")}
    ),
    "a negative shape": to_bytes({"w": ndarray((-5,), "float32", BIAS.tobytes())}),
    "two negative dimensions": to_bytes({"w": ndarray((-1, -5), "float32", BIAS.tobytes())}),
    "a shape of floats": to_bytes({"w": ndarray((5.0,), "float32", BIAS.tobytes())}),
    "a shape of bools": to_bytes({"w": ndarray((True,), "float32", bytes(4))}),
    "a shape that is text": to_bytes({"w": ndarray("5", "float32", BIAS.tobytes())}),
    "a size that is not the shape's": to_bytes({"w": ndarray((6,), "float32", BIAS.tobytes())}),
    "bytes that are a list": to_bytes({"w": ndarray((5,), "float32", [1, 2])}),
    "an array of two": to_bytes({"v": BIAS, "w": TWO}),
    "bytes after the array's own": to_bytes({"w": msgpack.ExtType(1, GOOD[6:] + b"x")}),
    "a key that is a map": b"\x82" + GOOD[1:] + b"\x80\xc0",
    "a key that is an array": b"\x82" + GOOD[1:] + b"\xdd\x00\x00\x00\x00\xc0",
    "a byte that begins nothing": b"\x82" + GOOD[1:] + b"\xa1x\xc1",
    "nesting 100,000 deep": b"\x82" + GOOD[1:] + b"\xa1x" + b"\x91" * 100_000 + b"\xc0",
    "maps 100,000 deep": b"\x82" + GOOD[1:] + b"\xa1x" + b"\x81\xa1k" * 100_000 + b"\xc0",
    "too many values": b"\x82" + GOOD[1:] + b"\xa1x\xdd" + struct.pack(">I", 410_000)
    + b"\xc0" * 410_000,
}  # fmt: skip


@pytest.mark.parametrize("label", HOSTILE)
def test_a_file_that_lies_is_opaque_and_the_note_says_so(label: str) -> None:
    layout = survive(HOSTILE[label], label)
    assert layout.format == "opaque"
    (note,) = layout.notes
    assert note.startswith("looks like flax, but ")


def test_names_that_add_up_to_a_gigabyte_are_too_many() -> None:
    leaf = to_bytes(BIAS[:0])
    count = 40_000
    inner = b"\xdd" + struct.pack(">I", count) + leaf * count
    data = b"\x81" + msgpack.packb("n" * 4000) + inner
    started = time.process_time()
    assert survive(data).format == "opaque"
    assert time.process_time() - started < 2


NO_FLAX = {
    "a pickle": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00}\x94\x8c\x01w\x94K\x01s.",
    "a pickle with an array's first bytes": b"\x80\x02U\x10\xc7\x08\x01\x93" + bytes(12) + b".",
    "MessagePack without arrays": msgpack.packb({"a": 1, "b": [1, 2, 3]}),
    "an empty map": b"\x80",
    "another extension": msgpack.packb({"a": msgpack.ExtType(5, b"\x93abc")}),
    "a list at the root": to_bytes([BIAS]),
    "an array at the root": to_bytes(BIAS),
    "text": b"\xef\xbb\xbfhello",
}  # fmt: skip


@pytest.mark.parametrize("label", NO_FLAX)
def test_other_files_are_not_taken_for_flax(label: str) -> None:
    assert not flax.sniff(NO_FLAX[label])
    assert survive(NO_FLAX[label]).format != "flax"


EVERY: tuple[Any, ...] = (
    0, 127, 128, 2**16, 2**32, 2**63, -1, -32, -33, -(2**15), -(2**31), -(2**63), 1.5, None, True,
    False, "", "x" * 31, "x" * 40, "x" * 300, "x" * 70_000, b"", b"x" * 300, b"x" * 70_000,
)  # fmt: skip


@pytest.mark.parametrize("value", EVERY, ids=lambda v: repr(v)[:20])
def test_tokens_are_what_the_library_writes(value: Any) -> None:
    data = msgpack.packb(value)
    found = token(BytesSource(b"?" + data), 1, 1 + len(data))
    assert found.stop == 1 + len(data)
    if isinstance(value, str | bytes):
        raw = value.encode() if isinstance(value, str) else value
        assert data[found.start - 1 : found.stop - 1] == raw
    else:
        assert (type(found.value), found.value) == (type(value), value)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 8, 16, 17, 300, 70_000])
def test_extensions_are_what_the_library_writes(size: int) -> None:
    for kind in (0, 1, 127):
        data = msgpack.packb(msgpack.ExtType(kind, bytes(size)))
        expected = Token("ext", kind, len(data) - size, len(data))
        assert token(BytesSource(data), 0, len(data)) == expected


@pytest.mark.parametrize("data", [b"", b"\xcf\0", b"\xc7\x01", b"\xd4", b"\xa5abcd", b"\x92\x01"])
def test_a_token_that_leaves_its_room_is_refused(data: bytes) -> None:
    with pytest.raises(LayoutError):
        token(BytesSource(data + bytes(20)), 0, len(data))


def test_two_thousand_arrays_are_read_at_once() -> None:
    data = to_bytes({"params": {f"layer_{i}": {"kernel": KERNEL} for i in range(2000)}})
    assert len(layout_of(data).payloads) == 2000
    started = time.process_time()
    layout_of(data)
    assert time.process_time() - started < 1  # of which 0.3 s is the aim on an idle machine
