"""Attributes of an HDF5 file as keys that a merge takes one by one: (path, attribute).

Keras' lists of layers and weights are none: they follow from the tensors (hdf5_keras). Nor are
references, which name other objects of the same file. Imported in the worker process only.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from itertools import chain
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5g

from git_nn.errors import LayoutError
from git_nn.formats.hdf5_keras import is_list
from git_nn.formats.hdf5_links import copy_attribute, find
from git_nn.formats.hdf5_read import MAX_ITEMS, objects, opened

Row = list[str]  # path, attribute, digest of the value


def read(content: Any) -> list[Row]:
    """A row for each attribute; equal digests are of equal values of one type."""
    with opened(content) as file:
        owners = chain(
            [(b"", h5py.Group(file))],
            ((path, h5py.Group(group)) for path, group in objects(file, h5g.GroupID)),
            ((path, h5py.Dataset(dataset)) for path, dataset in objects(file, h5d.DatasetID)),
        )
        found: list[Row] = []
        for path, owner in owners:
            where = path.decode("utf-8", "surrogateescape")
            found += [[where, name, _digest(owner, name)] for name in _names(owner)]
            if len(found) > MAX_ITEMS:
                raise LayoutError("more attributes than git-nn handles one by one")
        return found


def take(theirs: h5py.File, out: h5py.File, keys: Iterable[tuple[str, str]]) -> None:
    """Give the attributes ``keys`` of ``out`` theirs' values; what theirs has not goes."""
    for where, name in keys:
        path = where.encode("utf-8", "surrogateescape")
        target, source = find(out, path), find(theirs, path)
        if target is None or (source is not None and type(source) is not type(target)):
            continue
        if source is not None and name in source.attrs:
            copy_attribute(source, target, name)
        elif name in target.attrs:
            del target.attrs[name]


def _names(owner: Any) -> list[str]:
    return [
        name
        for name in owner.attrs
        if not is_list(name) and h5py.check_ref_dtype(owner.attrs.get_id(name).dtype) is None
    ]


def _digest(owner: Any, name: str) -> str:
    attribute = owner.attrs.get_id(name)
    kind, shape = attribute.dtype, attribute.shape
    value = owner.attrs[name]
    if isinstance(value, h5py.Empty):
        text = b"empty"
    elif h5py.check_string_dtype(kind) or kind.hasobject:
        text = repr(value.tolist() if hasattr(value, "tolist") else value).encode()
    else:
        text = np.asarray(value, dtype=kind).tobytes()
    spec = repr((kind.str, h5py.check_string_dtype(kind), shape)).encode()
    return sha256(spec + text).hexdigest()
