"""gguf: the files of llama.cpp; a header, key-values, tensor infos, then aligned tensors.

Read without the library, whose reader makes an array of every word of the vocabulary. The
vocabulary and all other key-values are literal. Shapes are row-major: the file's dimensions
reversed, counted in elements also where the tensor is kept in blocks. A tensor whose type is
unknown is bytes up to the next tensor. Versions 2 and 3; of big-endian files (version 3) the
types that have no big-endian dtype are bytes as well.

Specification: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, BinaryIO
from zlib import crc32

from git_nn.errors import LayoutError
from git_nn.formats.base import Arrangement, Key, Source, pieces
from git_nn.objects.layout import MAX_TENSORS, Extent, Layout, Payload
from git_nn.objects.tensor import BLOCKS, Shape, check_shape, dtype_bits, is_dtype, nbytes

NAME = "gguf"
VERSION = 1
SUFFIXES = (".gguf",)
ABOUT = "GGUF of llama.cpp, quantised types included"

MAGIC = b"GGUF"
ALIGNMENT = 32  # unless general.alignment says otherwise
MAX_RANK = 8  # ggml has 4

# number of a type in the file (enum ggml_type) -> dtype
TYPES = {
    0: "f32", 1: "f16", 2: "q4_0", 3: "q4_1", 6: "q5_0", 7: "q5_1", 8: "q8_0", 9: "q8_1",
    10: "q2_k", 11: "q3_k", 12: "q4_k", 13: "q5_k", 14: "q6_k", 15: "q8_k",
    16: "iq2_xxs", 17: "iq2_xs", 18: "iq3_xxs", 19: "iq1_s", 20: "iq4_nl", 21: "iq3_s",
    22: "iq2_s", 23: "iq4_xs", 24: "i8", 25: "i16", 26: "i32", 27: "i64", 28: "f64",
    29: "iq1_m", 30: "bf16", 34: "tq1_0", 35: "tq2_0", 39: "mxfp4", 40: "nvfp4", 41: "q1_0",
}  # fmt: skip

# number of the type of a key-value -> struct code and name
_SCALARS = {
    0: ("B", "u8"), 1: ("b", "i8"), 2: ("H", "u16"), 3: ("h", "i16"), 4: ("I", "u32"),
    5: ("i", "i32"), 6: ("f", "f32"), 7: ("?", "bool"), 10: ("Q", "u64"), 11: ("q", "i64"),
    12: ("d", "f64"),
}  # fmt: skip
_STRING, _ARRAY = 8, 9

_AHEAD = 1 << 20  # bytes read at a time
_LONGEST_KEY = 65535  # as the specification has it
_MANY = 50  # items above which an array of a key-value is told by length and type
_LONG = 64 * 1024  # bytes above which a text is told by its length


@dataclass(slots=True)
class _Cursor:
    """Where the reader stands: at ``block[at]``; ``ahead`` is the offset after ``block``."""

    source: Source
    order: str = "<"
    block: bytes = b""
    at: int = 0
    ahead: int = 0

    @property
    def offset(self) -> int:
        return self.ahead - len(self.block) + self.at

    def go(self, offset: int) -> None:
        """Stand at ``offset``; LayoutError where that is outside of the file."""
        if not 0 <= offset <= self.source.size:
            raise LayoutError("a length leads out of the file")
        self.block = self.source.read(offset, min(_AHEAD, self.source.size - offset))
        self.at, self.ahead = 0, offset + len(self.block)

    def take(self, length: int) -> bytes:
        if self.at + length > len(self.block):
            if length > _AHEAD:
                raise LayoutError("a name is too long")
            self.go(self.offset)
        found = self.block[self.at : self.at + length]
        if len(found) < length:
            raise LayoutError("the file ends in its header")
        self.at += length
        return found

    def numbers(self, codes: str) -> tuple[Any, ...]:
        layout = struct.Struct(self.order + codes)
        return layout.unpack(self.take(layout.size))

    def skip(self, length: int) -> None:
        if self.at + length <= len(self.block):
            self.at += length
        else:
            self.go(self.offset + length)

    def text(self, limit: int) -> str:
        (length,) = self.numbers("Q")
        if length > limit:
            raise LayoutError("a name is too long")
        return self.take(length).decode("utf-8", "surrogateescape")

    def skip_texts(self, count: int) -> None:
        """Pass ``count`` strings; a vocabulary has some 100,000, so this is the inner loop."""
        length_at = struct.Struct(self.order + "Q").unpack_from
        while count:
            if len(self.block) - self.at < 8:
                self.go(self.offset)
            block, at, last = self.block, self.at, len(self.block) - 8
            if at > last:
                raise LayoutError("the file ends in its header")
            while count and at <= last:
                at += 8 + length_at(block, at)[0]
                count -= 1
            self.skip(at - self.at)


@dataclass(frozen=True, slots=True)
class _Pair:
    """A key-value; ``item`` is the type of a scalar or of the items, ``count`` None for a scalar.

    The value, or the items, are in [start, stop) of the file.
    """

    key: str
    item: int
    count: int | None
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class _Info:
    """What the file says of a tensor; ``start`` is an offset in the file."""

    name: str
    shape: Shape
    type: int
    start: int


def sniff(head: bytes) -> bool:
    return head.startswith(MAGIC)


def layout(source: Source) -> Layout:
    cursor, tensors, pairs = _open(source)
    alignment = ALIGNMENT
    for pair in _pairs(cursor, pairs):
        if pair.key == "general.alignment":
            alignment = _alignment(source, cursor.order, pair)
    infos = [_info(cursor) for _ in range(tensors)]
    base = -(-cursor.offset // alignment) * alignment
    infos = [_Info(i.name, i.shape, i.type, base + i.start) for i in infos]
    stops = _stops(infos, source.size)
    big = cursor.order == ">"
    return Layout(
        NAME, VERSION, source.size, tuple(_payload(info, stops[info.start], big) for info in infos)
    )


def _open(source: Source) -> tuple[_Cursor, int, int]:
    """A cursor at the first key-value, and the numbers of tensors and key-values."""
    cursor = _Cursor(source)
    if cursor.take(4) != MAGIC:
        raise LayoutError("it does not begin with GGUF")
    version = cursor.take(4)
    if version == b"\0\0\0\3":
        cursor.order = ">"
    elif version not in (b"\2\0\0\0", b"\3\0\0\0"):
        raise LayoutError("its version is neither 2 nor 3")
    tensors, pairs = cursor.numbers("QQ")
    if tensors > MAX_TENSORS:
        raise LayoutError(f"more than {MAX_TENSORS} tensors")
    if pairs > source.size:
        raise LayoutError("it has more key-values than bytes")
    return cursor, tensors, pairs


def _pairs(cursor: _Cursor, count: int) -> Iterator[_Pair]:
    """The key-values; when the last one is taken the cursor stands at the tensor infos."""
    for _ in range(count):
        key = cursor.text(_LONGEST_KEY)
        (item,) = cursor.numbers("I")
        items = None
        if item == _ARRAY:
            item, items = cursor.numbers("IQ")
        start = cursor.offset
        if item in _SCALARS:
            size = struct.calcsize("=" + _SCALARS[item][0])
            cursor.skip(size * (1 if items is None else items))
        elif item == _STRING:
            cursor.skip_texts(1 if items is None else items)
        else:
            raise LayoutError(f"{key[:80]!r}: type {item} of a key-value is unknown")
        yield _Pair(key, item, items, start, cursor.offset)


def _alignment(source: Source, order: str, pair: _Pair) -> int:
    if pair.item != 4 or pair.count is not None:
        raise LayoutError("general.alignment is not a u32")
    (value,) = struct.unpack(order + "I", source.read(pair.start, 4))
    if not value or value & (value - 1):
        raise LayoutError(f"an alignment of {value} is no power of two")
    return int(value)


def _info(cursor: _Cursor) -> _Info:
    name = cursor.text(_LONGEST_KEY)
    (rank,) = cursor.numbers("I")
    if rank > MAX_RANK:
        raise LayoutError(f"{name[:80]!r}: {rank} dimensions")
    *dims, kind, start = cursor.numbers(f"{rank}QIQ")
    shape = tuple(reversed(dims))
    check_shape(shape)
    return _Info(name, shape, kind, start)


def _stops(infos: Sequence[_Info], size: int) -> dict[int, int]:
    """Start of a tensor -> start of the next one, or the end of the file."""
    return dict(pairwise([*sorted({info.start for info in infos}), size]))


def _payload(info: _Info, stop: int, big: bool) -> Payload:
    dtype, shape = TYPES.get(info.type, ""), info.shape
    length = nbytes(dtype, shape) if dtype else stop - info.start
    if big and dtype:
        dtype = _big(dtype)
    if not dtype:
        dtype, shape = "u8", (length,)
    return Payload(info.name, dtype, shape, (Extent(info.start, length),) if length else ())


def _big(dtype: str) -> str:
    """The big-endian form of a dtype; empty where it has none."""
    if dtype in BLOCKS:
        return ""
    if dtype_bits(dtype) == 8:
        return dtype
    return f"{dtype}be" if is_dtype(f"{dtype}be") else ""


# --- for merged files: gguf_write ---------------------------------------------------------


def keys(source: Source) -> dict[Key, str]:
    """The key-values, those of the tokenizer as one."""
    from git_nn.formats import gguf_write

    return gguf_write.keys(source)


def arrange(ours: Source, theirs: Source, plan: Arrangement, out: BinaryIO) -> None:
    """Write a merged file without its payloads; see formats/base.py."""
    from git_nn.formats import gguf_write

    gguf_write.arrange(ours, theirs, plan, out)


def pair_stops(source: Source) -> tuple[str, int, list[tuple[str, int]]]:
    """The byte order, where the key-values begin, and each key with where its value ends."""
    cursor, _, pairs = _open(source)
    start = cursor.offset
    return cursor.order, start, [(pair.key, pair.stop) for pair in _pairs(cursor, pairs)]


def tensor_names(source: Source) -> list[str]:
    """The names of the tensors in the order of the file."""
    cursor, tensors, pairs = _open(source)
    for _ in _pairs(cursor, pairs):
        pass
    return [_info(cursor).name for _ in range(tensors)]


def alignment_of(source: Source) -> int:
    """What tensors are aligned to."""
    cursor, _, pairs = _open(source)
    for pair in _pairs(cursor, pairs):
        if pair.key == "general.alignment":
            return _alignment(source, cursor.order, pair)
    return ALIGNMENT


# --- what the file says about the model ---------------------------------------------------


def structure(source: Source) -> dict[str, Any]:
    """The key-values; a long one as what it is, with a CRC-32 that tells it from another."""
    cursor, _, pairs = _open(source)
    return {_shown(pair.key): _value(source, cursor.order, pair) for pair in _pairs(cursor, pairs)}


def _value(source: Source, order: str, pair: _Pair) -> Any:
    length = pair.stop - pair.start
    if (pair.count or 0) > _MANY or length > _LONG:
        crc = 0
        for piece in pieces(source, pair.start, length):
            crc = crc32(piece, crc)
        name = "string" if pair.item == _STRING else _SCALARS[pair.item][1]
        many = f"{length} bytes" if pair.count is None else f"{pair.count} items"
        return f"{name}, {many}, crc32 {crc:08x}"
    data = source.read(pair.start, length)
    if pair.item == _STRING:
        values = list(_texts(data, order))
    else:
        code = _SCALARS[pair.item][0]
        count = 1 if pair.count is None else pair.count
        values = [_plain(value) for value in struct.unpack(f"{order}{count}{code}", data)]
    return values if pair.count is not None else values[0]


def _texts(data: bytes, order: str) -> Iterator[str]:
    at = 0
    while at < len(data):
        (length,) = struct.unpack_from(order + "Q", data, at)
        yield data[at + 8 : at + 8 + length].decode("utf-8", "replace")
        at += 8 + length


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _shown(key: str) -> str:
    return key.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
