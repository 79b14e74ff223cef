"""safetensors: a u64 header length, a JSON header, then the tensors.

Read without the library (which lacks some dtypes) and without numpy. More lenient than
the library about holes and trailing bytes: they are literal. Limits: HEADER bytes of
header, MAX_TENSORS tensors.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from git_nn.errors import LayoutError, MergeError
from git_nn.formats.base import Arrangement, Key, Source
from git_nn.objects.layout import MAX_TENSORS, Extent, Layout, Payload, View
from git_nn.objects.names import natural_key
from git_nn.objects.tensor import check_shape, contiguous_strides, nbytes

NAME = "safetensors"
VERSION = 1
SUFFIXES = (".safetensors",)
RESIZES = True
ABOUT = "safetensors of Hugging Face, also adapters and quantised models"

HEADER = 100_000_000  # the library's own limit
METADATA = "__metadata__"

_CHEAP = 16 * 1024 * 1024  # headers up to this length cost little memory whatever they hold

DTYPES = {
    "BOOL": "bool",
    "F4": "f4_e2m1", "F6_E2M3": "f6_e2m3", "F6_E3M2": "f6_e3m2",
    "U8": "u8", "I8": "i8",
    "F8_E5M2": "f8_e5m2", "F8_E4M3": "f8_e4m3fn", "F8_E8M0": "f8_e8m0",
    "F8_E4M3FNUZ": "f8_e4m3fnuz", "F8_E5M2FNUZ": "f8_e5m2fnuz",
    "I16": "i16", "U16": "u16", "F16": "f16", "BF16": "bf16",
    "I32": "i32", "U32": "u32", "F32": "f32", "C64": "c64",
    "I64": "i64", "U64": "u64", "F64": "f64",
}  # fmt: skip
_WORDS = {dtype: word for word, dtype in DTYPES.items()}


@dataclass(frozen=True, slots=True)
class _Tensor:
    """One entry of the header; ``start`` and ``stop`` are offsets in the file."""

    name: str
    type: str
    shape: tuple[int, ...]
    start: int
    stop: int


def sniff(head: bytes) -> bool:
    return len(head) > 8 and head[8:9] == b"{" and 2 <= _length(head) <= HEADER


def layout(source: Source) -> Layout:
    payloads: list[Payload] = []
    views: list[View] = []
    first: dict[tuple[int, int], str] = {}
    for tensor in sorted(_tensors(source), key=lambda tensor: natural_key(tensor.name)):
        dtype, length = DTYPES[tensor.type], tensor.stop - tensor.start
        owner = first.setdefault((tensor.start, tensor.stop), tensor.name)
        if length and owner != tensor.name:
            steps = contiguous_strides(tensor.shape)
            views.append(View(tensor.name, dtype, tensor.shape, owner, 0, steps))
        else:
            extents = (Extent(tensor.start, length),) if length else ()
            payloads.append(Payload(tensor.name, dtype, tensor.shape, extents))
    return Layout(NAME, VERSION, source.size, tuple(payloads), tuple(views))


def structure(source: Source) -> dict[str, Any]:
    """The file's own metadata."""
    _, header = _header(source)
    return {"metadata": header[METADATA]} if header.get(METADATA) else {}


def _length(head: bytes) -> int:
    return int.from_bytes(head[:8], "little")


def _header(source: Source) -> tuple[int, dict[str, Any]]:
    """Where the data starts, and the parsed header."""
    length = _length(source.read(0, 8))
    if length > HEADER:
        raise LayoutError(f"a header of {length} bytes is too long")
    text = source.read(8, length).decode("utf-8")
    if length > _CHEAP and (
        text.count("{") + text.count("[") > 4 * MAX_TENSORS or text.count(",") > 20 * MAX_TENSORS
    ):
        raise LayoutError("the header is too complex")
    header = json.loads(text, object_pairs_hook=_unique)
    if not isinstance(header, dict):
        raise LayoutError("the header is no JSON object")
    if len(header) > MAX_TENSORS:
        raise LayoutError(f"more than {MAX_TENSORS} tensors")
    return 8 + length, header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise LayoutError("the header has a key twice")
    return found


def _tensors(source: Source) -> Iterator[_Tensor]:
    """The tensors in the order of the header."""
    base, header = _header(source)
    _check_metadata(header.pop(METADATA, {}))
    for name, entry in header.items():
        yield _tensor(name, entry, base, source.size)


def _check_metadata(metadata: Any) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise LayoutError("the metadata are not strings")


def _tensor(name: str, entry: Any, base: int, size: int) -> _Tensor:
    kind, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not all(type(number) is int for number in (*shape, begin, end)):
        raise LayoutError(f"{name!r}: a size or offset is no integer")
    if kind not in DTYPES:
        raise LayoutError(f"{name!r}: unknown dtype {kind!r}")
    if not 0 <= begin <= end <= size - base:
        raise LayoutError(f"{name!r}: the data leave the file")
    check_shape(tuple(shape))
    if nbytes(DTYPES[kind], tuple(shape)) != end - begin:
        raise LayoutError(f"{name!r}: dtype x shape and the data differ in size")
    return _Tensor(name, kind, tuple(shape), base + begin, base + end)


def keys(source: Source) -> dict[Key, str]:
    """The entries of ``__metadata__``, which are all strings."""
    _, header = _header(source)
    metadata = header.get(METADATA, {})
    _check_metadata(metadata)
    return {("", name): value for name, value in metadata.items()}


def arrange(ours: Source, theirs: Source, plan: Arrangement, out: BinaryIO) -> None:
    """Write the header: ours' order and metadata, then what theirs adds, then what is new."""
    try:
        entries = _arranged(ours, theirs, plan)
    except (LayoutError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise MergeError(f"the merged safetensors file cannot be written: {error}") from error
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # as the library pads, so that f64 stays aligned
    if len(text) > HEADER:
        raise MergeError("the header of the merged safetensors file is too long")
    out.write(len(text).to_bytes(8, "little") + text)
    stops = (e["data_offsets"][1] for name, e in entries.items() if name != METADATA)
    out.truncate(8 + len(text) + max(stops, default=0))


def _arranged(ours: Source, theirs: Source, plan: Arrangement) -> dict[str, Any]:
    """The header of the result, metadata first as the library writes it."""
    mine, other = _header(ours)[1], _header(theirs)[1]
    metadata = _merged_metadata(mine, other, plan)
    entries: dict[str, Any] = {} if metadata is None else {METADATA: metadata}
    names = [name for name in dict.fromkeys((*mine, *other, *plan.tensors)) if name in plan.tensors]
    position = 0
    places: dict[str, tuple[int, int]] = {}
    for name in names:
        dtype, shape = plan.tensors[name]
        if name not in plan.aliases:
            places[name] = (position, position + nbytes(dtype, shape))
            position = places[name][1]
    for name in names:
        dtype, shape = plan.tensors[name]
        offsets = places[plan.aliases.get(name, name)]
        if nbytes(dtype, shape) != offsets[1] - offsets[0]:
            raise LayoutError(f"{name!r} is a part of {plan.aliases[name]!r}")
        entries[name] = {"dtype": _WORDS[dtype], "shape": shape, "data_offsets": offsets}
    return entries


def _merged_metadata(
    mine: dict[str, Any], other: dict[str, Any], plan: Arrangement
) -> dict[str, str] | None:
    """Ours' metadata with the values that are theirs; None where there are none."""
    if not plan.keys:
        return mine.get(METADATA)
    merged, source = dict(mine.get(METADATA, {})), other.get(METADATA, {})
    for _, name in sorted(plan.keys):
        if name in source:
            merged[name] = source[name]
        else:
            merged.pop(name, None)
    return merged or None
