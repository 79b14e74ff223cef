"""flax: what ``flax.serialization.to_bytes`` writes, a MessagePack map with arrays in it.

An array is an extension of type 1, a numpy scalar one of type 3; both hold the MessagePack
list [shape, dtype, bytes]. An array of more than 2**30 bytes is a map of chunks, which are one
payload here. A name is the keys on the way to the array, joined by slashes, as
``flatten_dict(params, sep="/")`` has it.

Limits: VALUES values, paths DEPTH deep, NAMES characters of names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count, takewhile
from math import isfinite, prod
from typing import Any

from git_nn.errors import LayoutError
from git_nn.formats.base import Source
from git_nn.formats.msgpack_tokens import ARRAY, BIN, EXT, MAP, STR, VALUE, Token, token
from git_nn.formats.protobuf import Buffered
from git_nn.objects.layout import MAX_TENSORS, Extent, Layout, Payload
from git_nn.objects.names import MAX_NAME_BYTES, is_canonical
from git_nn.objects.tensor import MAX_RANK, check_shape, nbytes

NAME = "flax"
VERSION = 1
SUFFIXES = (".msgpack",)
ABOUT = "MessagePack of Flax and JAX, as flax.serialization writes it"

VALUES = 400_000
DEPTH = 200
NAMES = 32 * 1024 * 1024

NDARRAY, SCALAR = 1, 3
CHUNKED = "__msgpack_chunked_array__"

DTYPES = {
    "float64": "f64", "float32": "f32", "float16": "f16", "bfloat16": "bf16",
    "float8_e4m3": "f8_e4m3", "float8_e4m3fn": "f8_e4m3fn", "float8_e4m3fnuz": "f8_e4m3fnuz",
    "float8_e5m2": "f8_e5m2", "float8_e5m2fnuz": "f8_e5m2fnuz", "float8_e8m0fnu": "f8_e8m0",
    "int64": "i64", "int32": "i32", "int16": "i16", "int8": "i8",
    "uint64": "u64", "uint32": "u32", "uint16": "u16", "uint8": "u8", "bool": "bool",
    "complex64": "c64", "complex128": "c128",
}  # fmt: skip

_BLOCK = 4096  # bytes read ahead: heads are short, and arrays are leapt over
_PLAIN, _TEXT = 10_000, 1000  # of structure: so many values, so many characters of each
# a map whose first key is text; an extension that begins with a list of three
_ROOT = re.compile(rb"([\x81-\x8f]|\xde..|\xdf....)[\xa0-\xbf\xc4\xd9-\xdb]", re.DOTALL)
_LEAF = re.compile(rb"(\xc7.|\xc8..|\xc9....|[\xd4-\xd8])[\x01\x03]\x93", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Array:
    dtype: str
    shape: tuple[int, ...]
    extents: tuple[Extent, ...]


@dataclass(slots=True)
class _Tree:
    """The leaves by name, in the order of the file; several arrays may have one name."""

    arrays: list[tuple[str, _Array]] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class _Open:
    """A container with so many entries left; ``path`` is None where no name reaches."""

    path: str | None
    left: int
    is_map: bool
    done: int = 0


def sniff(head: bytes) -> bool:
    return bool(_ROOT.match(head) and _LEAF.search(head))


def layout(source: Source) -> Layout:
    tree = _read(source)
    payloads = tuple(Payload(n, a.dtype, a.shape, a.extents) for n, a in _named(_joined(tree)))
    if not payloads:
        raise LayoutError("there is no array")
    return Layout(NAME, VERSION, source.size, payloads)


def structure(source: Source) -> dict[str, Any]:
    """The plain values beside the arrays (step, epoch), by name."""
    values = _read(source).values
    return dict(list(values.items())[:_PLAIN])


def _read(source: Source) -> _Tree:
    """Walk the whole file; LayoutError unless it is exactly one map."""
    buffered, size = Buffered(source, _BLOCK), source.size
    root = token(buffered, 0, size)
    if root.kind != MAP:
        raise LayoutError("the file is no map")
    tree, opened, total, at = _Tree(), [_Open("", root.value, is_map=True)], 0, root.stop
    for _ in range(VALUES):
        while opened and not opened[-1].left:
            opened.pop()
        if not opened:
            break
        name, at = _key(buffered, opened[-1], at)
        found = token(buffered, at, size)
        at = found.stop
        total += len(name or "")
        if total > NAMES or len(tree.arrays) > MAX_TENSORS:
            raise LayoutError("there are too many arrays or too long names")
        if found.kind not in (ARRAY, MAP):
            _leaf(buffered, tree, name, found)
        elif len(opened) >= DEPTH:
            raise LayoutError(f"there are more than {DEPTH} levels")
        else:
            opened.append(_Open(name, found.value, found.kind == MAP))
    if opened or at != size:
        raise LayoutError("the map ends elsewhere than the file")
    return tree


def _key(source: Source, here: _Open, at: int) -> tuple[str | None, int]:
    """Take the next entry of ``here``: its path, and where its value begins."""
    here.left -= 1
    here.done += 1
    if not here.is_map:
        return _path(here, str(here.done - 1)), at
    key = token(source, at, source.size)
    if type(key.value) is int and key.kind == VALUE:
        return _path(here, str(key.value)), key.stop
    if key.kind not in (STR, BIN):
        raise LayoutError("a key is no text")
    if key.stop - key.start > MAX_NAME_BYTES:
        return None, key.stop
    raw = source.read(key.start, key.stop - key.start)
    return _path(here, raw.decode("utf-8", "surrogateescape")), key.stop


def _path(here: _Open, key: str) -> str | None:
    if here.path is None or len(here.path) + len(key) >= MAX_NAME_BYTES:
        return None
    return f"{here.path}/{key}" if here.path else key


def _leaf(source: Source, tree: _Tree, name: str | None, leaf: Token) -> None:
    """Note a leaf; what has no name stays literal, but is held against the format all the same."""
    array = None
    if leaf.kind == EXT and leaf.value in (NDARRAY, SCALAR):
        array = _array(source, leaf)
    if name is None or not is_canonical(name):
        return
    if array is not None:
        tree.arrays.append((name, array))
    elif leaf.kind == VALUE:
        finite = not isinstance(leaf.value, float) or isfinite(leaf.value)
        tree.values[name] = leaf.value if finite else str(leaf.value)
    elif leaf.kind == STR and leaf.stop - leaf.start <= _TEXT:
        raw = source.read(leaf.start, leaf.stop - leaf.start)
        tree.values[name] = raw.decode("utf-8", "replace")


def _array(source: Source, leaf: Token) -> _Array:
    """[shape, dtype, bytes]; of a dtype without a name here, the bytes as they are."""
    outer = token(source, leaf.start, leaf.stop)
    dims = token(source, outer.stop, leaf.stop)
    if (outer.kind, outer.value, dims.kind) != (ARRAY, 3, ARRAY) or dims.value > MAX_RANK:
        raise LayoutError("an array has no shape")
    at, shape = dims.stop, []
    for _ in range(dims.value):
        dim = token(source, at, leaf.stop)
        if dim.kind != VALUE or type(dim.value) is not int:
            raise LayoutError("a dimension is no integer")
        at = dim.stop
        shape.append(dim.value)
    kind = token(source, at, leaf.stop)
    data = token(source, kind.stop, leaf.stop)
    if {kind.kind, data.kind} - {STR, BIN} or data.stop != leaf.stop:
        raise LayoutError("an array is not shape, dtype and bytes")
    dtype = DTYPES.get(source.read(kind.start, min(32, kind.stop - kind.start)).decode("latin-1"))
    length = data.stop - data.start
    check_shape(tuple(shape))
    if dtype is not None and nbytes(dtype, tuple(shape)) != length:
        raise LayoutError("dtype x shape and the bytes of an array differ in size")
    extents = (Extent(data.start, length),) if length else ()
    return _Array(dtype, tuple(shape), extents) if dtype else _Array("u8", (length,), extents)


def _joined(tree: _Tree) -> Iterator[tuple[str, _Array]]:
    """The arrays, those that are kept in chunks as one each."""
    arrays = dict(tree.arrays)
    whole: dict[str, tuple[str, _Array] | None] = {}
    for key, value in tree.values.items():
        name, _, last = key.rpartition("/")
        if value is not True or last != CHUNKED or not name:
            continue
        chunks = list(takewhile(arrays.__contains__, (f"{name}/chunks/{i}" for i in count())))
        array = _whole(tree.values, name, [arrays[chunk] for chunk in chunks])
        if array is not None:
            whole |= dict.fromkeys(chunks)
            whole[chunks[0]] = (name, array)
    for name, array in tree.arrays:
        found = whole.get(name, (name, array))
        if found is not None:
            yield found


def _whole(values: dict[str, Any], name: str, chunks: list[_Array]) -> _Array | None:
    """The array of which these are the chunks; None where they do not fill it."""
    shape: list[int] = []
    while isinstance(dim := values.get(f"{name}/shape/{len(shape)}"), int):
        shape.append(dim)
    if not chunks or len(shape) > MAX_RANK:
        return None
    if {(len(chunk.shape), chunk.dtype) for chunk in chunks} != {(1, chunks[0].dtype)}:
        return None
    if prod(shape) != sum(chunk.shape[0] for chunk in chunks):
        return None
    extents = tuple(extent for chunk in chunks for extent in chunk.extents)
    return _Array(chunks[0].dtype, tuple(shape), extents)


def _named(arrays: Iterator[tuple[str, _Array]]) -> Iterator[tuple[str, _Array]]:
    """Of several arrays with one name, the later ones are called NAME~2, NAME~3, ..."""
    taken: dict[str, int] = {}
    for name, array in arrays:
        unique = name
        while unique in taken:
            taken[name] += 1
            unique = f"{name}~{taken[name]}"
        taken[unique] = 1
        yield unique, array
