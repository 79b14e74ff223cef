"""forms: how containers keep arrays, and the way back to the packed C-order array.

Specified in docs/spec-forms.md. Restoring a file never needs this; looking at a tensor does.
What is not exactly what the form says is None, never a guess; every inflation is bounded.
"""

from __future__ import annotations

import re
import zlib
from itertools import accumulate, pairwise, product
from math import prod

import numpy as np

from git_nn.objects.tensor import BLOCKS, Shape, dtype_bits, nbytes

MAX_CHUNK = 1 << 32  # bytes of one HDF5 chunk; the file format has no larger ones

_STEPS = re.compile(r"(fortran|npy|deflate|latin1)(;(npy|deflate|latin1))*\Z")
_NPY_HEADER = 65536 + 12  # bytes at most of the header of an .npy file
_HDF5 = re.compile(r"h5\[([1-9][0-9]*(?:x[1-9][0-9]*)*)((?:;[a-z0-9]+)*)\]\Z")


def decode_form(
    form: str, dtype: str, shape: Shape, part_lengths: list[int], data: bytes
) -> bytes | None:
    """The packed C-order bytes of a payload that its container keeps in ``form``.

    ``part_lengths`` are the lengths of the parts of ``data``. None where the form or a step
    of it is not known, or the bytes are not what the form says.
    """
    if not form:
        return data if len(data) == nbytes(dtype, shape) else None
    if sum(part_lengths) != len(data):
        return None
    if dtype in BLOCKS or dtype_bits(dtype) < 8:
        return None
    if _STEPS.match(form):
        return _undo_steps(form.split(";"), dtype, shape, data)
    match = _HDF5.match(form)
    if match is None:
        return None
    chunk = tuple(int(dim) for dim in match[1].split("x"))
    filters = match[2].split(";")[1:]
    ends = list(accumulate(part_lengths, initial=0))
    parts = [memoryview(data)[start:stop] for start, stop in pairwise(ends)]
    return _join_chunks(chunk, filters, dtype, shape, parts)


def _undo_steps(steps: list[str], dtype: str, shape: Shape, data: bytes) -> bytes | None:
    """Undo ``steps``, the last one first; None unless the packed array comes out."""
    size = nbytes(dtype, shape)
    result: bytes | None = data
    for step in reversed(steps):
        if result is None:
            return None
        match step:
            case "deflate":
                result = _inflate(result, size + _NPY_HEADER, raw=True)
            case "npy":
                result = _after_npy_header(result)
            case "latin1":
                result = _latin1(result)
            case "fortran":
                result = _from_fortran(result, dtype, shape) if len(result) == size else None
    return result if result is not None and len(result) == size else None


def _after_npy_header(data: bytes) -> bytes | None:
    """What follows the header of an .npy file (NEP 1: magic, version, its length, text)."""
    if len(data) < 12 or not data.startswith(b"\x93NUMPY"):
        return None
    width = 2 if data[6] == 1 else 4
    return data[8 + width + int.from_bytes(data[8 : 8 + width], "little") :]


def _latin1(data: bytes) -> bytes | None:
    """Pickle protocols 0 to 2 keep bytes as text, one character of U+0000 to U+00FF each."""
    try:
        return data.decode("utf-8").encode("latin-1")
    except ValueError:
        return None


def _from_fortran(data: bytes, dtype: str, shape: Shape) -> bytes:
    kind = np.dtype(f"V{dtype_bits(dtype) // 8}")
    return np.frombuffer(data, dtype=kind).reshape(shape[::-1]).T.tobytes()


def _join_chunks(
    chunk: Shape, filters: list[str], dtype: str, shape: Shape, parts: list[memoryview]
) -> bytes | None:
    size = nbytes(dtype, chunk)
    counts = [-(-dim // step) for dim, step in zip(shape, chunk, strict=False)]
    if len(chunk) != len(shape) or len(parts) != prod(counts) or size > MAX_CHUNK:
        return None
    kind = np.dtype(f"V{dtype_bits(dtype) // 8}")
    joined = np.empty(shape, dtype=kind)
    for place, part in zip(product(*map(range, counts)), parts, strict=True):
        raw = _unfilter(bytes(part), filters, kind.itemsize, size)
        if raw is None:
            return None
        origin = [at * step for at, step in zip(place, chunk, strict=True)]
        room = tuple(slice(at, at + step) for at, step in zip(origin, chunk, strict=True))
        kept = tuple(slice(dim - at) for dim, at in zip(shape, origin, strict=True))
        joined[room] = np.frombuffer(raw, dtype=kind).reshape(chunk)[kept]
    return joined.tobytes()


def _unfilter(data: bytes, filters: list[str], width: int, size: int) -> bytes | None:
    """Undo ``filters``, the last one first; None unless ``size`` bytes come out."""
    result: bytes | None = data
    for i in reversed(range(len(filters))):
        if result is None:
            return None
        match filters[i]:
            case "deflate":
                result = _inflate(result, size + 4 * filters[:i].count("fletcher32"))
            case "shuffle":
                result = _unshuffle(result, width)
            case "fletcher32":
                result = _strip_fletcher32(result)
            case _:
                return None
    return result if result is not None and len(result) == size else None


def _inflate(data: bytes, limit: int, *, raw: bool = False) -> bytes | None:
    """Of one zlib stream (RFC 1950), or of one without its header (RFC 1951)."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS if raw else zlib.MAX_WBITS)
    try:
        found = stream.decompress(data, limit + 1)
    except zlib.error:
        return None
    return found if stream.eof and not stream.unused_data and len(found) <= limit else None


def _unshuffle(data: bytes, width: int) -> bytes:
    whole = len(data) // width * width
    planes = np.frombuffer(data, dtype=np.uint8, count=whole).reshape(width, -1)
    return planes.T.tobytes() + data[whole:]


def _strip_fletcher32(data: bytes) -> bytes | None:
    """``data`` without its checksum; None where it does not hold (old files swap its bytes)."""
    if len(data) < 4:
        return None
    raw, stored = data[:-4], data[-4:]
    padded = np.frombuffer(raw + b"\0" * (len(raw) % 2), dtype=">u2")
    first = second = 0
    for start in range(0, len(padded), 1 << 16):  # sums of a block stay below 2**48
        block = padded[start : start + (1 << 16)].astype(np.uint64)
        weights = np.arange(len(block), 0, -1, dtype=np.uint64)
        second = (second + first * len(block) + int((block * weights).sum())) % 65535
        first = (first + int(block.sum())) % 65535
    for order in ("<u2", ">u2"):
        low, high = (int(word) for word in np.frombuffer(stored, dtype=order))
        if (low % 65535, high % 65535) == (first, second):
            return raw
    return None
