"""TensorFlow checkpoints: the data shards, which the ``.index`` beside them describes.

``PREFIX.data-00000-of-00002`` is bytes of tensors and nothing else. ``PREFIX.index`` is a LevelDB
table of BundleEntryProto (tensorflow/core/protobuf/tensor_bundle.proto): for each tensor the
shard and the place where it stands. A tensor that is kept in slices has an entry for each slice,
whose key encodes name and slice (saved_tensor_slice_util.cc); they are tensors of their own
here. Strings, among them the object graph, and other values that are no numbers stay literal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from git_nn.errors import LayoutError
from git_nn.formats.base import Source
from git_nn.formats.leveldb_table import entries
from git_nn.formats.protobuf import BYTES, VARINT, Buffered, fields, signed
from git_nn.objects.layout import MAX_TENSORS, Extent, Layout, Payload
from git_nn.objects.names import is_canonical, natural_key
from git_nn.objects.tensor import MAX_RANK, check_shape, dtype_bits, nbytes

NAME = "tensorflow"
VERSION = 1
SUFFIXES = (".data-00000-of-00001",)
ABOUT = "data shards of TensorFlow checkpoints and SavedModels, described by their .index"

# tensorflow/core/framework/types.proto
DTYPES = {
    1: "f32", 2: "f64", 3: "i32", 4: "u8", 5: "i16", 6: "i8", 8: "c64", 9: "i64", 10: "bool",
    11: "i8", 12: "u8", 13: "i32", 14: "bf16", 15: "i16", 16: "u16", 17: "u16", 18: "c128",
    19: "f16", 22: "u32", 23: "u64", 24: "f8_e5m2", 25: "f8_e4m3fn", 26: "f8_e4m3fnuz",
    28: "f8_e5m2fnuz",
}  # fmt: skip

_SHARD = re.compile(r"(.+)\.data-([0-9]{5})-of-([0-9]{5})\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Entry:
    """One BundleEntryProto; ``dtype`` is TensorFlow's number."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    sliced: bool


def descriptions(name: str) -> tuple[str, ...]:
    match = _SHARD.match(name)
    return (f"{match[1]}.index",) if match else ()


def layout(source: Source, name: str, description: Source) -> Layout:
    match = _SHARD.match(name)
    if match is None:
        raise LayoutError("the name is not that of a shard")
    payloads: list[Payload] = []
    index = Buffered(description)
    rows = entries(index)
    big = _is_big_endian(index, rows, shards=int(match[3]))
    for key, start, stop in rows:
        entry = _entry(index, start, stop)
        if entry.shard == int(match[2]) and not entry.sliced:
            payload = _payload(key, entry, big_endian=big)
            payloads.extend((payload,) if payload else ())
        if len(payloads) > MAX_TENSORS:
            raise LayoutError(f"more than {MAX_TENSORS} tensors")
    if not payloads:
        raise LayoutError("its index tells of no tensor here")
    payloads.sort(key=lambda payload: natural_key(payload.name))
    return Layout(NAME, VERSION, source.size, tuple(payloads))


def _is_big_endian(index: Source, rows: Iterator[tuple[bytes, int, int]], shards: int) -> bool:
    """What the header says, which is the first entry: BundleHeaderProto."""
    key, start, stop = next(rows, (b"?", 0, 0))
    if key:
        raise LayoutError("its index has no header")
    header = {field.number: field.value for field in fields(index, start, stop)}
    if header.get(1, 0) != shards:
        raise LayoutError(f"its index is of a checkpoint of {header.get(1, 0)} shards")
    if header.get(2, 0) not in (0, 1):
        raise LayoutError("its index has an unknown byte order")
    return header.get(2, 0) == 1


def _entry(index: Source, start: int, stop: int) -> _Entry:
    numbers: dict[int, int] = {}
    shape: tuple[int, ...] = ()
    sliced = False
    for field in fields(index, start, stop):
        if field.number == 2 and field.wire == BYTES:
            shape = _shape(index, field.start, field.stop)
        elif field.number == 7:
            sliced = True
        elif field.wire == VARINT:
            numbers[field.number] = signed(field.value)
    dtype, shard, offset, size = (numbers.get(number, 0) for number in (1, 3, 4, 5))
    return _Entry(dtype, shape, shard, offset, size, sliced)


def _shape(index: Source, start: int, stop: int) -> tuple[int, ...]:
    """TensorShapeProto{dim 2 {size 1}}; a dimension without a size is 0, as in proto3."""
    shape = []
    for dim in fields(index, start, stop):
        if dim.number != 2 or dim.wire != BYTES:
            continue
        inner = {field.number: field.value for field in fields(index, dim.start, dim.stop)}
        shape.append(signed(inner.get(1, 0)))
        if len(shape) > MAX_RANK:
            raise LayoutError(f"a tensor has more than {MAX_RANK} dimensions")
    check_shape(tuple(shape))
    return tuple(shape)


def _payload(key: bytes, entry: _Entry, *, big_endian: bool) -> Payload | None:
    """None where the bytes stay literal: no numbers, or no name."""
    dtype, name = DTYPES.get(entry.dtype), _name(key)
    if dtype is None or not is_canonical(name):
        return None
    if big_endian and dtype_bits(dtype) > 8:
        if dtype == "bf16":
            return None
        dtype += "be"
    if nbytes(dtype, entry.shape) != entry.size:
        raise LayoutError(f"{name[:80]!r}: dtype x shape and the size in the index differ")
    extents = (Extent(entry.offset, entry.size),) if entry.size else ()
    return Payload(name, dtype, entry.shape, extents)


def _name(key: bytes) -> str:
    """The tensor's name; of a slice also which, as ``name[0:5,:]``."""
    try:
        return _slice_name(key) if key.startswith(b"\0") else key.decode("utf-8", "surrogateescape")
    except (ValueError, IndexError):
        return key.decode("utf-8", "surrogateescape")


def _slice_name(key: bytes) -> str:
    """EncodeTensorNameSlice: 0, name, rank, and start and length of each dimension."""
    stop = key.index(b"\0\1")
    raw = key[1:stop].replace(b"\0\xff", b"\0").replace(b"\xff\0", b"\xff")
    at = stop + 2
    rank, at = int.from_bytes(key[at + 1 : at + 1 + key[at]], "big"), at + 1 + key[at]
    spans = []
    for _ in range(min(rank, MAX_RANK)):
        start, at = _signed_number(key, at)
        length, at = _signed_number(key, at)
        spans.append(":" if length < 0 else f"{start}:{start + length}")
    if at != len(key) or rank > MAX_RANK:
        raise ValueError("not the key of a slice")
    return f"{raw.decode('utf-8', 'surrogateescape')}[{','.join(spans)}]"


def _signed_number(key: bytes, at: int) -> tuple[int, int]:
    """OrderedCode::ReadSignedNumIncreasing: a sign, a length in leading bits, the number."""
    first = key[at]
    negative = first < 0x80
    head = first ^ 0xFF if negative else first
    length = 8 - (head ^ 0xFF).bit_length() if head != 0xFF else 8
    if head == 0xFF:
        second = key[at + 1] ^ (0xFF if negative else 0)
        length += 8 - (second ^ 0xFF).bit_length()
    data = key[at : at + length]
    if len(data) != length or length > 10:
        raise ValueError("not a number")
    value = int.from_bytes(data, "big") ^ ((1 << 8 * length) - 1 if negative else 0)
    value &= (1 << 8 * length - length - 1) - 1
    return (~value if negative else value), at + length
