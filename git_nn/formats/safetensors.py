"""safetensors: a u64 header length, a JSON header, then the tensors.

Read without the library (which lacks some dtypes) and without numpy. More lenient than
the library about holes and trailing bytes: they are literal. Limits: HEADER bytes of
header, MAX_TENSORS tensors.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from git_nn.errors import LayoutError, MergeError
from git_nn.formats.base import FileSource, Plan, Source, pieces
from git_nn.objects.layout import MAX_TENSORS, Extent, Layout, Payload, View
from git_nn.objects.names import natural_key
from git_nn.objects.tensor import check_shape, contiguous_strides, nbytes

NAME = "safetensors"
VERSION = 1
SUFFIXES = (".safetensors",)
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


def compose(ours: Path, theirs: Path, plan: Plan, out: Path) -> None:
    """Write ours changed by ``plan``: ours' order and metadata, then what theirs adds.

    A replaced tensor has the dtype and shape of the side that it comes from.
    """
    try:
        with ours.open("rb") as a, theirs.open("rb") as b, out.open("wb") as file:
            _compose(FileSource.of(a.fileno()), FileSource.of(b.fileno()), plan, file)
    except (LayoutError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise MergeError(f"the merged safetensors file cannot be written: {error}") from error


def _compose(ours: Source, theirs: Source, plan: Plan, file: BinaryIO) -> None:
    chosen = _chosen(ours, theirs, plan)
    _, header = _header(ours)
    entries: dict[str, Any] = {METADATA: header[METADATA]} if METADATA in header else {}
    position = 0
    for tensor, _ in chosen:
        stop = position + tensor.stop - tensor.start
        spec = {"dtype": tensor.type, "shape": tensor.shape, "data_offsets": (position, stop)}
        entries[tensor.name] = spec
        position = stop
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # as the library pads, so that f64 stays aligned
    file.write(len(text).to_bytes(8, "little") + text)
    for tensor, source in chosen:
        file.writelines(_content(tensor, source, plan))


def _content(tensor: _Tensor, source: Source, plan: Plan) -> Iterable[bytes]:
    length = tensor.stop - tensor.start
    merged = plan.replaced.get(tensor.name)
    if merged is None:
        return pieces(source, tensor.start, length)
    if len(merged) != length:
        raise LayoutError(f"{tensor.name!r}: the merged values differ in size from the tensor")
    return (merged,)


def _chosen(ours: Source, theirs: Source, plan: Plan) -> list[tuple[_Tensor, Source]]:
    """The tensors of the result in their order, each with the file that has its bytes."""
    added = {tensor.name: tensor for tensor in _tensors(theirs) if tensor.name in plan.from_theirs}
    missing = plan.from_theirs - set(added)
    if missing:
        raise LayoutError(f"theirs has no tensor {min(missing)!r}")
    chosen: list[tuple[_Tensor, Source]] = []
    for tensor in _tensors(ours):
        if tensor.name in added:
            chosen.append((added.pop(tensor.name), theirs))
        elif tensor.name not in plan.removed:
            chosen.append((tensor, ours))
    chosen += ((tensor, theirs) for tensor in added.values())
    stray = set(plan.replaced) - {tensor.name for tensor, _ in chosen}
    if stray:
        raise LayoutError(f"neither side has a tensor {min(stray)!r}")
    return chosen
