"""coreml: ``weights/weight.bin`` of a Core ML package (.mlpackage), MIL's blob storage version 2.

A header of 64 bytes (count, version), then for each blob 64 bytes about it and its content, all at
multiples of 64. Names and shapes are in the program beside it, which refers to offsets: here the
blobs are ``blob.0``, ``blob.1``, ... in file order, each of one dimension.

Source: mlmodel/src/MILBlob/Blob/StorageFormat.hpp and BlobDataType.hpp of coremltools.
"""

from __future__ import annotations

import struct

from git_nn.errors import LayoutError
from git_nn.formats.base import Source
from git_nn.objects.layout import MAX_TENSORS, Extent, Layout, Payload
from git_nn.objects.tensor import dtype_bits

NAME = "coreml"
VERSION = 1
SUFFIXES = ("weight.bin",)
ABOUT = "weights of Core ML packages (.mlpackage)"

_ALIGNED = 64
_SENTINEL = b"\xef\xbe\xad\xde"
_RESERVED = bytes(56)

# BlobDataType -> dtype; numbers of 1, 2, 3 and 6 bits have none
DTYPES = {
    1: "f16", 2: "f32", 3: "u8", 4: "i8", 5: "bf16", 6: "i16", 7: "u16", 8: "i4", 11: "u4",
    14: "i32", 15: "u32", 16: "f8_e4m3fn", 17: "f8_e5m2",
}  # fmt: skip


def sniff(head: bytes) -> bool:
    return head[4:8] == b"\2\0\0\0" and head[8:68] == _RESERVED + _SENTINEL


def layout(source: Source) -> Layout:
    count, version = struct.unpack("<II", source.read(0, 8))
    if version != 2 or count > MAX_TENSORS:
        raise LayoutError("its header has another version, or too many blobs")
    payloads = []
    at = _ALIGNED
    for number in range(count):
        payload, stop = _blob(source, f"blob.{number}", at)
        payloads.append(payload)
        at = -(-stop // _ALIGNED) * _ALIGNED
    return Layout(NAME, VERSION, source.size, tuple(payloads))


def _blob(source: Source, name: str, at: int) -> tuple[Payload, int]:
    """The blob that is told at ``at``, and where its content ends."""
    sentinel, kind, size, offset, padding = struct.unpack("<4sIQQQ", source.read(at, 32))
    if sentinel != _SENTINEL or offset < at + _ALIGNED or offset + size > source.size:
        raise LayoutError(f"{name} is not where it should be")
    extents = (Extent(offset, size),) if size else ()
    dtype = DTYPES.get(kind, "")
    bits = dtype_bits(dtype) if dtype else 0
    if not bits or 8 * size % bits or (bits < 8 and padding):  # the last bits are no element
        dtype, bits = "u8", 8
    return Payload(name, dtype, (8 * size // bits,), extents), offset + size
