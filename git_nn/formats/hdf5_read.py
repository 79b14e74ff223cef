"""HDF5 as the worker reads it: where datasets stand in the file, and what attributes say.

Imported in the worker process only. Rules: no dataset is read; no soft or external link
is followed (h5o.visit goes along hard links, to each object once); the file is opened
read-only; objects are met in the order of their names, so equal files give equal answers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite
from typing import Any

import h5py
from h5py import h5a, h5d, h5f, h5fd, h5g, h5o, h5p, h5s, h5t

from git_nn.errors import LayoutError
from git_nn.formats.hdf5_form import Chunk, Filter, form_of
from git_nn.formats.hdf5_types import dtype_of
from git_nn.objects.layout import MAX_EXTENTS, MAX_FORM, MAX_TENSORS
from git_nn.objects.names import MAX_NAME_BYTES, escape
from git_nn.objects.tensor import dtype_bits, nbytes

MAX_TEXT = 8 * 1024 * 1024
MAX_ITEMS = 100_000
MAX_NOTES = 5
_SMALL = 16 * 1024 * 1024  # a file up to this size is read from memory: no call for each object
_CACHE = 32 * 1024 * 1024  # metadata that HDF5 keeps; its 2 MiB make it read many objects twice
_JSON_ATTRIBUTES = frozenset({"model_config", "training_config"})

_NOWHERE = b"/dev/null/content"  # HDF5 wants a name, and refuses an image of a file that exists
_TYPES: dict[type[Any], int] = {h5d.DatasetID: h5o.TYPE_DATASET, h5g.GroupID: h5o.TYPE_GROUP}

Row = list[Any]  # name, dtype, shape, [offset, length, offset, length ...], form


@contextmanager
def opened(content: Any) -> Iterator[Any]:
    """The file, closed with every object in it that may still be open."""
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_fclose_degree(h5f.CLOSE_STRONG)
    cache = access.get_mdc_config()
    cache.set_initial_size, cache.initial_size = True, _CACHE
    cache.max_size = max(cache.max_size, _CACHE)
    access.set_mdc_config(cache)
    if 0 < content.size <= _SMALL:
        access.set_fapl_core(backing_store=False)
        access.set_file_image(content.whole())
    else:
        access.set_fileobj_driver(h5fd.fileobj_driver, content)
    file = h5f.open(_NOWHERE, h5f.ACC_RDONLY, fapl=access)
    try:
        yield file
    finally:
        file.close()


def layout(content: Any) -> list[Any]:
    """[rows, notes]: a row for each dataset that is a payload."""
    with opened(content) as file:
        rows: list[Row] = []
        notes: list[str] = []
        extents = 0
        start = file.get_create_plist().get_userblock()
        for name, dataset in objects(file, h5d.DatasetID):
            row = _describe(name, dataset, start, notes)
            if row is not None:
                rows.append(row)
                extents += len(row[3]) // 2
                if len(rows) > MAX_TENSORS or extents > MAX_EXTENTS:
                    raise LayoutError("more tensors or chunks than git-nn handles one by one")
        return [rows, notes[:MAX_NOTES]]


def objects(root: Any, kind: type[Any]) -> Iterator[tuple[bytes, Any]]:
    """Every object of a kind below ``root``, once, with the first of its paths."""
    names: list[bytes] = []
    wanted = _TYPES[kind]
    count = 0

    def collect(name: bytes, info: Any) -> bool | None:
        nonlocal count
        count += 1
        if info.type == wanted:
            names.append(name)
        return True if count > 4 * MAX_TENSORS else None

    if h5o.visit(root, collect, info=True):
        raise LayoutError("more objects than git-nn handles one by one")
    for name in names:
        found = h5o.open(root, name)
        if isinstance(found, kind):  # a damaged file may say one thing and be another
            yield name, found


def _describe(name: bytes, dataset: Any, start: int, notes: list[str]) -> Row | None:
    """The row of a dataset, or None where its bytes stay literal; HDF5 begins at ``start``."""
    text = name.decode("utf-8", "surrogateescape")
    offset = dataset.get_offset()  # only contiguous data that is in this file has one
    if offset is None or offset < start:  # HDF5 1.14 adds the user block to "none", which is -1
        return _elsewhere(text, dataset, notes)
    dtype, shape = _spec(text, dataset)
    length = dataset.get_storage_size()
    if dtype is None or length != nbytes(dtype, shape):
        return None
    return [text, dtype, shape, [offset, length], ""]


def _spec(name: str, dataset: Any) -> tuple[str | None, tuple[int, ...]]:
    """dtype and shape; no dtype where the dataset has no elements or no name of ours."""
    shape = dataset.shape
    if 0 in shape or len(name.encode("utf-8", "surrogateescape")) > MAX_NAME_BYTES:
        return None, shape
    return dtype_of(dataset), shape


def _elsewhere(name: str, dataset: Any, notes: list[str]) -> Row | None:
    """The row of a dataset that does not stand in the file in one piece."""
    creation = dataset.get_create_plist()
    kind = creation.get_layout()
    if kind == h5d.VIRTUAL or creation.get_external_count():
        notes.append(
            f"dataset {escape(name)[:200]} keeps its data elsewhere: that is not versioned"
        )
        return None
    if kind != h5d.CHUNKED or dataset.get_space().get_simple_extent_type() == h5s.NULL:
        return None
    dtype, shape = _spec(name, dataset)
    return None if dtype is None else _chunked(name, dtype, shape, dataset, creation)


def _chunked(
    name: str, dtype: str, shape: tuple[int, ...], dataset: Any, creation: Any
) -> Row | None:
    if dataset.get_num_chunks() > MAX_EXTENTS:
        raise LayoutError("more chunks than git-nn handles one by one")
    chunks = sorted(_chunks(dataset))
    filters = [_filter(creation, i) for i in range(creation.get_nfilters())]
    form = form_of(shape, creation.get_chunk(), dtype_bits(dtype) // 8, filters, chunks)
    if not chunks or len(form) > MAX_FORM:
        return None
    numbers = [number for chunk in chunks for number in (chunk.offset, chunk.length)]
    return [name, dtype, shape, numbers, form]


def _filter(creation: Any, index: int) -> Filter:
    number, _, values, _ = creation.get_filter(index)
    return Filter(number, tuple(values))


def _chunks(dataset: Any) -> list[Chunk]:
    found: list[Any] = []
    if hasattr(dataset, "chunk_iter"):
        dataset.chunk_iter(found.append)
    else:  # h5py built with an old HDF5
        found += map(dataset.get_chunk_info, range(dataset.get_num_chunks()))
    return [
        Chunk(tuple(info.chunk_offset), info.byte_offset, info.size, info.filter_mask)
        for info in found
    ]


def structure(content: Any) -> str:
    """A JSON object: the root's attributes and, for a Keras 3 weights file, its layers."""
    with opened(content) as file:
        found = _attributes(file)
        layers = {}
        for name, group in objects(file, h5g.GroupID):
            if (name == b"vars" or name.endswith(b"/vars")) and h5a.exists(group, b"name"):
                path = name.decode("utf-8", "surrogateescape")[: -len("/vars")]
                layers[path or "."] = _attribute(group, "name")
        if layers:
            found["layers"] = layers
        return json.dumps(found)


def _attributes(owner: Any) -> dict[str, Any]:
    found = {}
    for index in range(min(h5a.get_num_attrs(owner), MAX_ITEMS)):
        name = h5a.open(owner, index=index).name.decode("utf-8", "replace")
        value = _attribute(owner, name)
        if value is not None:
            found[name] = _parsed(value) if name in _JSON_ATTRIBUTES else value
    return dict(sorted(found.items()))


def _attribute(owner: Any, name: str) -> Any:
    """Text, a number or a short list of them; None for anything else or too long."""
    attribute = h5a.open(owner, name.encode("utf-8", "replace"))
    if attribute.get_space().get_simple_extent_npoints() > MAX_ITEMS:
        return None
    if attribute.get_type().get_class() not in (h5t.STRING, h5t.INTEGER, h5t.FLOAT):
        return None
    return _plain(h5py.Group(h5o.open(owner, b".")).attrs[name])


def _plain(value: Any) -> Any:
    """A JSON value for what h5py gives for an attribute."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    match value:
        case list():
            items = [_plain(item) for item in value]
            return items if len(json.dumps(items)) <= MAX_TEXT else None
        case bytes():
            return _plain(value.decode("utf-8", "backslashreplace"))
        case str():
            return value if len(value) <= MAX_TEXT else None
        case float():
            return value if isfinite(value) else str(value)
        case bool() | int():
            return value
    return None


def _parsed(value: Any) -> Any:
    """The value of JSON text; the text itself where it is none."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value, parse_constant=str)
    except (ValueError, RecursionError):
        return value
