"""Writes a merged HDF5 file: ours, with tensors added, removed, resized or given new values.

Imported in the worker process only. Rules: a path is followed along hard links only, so
nothing outside the two files is read or written; a dataset is copied as a whole object,
with its attributes, chunks and filters. Keras keeps lists and configurations beside
the tensors (hdf5_keras); they are brought in line at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5s

from git_nn.errors import MergeError
from git_nn.formats import hdf5_keras, hdf5_keys
from git_nn.formats.hdf5_links import child, ensure_groups, find, shown

PIECE = 4 * 1024 * 1024

Fetch = Callable[[int, int, int], bytes]


def compose(paths: list[bytes], plan: list[Any], fetch: Fetch) -> None:
    """Change the file at the last of ``paths``, a copy of ours; the others are ours and theirs.

    ``plan`` lists what is removed, from theirs and replaced, and the keys from theirs. The new
    bytes of a replaced tensor, after 8 bytes of their length, are the source with its number.
    """
    ours_path, theirs_path, out_path = paths
    removed, from_theirs, replaced, keys = plan
    with (
        h5py.File(ours_path, "r") as ours,
        h5py.File(theirs_path, "r") as theirs,
        h5py.File(out_path, "r+") as out,
    ):
        for name in removed:
            _delete(out, theirs, _path(name))
        for name in from_theirs:
            _copy(theirs, out, _path(name))
        for index, name in enumerate(replaced):
            _write(theirs, out, _path(name), _gather(fetch, index))
        hdf5_keys.take(theirs, out, keys)
        hdf5_keras.reconcile(ours, theirs, out)


def _path(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _dataset(file: h5py.File, path: bytes) -> h5py.Dataset:
    """The dataset at ``path``, which keeps its data in this file."""
    found = find(file, path)
    if not isinstance(found, h5py.Dataset):
        raise MergeError(f"there is no dataset {shown(path)}")
    creation = found.id.get_create_plist()
    if creation.get_external_count() or creation.get_layout() == h5d.VIRTUAL:
        raise MergeError(f"dataset {shown(path)} keeps its data in another file")
    return found


def _delete(out: h5py.File, theirs: h5py.File, path: bytes) -> None:
    """Remove a dataset, and the groups that then are empty and that theirs does not have."""
    _dataset(out, path)
    while True:
        parent_path, _, name = path.rpartition(b"/")
        parent = find(out, parent_path)
        del parent[name]
        if not parent_path or len(parent) or find(theirs, parent_path) is not None:
            return
        path = parent_path


def _copy(theirs: h5py.File, out: h5py.File, path: bytes) -> None:
    """Put theirs' dataset in place of the one, if any, of ``out``."""
    dataset = _dataset(theirs, path)
    parent_path, _, name = path.rpartition(b"/")
    parent = ensure_groups(theirs, out, parent_path)
    if parent.id.links.exists(name):
        if not isinstance(child(parent, name), h5py.Dataset):
            raise MergeError(f"{shown(path)} is a dataset on one side only")
        del parent[name]
    theirs.copy(dataset, parent, name=name)


def _gather(fetch: Fetch, index: int) -> bytes:
    end = 8 + int.from_bytes(fetch(index, 0, 8), "little")
    starts = range(8, end, PIECE)
    return b"".join(fetch(index, start, min(PIECE, end - start)) for start in starts)


def _write(theirs: h5py.File, out: h5py.File, path: bytes, data: bytes) -> None:
    """Packed C-order bytes into a dataset, with no conversion of any kind.

    Where ours has no dataset that they fit, theirs is copied first.
    """
    if not _fits(find(out, path), data) and _fits(find(theirs, path), data):
        _copy(theirs, out, path)
    dataset = _dataset(out, path)
    if not _fits(dataset, data):
        raise MergeError(f"the merged tensor {shown(path)} has another size than either side's")
    kind = dataset.id.get_type()
    array = np.frombuffer(data, dtype=f"V{kind.get_size()}").reshape(dataset.shape)
    dataset.id.write(h5s.ALL, h5s.ALL, array, kind)


def _fits(dataset: Any, data: bytes) -> bool:
    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
        return False
    size: int = dataset.id.get_type().get_size()
    return bool(len(data) == size * prod(dataset.shape))
